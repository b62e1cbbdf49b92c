"""Verbs on what is deleted to free the disk: a version's folder goes, its row stays, and what is needed never goes."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.errors import BadInput
from feedback.messages import find
from feedback.promotions import before, one_at_a_time, shares_of
from feedback.schema import RUN_OPEN, ModelVersion, Promotion, Run, Trial, now
from feedback.sessions import Sessions
from feedback.versions import pinned_versions


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
            one_at_a_time(session)  # a promotion at the same time waits, or is waited for
            row = find(session, ModelVersion, number)
            needed = _needed(session).get(number)
            if needed:
                raise BadInput(f"Version {number} cannot be pruned: {needed}.")
            row.pruned_at = row.pruned_at or now()

    def ended_runs(self) -> list[int]:
        """List the runs that are over, oldest first."""
        with self.reading() as session:
            return list(session.scalars(select(Run.id).where(Run.status.not_in(RUN_OPEN)).order_by(Run.id)))


def _needed(session: Session) -> dict[int, str]:
    """Map each version that must stay to the reason."""
    needed = dict.fromkeys(pinned_versions(session), "it is pinned")
    serves, last, back = *_newest_two(session), before(session)
    for promotion, why in ((last, "it served last"), (back, "a rollback would bring it back")):
        if promotion is not None:
            needed |= dict.fromkeys(shares_of(session, promotion), why)
    for trial in session.scalars(select(Trial).where(Trial.outcome.is_(None))):
        needed |= dict.fromkeys((trial.candidate, trial.against), "a trial uses it")
    if serves is not None:
        needed |= dict.fromkeys(shares_of(session, serves), "it serves")
    return needed


def _newest_two(session: Session) -> tuple[int | None, int | None]:
    found = list(session.scalars(select(Promotion.id).order_by(Promotion.id.desc()).limit(2)))
    return found[0] if found else None, found[1] if len(found) > 1 else None
