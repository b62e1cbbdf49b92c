"""The verb that counts the record for whoever watches the app: figures only, no text and no person.

Everything is counted over an index or over a table that stays small; the two largest tables, and the size on disk, are
counted once a minute.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from feedback.schema import (
    RUN_ENDED,
    RUN_OPEN,
    Conversation,
    Correction,
    Message,
    ModelVersion,
    Rating,
    RatingEvent,
    Run,
)
from feedback.sessions import Sessions

_LARGE_FOR_S = 60.0


@dataclass(frozen=True)
class Size:
    """How large the record is; deleted conversations count until they are gone."""

    conversations: int
    messages: int
    bytes: int


@dataclass(frozen=True)
class OpenRun:
    """The run that goes on."""

    id: int
    status: str
    step: int
    total: int
    heartbeat_at: datetime


@dataclass(frozen=True)
class Tally:
    """The record in figures: thumbs in force, changes of ratings and corrections ever made, runs by status."""

    thumbs_up: int
    thumbs_down: int
    rating_changes: int
    corrections: int
    runs: dict[str, int]
    open_run: OpenRun | None
    newest_version: int | None
    size: Size


class Tallies(Sessions):
    """Counts of the record."""

    _sized: tuple[float, Size] | None = None

    def tally(self) -> Tally:
        """Count the record; its size may be a minute old."""
        with self.reading() as session:
            values = dict(session.execute(select(Rating.value, func.count()).group_by(Rating.value)).tuples().all())
            statuses = dict(session.execute(select(Run.status, func.count()).group_by(Run.status)).tuples().all())
            run = session.scalar(select(Run).where(Run.status.in_(RUN_OPEN)).order_by(Run.id.desc()).limit(1))
            return Tally(
                thumbs_up=values.get(1, 0),
                thumbs_down=values.get(-1, 0),
                rating_changes=session.scalar(select(func.count()).select_from(RatingEvent)) or 0,
                corrections=session.scalar(select(func.count()).select_from(Correction)) or 0,
                runs={status: statuses.get(status, 0) for status in (*RUN_OPEN, *RUN_ENDED)},
                open_run=OpenRun(run.id, run.status, run.step, run.total, run.heartbeat_at) if run else None,
                newest_version=session.scalar(select(func.max(ModelVersion.number))),
                size=self._size(session),
            )

    def _size(self, session: Session) -> Size:
        at = time.monotonic()
        if self._sized is None or at - self._sized[0] > _LARGE_FOR_S:
            size = Size(
                session.scalar(select(func.count()).select_from(Conversation)) or 0,
                session.scalar(select(func.count()).select_from(Message)) or 0,
                _bytes(session),
            )
            self._sized = at, size
        return self._sized[1]


def _bytes(session: Session) -> int:
    if session.get_bind().dialect.name != "sqlite":
        return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    pages, size = (session.scalar(text(f"PRAGMA {name}")) or 0 for name in ("page_count", "page_size"))
    return int(pages * size)
