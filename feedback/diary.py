"""A run's diary: every state it entered and when, every time it was taken up again, and its curves."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.messages import find
from feedback.records import RunLine
from feedback.schema import RUN_ENDED, ModelVersion, Run, RunEvent, RunPoint, now
from feedback.sessions import Sessions


@dataclass(frozen=True)
class RunDiary:
    """All that is known of how one run went.

    `events` are (status, reason, when), oldest first; `curves` map loss, validation and general to (step, value), in
    nats a token, in the order of the steps.
    """

    line: RunLine
    events: tuple[tuple[str, str, datetime], ...]
    curves: dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class Point:
    """One value of a run's curve at a step."""

    name: str
    step: int
    value: float


class Diaries(Sessions):
    """What happened in a run, to read."""

    def run_diary(self, run_id: int) -> RunDiary:
        """Return the diary of one run. Raises NotFound."""
        with self.reading() as session:
            run = find(session, Run, run_id)
            version = session.scalar(select(ModelVersion.number).where(ModelVersion.run_id == run_id))
            events = session.scalars(select(RunEvent).where(RunEvent.run_id == run_id).order_by(RunEvent.id))
            points = session.scalars(select(RunPoint).where(RunPoint.run_id == run_id).order_by(RunPoint.step))
            curves: dict[str, list[tuple[int, float]]] = {}
            for point in points:
                curves.setdefault(point.name, []).append((point.step, point.value))
            told = tuple((event.status, event.reason, event.created_at) for event in events)
            return RunDiary(run_line(run, version), told, curves)


def enter(session: Session, run: Run, status: str, reason: str = "") -> None:
    """Let a run enter a state, with the line in its diary; nothing happens if it is in that state already.

    This is the one place that changes a run's status, so that no state is without its time.
    """
    if run.status == status:
        return
    run.status = status
    if status in RUN_ENDED:
        run.reason, run.finished_at = reason, now()
    note(session, run, reason)


def note(session: Session, run: Run, reason: str) -> None:
    """Write a line into a run's diary, under the state it is in."""
    session.add(RunEvent(run_id=run.id, status=run.status, reason=reason))


def draw(session: Session, run_id: int, points: Iterable[Point]) -> None:
    """Add points to a run's curves; a step that is computed again, after a kill, gets its newer value."""
    for point in points:
        where = (RunPoint.run_id == run_id, RunPoint.name == point.name, RunPoint.step == point.step)
        known = session.scalar(select(RunPoint).where(*where))
        if known is None:
            session.add(RunPoint(run_id=run_id, **vars(point)))
        else:
            known.value = point.value


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
