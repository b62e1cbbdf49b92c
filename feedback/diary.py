"""A run's diary: every state it entered and when, every time it was taken up again, and its curves."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from feedback.messages import find
from feedback.records import RunLine
from feedback.runs import run_line
from feedback.schema import ModelVersion, Run, RunEvent, RunPoint
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
