"""Verbs on what serves: an append-only row for every change, with who made it and why.

While a trial goes on its promotion is the one in force; any other promotion ends it in the same step (`trials.py`). To
roll back is to serve again what served alone before: the shares of a trial are never restored.
"""

from collections import defaultdict
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.errors import BadInput, NotFound
from feedback.records import PromotionLine, Serving
from feedback.schema import LOCAL, ModelVersion, Promotion, PromotionShare, Trial, now
from feedback.sessions import Sessions

Spell = tuple[datetime, datetime | None, float]  # since, until (None: it still serves), share of new conversations
Served = dict[int, list[Spell]]  # by version


class Promotions(Sessions):
    """What serves, what served, and what is to serve."""

    def serving(self) -> Serving | None:
        """Return the promotion in force, None before version 0 exists."""
        with self.reading() as session:
            return serving(session)

    def fallbacks(self) -> list[dict[int, float]]:
        """List what may stand in for the promotion in force, best first: what served before it, then version 0."""
        with self.reading() as session:
            target = before(session)
            served = [shares_of(session, target)] if target is not None else []
            return served if {0: 1.0} in served else [*served, {0: 1.0}]

    def promote(self, number: int, person: str = LOCAL, reason: str = "") -> None:
        """Serve one version alone from now on; nothing changes if it does already.

        Raises NotFound, and BadInput for a version whose folder was deleted.
        """
        with self.writing() as session:
            one_at_a_time(session)
            can_serve(session, number)
            serves = serving(session)
            if serves is None or serves.shares != {number: 1.0}:  # else a rollback would go back to the same
                put_promotion(session, {number: 1.0}, person, reason)

    def can_roll_back(self) -> bool:
        """Tell whether there is anything to roll back to."""
        with self.reading() as session:
            return before(session) is not None

    def rollback(self, person: str = LOCAL) -> Serving:
        """Serve again what served before the promotion in force.

        Raises BadInput at the first one, and when what served before has no folder any more.
        """
        with self.writing() as session:
            one_at_a_time(session)
            target = before(session)
            if _last(session) is None:
                raise BadInput("Nothing serves yet, so there is nothing to roll back; start the app once.")
            if target is None:
                raise BadInput("The first promotion is in force; there is nothing before it to roll back to.")
            restored = shares_of(session, target)
            for number in restored:
                can_serve(session, number)
            put_promotion(session, restored, person, "Rolled back.", restores_id=target)
            serves = serving(session)
            assert serves is not None
            return serves

    def promotions(self) -> list[PromotionLine]:
        """List every change of what serves, oldest first: when, by whom, why, the shares, and the trial it began."""
        with self.reading() as session:
            return _lines(session)

    def served(self, number: int) -> list[Spell]:
        """List when a version served, oldest first."""
        return self.served_when().get(number, [])

    def served_when(self) -> Served:
        """Map every version that ever served to when it did, oldest first."""
        with self.reading() as session:
            return served_when(session)


def one_at_a_time(session: Session) -> None:
    """Let whoever else changes what serves wait for the end of this step; SQLite has one writer anyway."""
    session.execute(select(ModelVersion.number).where(ModelVersion.number == 0).with_for_update())


def known_version(session: Session, number: int) -> ModelVersion:
    """Get a version. Raises NotFound."""
    if number not in session.scalars(select(ModelVersion.number)).all():  # a number may be too large to be looked up
        raise NotFound(f"There is no version {number}; `python -m finetune versions` lists them.")
    return session.get_one(ModelVersion, number)


def can_serve(session: Session, number: int) -> None:
    """Raise NotFound for a version that there is not, BadInput for one whose folder was deleted."""
    version = known_version(session, number)
    if version.pruned_at is not None:
        day = f"{version.pruned_at.astimezone():%Y-%m-%d}"
        raise BadInput(
            f"Version {number}'s folder was deleted on {day} to free the disk, so it can no longer be loaded; "
            "choose another."
        )


