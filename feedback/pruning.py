"""Verbs on what is deleted to free the disk: a version's folder goes, its row stays, and what is needed never goes."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from feedback.errors import BadInput
from feedback.messages import find
from feedback.schema import RUN_OPEN, ModelVersion, Pin, Promotion, PromotionShare, Run, Trial, now
from feedback.sessions import Sessions


@dataclass(frozen=True)
class OnDisk:
    """A version and its folder, relative to the data dir. `kept_for` says why it must stay; empty if it need not."""

    number: int
    path: str
    kept_for: str


class Pruning(Sessions):
    """What may go from the disk, and what has gone."""

    def versions_on_disk(self) -> list[OnDisk]:
        """List the versions that have a folder of their own, oldest first."""
        with self.reading() as session:
            needed = _needed(session)
            query = select(ModelVersion).where(ModelVersion.number > 0, ModelVersion.pruned_at.is_(None))
            rows = session.scalars(query.order_by(ModelVersion.number))
            return [OnDisk(row.number, row.path, needed.get(row.number, "")) for row in rows]

    def pruned_paths(self) -> list[str]:
        """List the folders of the versions that were pruned; they should be gone."""
        with self.reading() as session:
            return list(session.scalars(select(ModelVersion.path).where(ModelVersion.pruned_at.is_not(None))))

    def mark_pruned(self, number: int) -> None:
        """Write down that a version's folder goes now. Raises NotFound, BadInput for one that is needed.

        What is needed is looked up in the same transaction, so that no promotion comes between.
        """
        with self.writing() as session:
            row = find(session, ModelVersion, number)
            session.refresh(row, with_for_update=True)  # a promotion at the same time waits, or is waited for
            needed = _needed(session).get(number)
            if needed:
                raise BadInput(f"Version {number} cannot be pruned: {needed}.")
            row.pruned_at = row.pruned_at or now()

    def ended_runs(self) -> list[int]:
        """List the runs that are over, oldest first."""
        with self.reading() as session:
            return list(session.scalars(select(Run.id).where(Run.status.not_in(RUN_OPEN)).order_by(Run.id)))


def require_folders(session: Session, numbers: Iterable[int]) -> None:
    """Raise BadInput for versions of which one was pruned; the others cannot be until the session ends."""
    query = select(ModelVersion).where(ModelVersion.number.in_(list(numbers))).order_by(ModelVersion.number)
    for row in session.scalars(query.with_for_update()):
        if row.pruned_at is not None:
            when = row.pruned_at.date().isoformat()
            raise BadInput(
                f"Version {row.number} cannot serve: its folder was pruned on {when} to free the disk; "
                "promote another one, or retrain."
            )


def _needed(session: Session) -> dict[int, str]:
    """Map each version that must stay to the reason."""
    needed = dict.fromkeys(_pinned(session), "it is pinned")
    newest = list(session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(2)))
    for promotion in newest[1:]:
        needed |= _of(session, promotion.id, "it served last")
    for promotion in newest[:1]:
        older = select(Promotion).where(Promotion.id < (promotion.restores_id or promotion.id))
        before = session.scalar(older.order_by(Promotion.id.desc()).limit(1))
        if before is not None:
            needed |= _of(session, before.restores_id or before.id, "a rollback would bring it back")
    for trial in session.scalars(select(Trial).where(Trial.outcome.is_(None))):
        needed |= dict.fromkeys((trial.candidate, trial.against), "a trial uses it")
    for promotion in newest[:1]:
        needed |= _of(session, promotion.id, "it serves")
    return needed


def _pinned(session: Session) -> list[int]:
    newest = select(func.max(Pin.id)).group_by(Pin.version)
    return list(session.scalars(select(Pin.version).where(Pin.id.in_(newest), Pin.pinned.is_(True))))


def _of(session: Session, promotion_id: int, why: str) -> dict[int, str]:
    query = select(PromotionShare.version).where(PromotionShare.promotion_id == promotion_id)
    return dict.fromkeys(session.scalars(query), why)
