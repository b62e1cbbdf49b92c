"""Verbs on runs: one training attempt each, from its first row to how it ended."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from feedback.diary import Point, draw, enter, note, run_line
from feedback.errors import BadInput, TakenOver
from feedback.messages import find
from feedback.records import RunLine
from feedback.schema import LOCAL, RUN_ENDED, RUN_OPEN, Dataset, ModelVersion, Run, TrainingPair, now
from feedback.sessions import Sessions
from feedback.writers import is_dead, this_writer

SILENT = timedelta(minutes=15)  # a run beats every second, but for while it loads, or fetches, a large model


class Runs(Sessions):
    """Runs, newest first."""

    def open_run(self, settings: dict[str, Any]) -> int:
        """Write the row of a run that starts now in this process; return its id."""
        with self.writing() as session:
            run = Run(settings=settings, metrics={}, writer=this_writer(), status="queued")
            session.add(run)
            session.flush()
            note(session, run, "")
            return run.id

    def update_run(self, run_id: int, **columns: Any) -> None:
        """Change status, step, total, reason or metrics of a run, and beat its heart. Raises NotFound, TakenOver."""
        with self.writing() as session:
            run = _own(session, run_id)
            status = columns.pop("status", run.status)
            for name, value in columns.items():
                setattr(run, name, value)
            enter(session, run, status, columns.get("reason", ""))
            run.heartbeat_at = now()

    def beat_run(self, run_id: int, points: Iterable[Point] = (), **columns: Any) -> str | None:
        """Beat a run's heart, with how far it is and new points of its curves; return who wants it ended, if anybody.

        Raises NotFound, TakenOver.
        """
        with self.writing() as session:
            run = _own(session, run_id)
            for name, value in columns.items():
                setattr(run, name, value)
            run.heartbeat_at = now()
            draw(session, run_id, points)
            return run.cancel_asked_by

    def take_up_run(self, run_id: int) -> RunLine:
        """Let this process go on with an open run whose own is gone. For whoever holds the lock. Raises NotFound."""
        with self.writing() as session:
            run = find(session, Run, run_id)
            run.attempts += 1
            run.writer, run.heartbeat_at = this_writer(), now()
            note(session, run, f"Its process ended {_where(run)}; taken up again, attempt {run.attempts}.")
            return run_line(run, None)

    def ask_cancel(self, run_id: int, person: str = LOCAL) -> None:
        """Ask for a run's end; it sees that within seconds. Raises NotFound, BadInput once it has ended."""
        with self.writing() as session:
            run = find(session, Run, run_id)
            if run.status in RUN_ENDED:
                raise BadInput(f"Run {run_id} has ended already: {run.status}.")
            run.cancel_asked_by = run.cancel_asked_by or person

    def runs(self, limit: int | None = 100) -> list[RunLine]:
        """List runs, newest first; None: all of them."""
        with self.reading() as session:
            query = select(Run).order_by(Run.id.desc()).limit(limit)
            numbers = dict(session.execute(select(ModelVersion.run_id, ModelVersion.number)).tuples().all())
            return [run_line(run, numbers.get(run.id)) for run in session.scalars(query)]

    def run_settings(self, run_id: int) -> dict[str, Any]:
        """Return the settings that a run was begun with. Raises NotFound."""
        with self.reading() as session:
            return find(session, Run, run_id).settings

    def live_run(self) -> RunLine | None:
        """Return an open run that may be at work in another data dir, here or on another host; None if all are dead.

        For whoever holds the lock of a data dir, and so knows that no run of this process is at work.
        """
        with self.reading() as session:
            return next((run_line(run, None) for run in _open(session) if not _is_dead(run)), None)

    def settle_open_runs(self) -> RunLine | None:
        """End the open runs that nobody goes on with; return the newest, which is to be taken up, or None.

        For whoever knows that every open run is dead.
        """
        with self.reading() as session:
            found = _open(session)
            if not found:
                return None
            if len(found) == 1 and not found[0].cancel_asked_by:
                return run_line(found[0], None)
        with self.writing() as session:
            kept: RunLine | None = None
            for run in _open(session):
                if run.cancel_asked_by:
                    enter(session, run, "cancelled", cancelled_by(run.cancel_asked_by))
                elif kept is None:
                    kept = run_line(run, None)
                else:
                    enter(session, run, "failed", f"Its process ended {_where(run)}, and a newer run is taken up.")
            return kept

    def frozen_pairs(self, run_id: int) -> int | None:
        """Count the pairs of a run's dataset; None before it is frozen."""
        with self.reading() as session:
            dataset = session.scalar(select(Dataset.id).where(Dataset.run_id == run_id))
            if dataset is None:
                return None
            query = select(func.count()).select_from(TrainingPair).where(TrainingPair.dataset_id == dataset)
            return session.scalar(query) or 0

    def runs_began(self, limit: int = 100) -> list[datetime]:
        """Return when the newest runs began, newest first."""
        with self.reading() as session:
            return list(session.scalars(select(Run.created_at).order_by(Run.id.desc()).limit(limit)))


def cancelled_by(person: str) -> str:
    """Say why a run that was cancelled ended."""
    return f"Cancelled by {person}."


def _open(session: Session) -> list[Run]:
    return list(session.scalars(select(Run).where(Run.status.in_(RUN_OPEN)).order_by(Run.id.desc())))


def _own(session: Session, run_id: int) -> Run:
    """Find the run that this process is at. Raises NotFound, TakenOver."""
    run = find(session, Run, run_id)
    if run.writer != this_writer() or run.status in RUN_ENDED:
        raise TakenOver(f"Run {run_id} was taken up or ended by another process; this one, long silent, stops.")
    return run


def _is_dead(run: Run) -> bool:
    """Tell whether a run's process is gone, or silent for so long that it is taken for gone."""
    return run.writer == this_writer() or is_dead(run.writer) or run.heartbeat_at < now() - SILENT


def _where(run: Run) -> str:
    return f"while the run was {run.status}" + (f", at step {run.step} of {run.total}" if run.total else "")