def put_promotion(
    session: Session, shares: dict[int, float], person: str, reason: str, restores_id: int | None = None
) -> int:
    """Write what serves from now on; a trial that goes on is ended by it. Return the promotion's id."""
    promotion = Promotion(person_id=person, reason=reason, restores_id=restores_id)
    session.add(promotion)
    session.flush()
    session.add_all(PromotionShare(promotion_id=promotion.id, version=v, share=s) for v, s in shares.items())
    for trial in session.scalars(select(Trial).where(Trial.outcome.is_(None))):
        serves = " and ".join(f"version {number}" for number in shares)
        trial.outcome, trial.ended_at = "ended", now()
        trial.reason = f"Ended by another promotion, of {serves}, by {person}: {reason or 'no reason given.'}"
    session.flush()
    return promotion.id


def before(session: Session) -> int | None:
    """Find the promotion that served before the one in force; a rollback stands for what it restored.

    Those that put a version on trial are passed over: what served before a trial is what served before its candidate.
    """
    current = _last(session)
    if current is None:
        return None
    in_force = current.restores_id or current.id
    alone = select(Promotion).where(Promotion.id.not_in(select(Trial.promotion_id)))
    found = session.scalar(alone.where(Promotion.id < in_force).order_by(Promotion.id.desc()).limit(1))
    return (found.restores_id or found.id) if found else None


def shares_of(session: Session, promotion_id: int) -> dict[int, float]:
    """Map the versions of a promotion to their shares."""
    query = select(PromotionShare).where(PromotionShare.promotion_id == promotion_id).order_by(PromotionShare.version)
    return {row.version: row.share for row in session.scalars(query)}


def serving(session: Session) -> Serving | None:
    """Return the promotion in force, None before version 0 exists."""
    last = _last(session)
    return Serving(last.id, shares_of(session, last.id)) if last else None


def served_when(session: Session) -> Served:
    """Map versions to when they served and with what share, oldest first; promotions in a row are joined."""
    query = select(Promotion.id, Promotion.created_at, PromotionShare.version, PromotionShare.share)
    query = query.join(PromotionShare, PromotionShare.promotion_id == Promotion.id).where(PromotionShare.share > 0)
    changes: dict[int, tuple[datetime, dict[int, float]]] = {}
    for promotion, at, version, share in session.execute(query.order_by(Promotion.id)):
        changes.setdefault(promotion, (at, {}))[1][version] = share
    found: Served = defaultdict(list)
    before: dict[int, float] = {}
    for at, shares in changes.values():
        for version in before.keys() - {v for v, share in shares.items() if before.get(v) == share}:
            since, _, share = found[version][-1]
            found[version][-1] = (since, at, share)
        for version, share in shares.items():
            if before.get(version) != share:
                found[version].append((at, None, share))
        before = shares
    return dict(found)


def shares_now(served: Served) -> dict[int, float]:
    """Map the versions that serve now to their shares of new conversations."""
    return {version: times[-1][2] for version, times in served.items() if times[-1][1] is None}


def _last(session: Session) -> Promotion | None:
    return session.scalar(select(Promotion).order_by(Promotion.id.desc()).limit(1))


def _lines(session: Session) -> list[PromotionLine]:
    shares: dict[int, dict[int, float]] = {}
    for row in session.scalars(select(PromotionShare).order_by(PromotionShare.version)):
        shares.setdefault(row.promotion_id, {})[row.version] = row.share
    trials = dict(session.execute(select(Trial.promotion_id, Trial.id)).tuples().all())
    return [
        PromotionLine(
            id=row.id,
            created_at=row.created_at,
            person=row.person_id,
            reason=row.reason,
            shares=shares.get(row.id, {}),
            restores_id=row.restores_id,
            trial_id=trials.get(row.id),
        )
        for row in session.scalars(select(Promotion).order_by(Promotion.id))
    ]
