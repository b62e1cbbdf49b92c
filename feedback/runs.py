"""Verbs on runs: one training attempt each, from its first row to how it ended."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from feedback.messages import find
from feedback.records import RunLine
from feedback.schema import RUN_ENDED, RUN_OPEN, ModelVersion, Run, now
from feedback.sessions import Sessions
from feedback.writers import this_writer


class Runs(Sessions):
    """Runs, newest first."""

    def open_run(self, settings: dict[str, Any]) -> int:
        """Write the row of a run that starts now in this process; return its id."""
        with self.writing() as session:
            run = Run(settings=settings, metrics={}, writer=this_writer())
            session.add(run)
            session.flush()
            return run.id

    def update_run(self, run_id: int, **columns: Any) -> None:
        """Change status, step, total, reason or metrics of a run, and beat its heart. Raises NotFound."""
        with self.writing() as session:
            run = find(session, Run, run_id)
            for name, value in columns.items():
                setattr(run, name, value)
            run.heartbeat_at = now()
            if columns.get("status") in RUN_ENDED:
                run.finished_at = now()

    def runs(self, limit: int = 100) -> list[RunLine]:
        """List runs, newest first."""
        with self.reading() as session:
            query = select(Run).order_by(Run.id.desc()).limit(limit)
            numbers = dict(session.execute(select(ModelVersion.run_id, ModelVersion.number)).tuples().all())
            return [run_line(run, numbers.get(run.id)) for run in session.scalars(query)]

    def fail_open_runs(self) -> int:
        """Declare every open run failed; return how many. For whoever holds the lock that a live run would hold."""
        with self.reading() as session:
            if not session.scalar(select(func.count()).select_from(Run).where(Run.status.in_(RUN_OPEN))):
                return 0
        with self.writing() as session:
            dead = list(session.scalars(select(Run).where(Run.status.in_(RUN_OPEN))))
            for run in dead:
                run.reason = f"The process ended while the run was {run.status}, at step {run.step} of {run.total}."
                run.status, run.finished_at = "failed", now()
        return len(dead)

    def last_run_at(self) -> datetime | None:
        """Return when the newest run began, None before the first."""
        with self.reading() as session:
            return session.scalar(select(func.max(Run.created_at)))


def run_line(run: Run, version: int | None) -> RunLine:
    """Hand out a run's row, with the version that it made."""
    return RunLine(
        id=run.id,
        status=run.status,
        reason=run.reason,
        step=run.step,
        total=run.total,
        metrics=run.metrics,
        version=version,
        created_at=run.created_at,
        heartbeat_at=run.heartbeat_at,
        finished_at=run.finished_at,
        attempts=run.attempts,
        cancel_asked=run.cancel_asked_by,
    )
