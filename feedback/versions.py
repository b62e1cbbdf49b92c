"""Verbs on versions and on what serves: an append-only row for every change."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from feedback.diary import enter
from feedback.errors import BadInput, NotFound
from feedback.messages import find
from feedback.pruning import require_folders
from feedback.records import Serving, VersionLine
from feedback.schema import LOCAL, ModelVersion, Promotion, PromotionShare, Run
from feedback.sessions import Sessions


class Versions(Sessions):
    """Versions and promotions."""

    def add_base(self, base_model: str) -> None:
        """Write version 0 and the promotion that serves it, once."""
        with self.writing() as session:
            if session.get(ModelVersion, 0) is None:
                row = ModelVersion(
                    number=0, kind="base", base_model=base_model, path="base", verdict="base", metrics={}
                )
                session.add(row)
                session.flush()
                _promote(session, {0: 1.0}, LOCAL, "The base model.")

    def next_version(self) -> int:
        """Return the number that the next version gets."""
        with self.reading() as session:
            return (session.scalar(select(func.max(ModelVersion.number))) or 0) + 1

    def add_version(
        self,
        number: int,
        kind: str,
        path: str,
        run_id: int,
        verdict: str,
        reason: str,
        metrics: dict[str, Any],
    ) -> None:
        """Write the row of a version whose folder is whole and end its run; serve it too if it was promoted.

        All in one step: a crash leaves either an open run or a version with its verdict.
        """
        with self.writing() as session:
            run = find(session, Run, run_id)
            enter(session, run, verdict, reason)
            base = find(session, ModelVersion, 0)
            session.add(
                ModelVersion(
                    number=number,
                    kind=kind,
                    base_model=base.base_model,
                    path=path,
                    run_id=run_id,
                    verdict=verdict,
                    reason=reason,
                    metrics=metrics,
                )
            )
            session.flush()
            if verdict == "promoted":
                _promote(session, {number: 1.0}, LOCAL, reason)

    def versions(self) -> list[VersionLine]:
        """List versions, oldest first, each with its share of new conversations."""
        with self.reading() as session:
            serving = _serving(session)
            shares = serving.shares if serving else {}
            rows = session.scalars(select(ModelVersion).order_by(ModelVersion.number))
            return [_version_line(row, shares.get(row.number, 0.0)) for row in rows]

    def version(self, number: int) -> VersionLine:
        """Return one version. Raises NotFound."""
        found = [v for v in self.versions() if v.number == number]
        if not found:
            raise NotFound(f"There is no version {number}; `python -m finetune versions` lists them.")
        return found[0]

    def serving(self) -> Serving | None:
        """Return the promotion in force, None before version 0 exists."""
        with self.reading() as session:
            return _serving(session)

    def promote(self, number: int, person: str = LOCAL, reason: str = "") -> None:
        """Serve one version alone from now on; nothing changes if it does already. Raises NotFound."""
        with self.writing() as session:
            known = session.scalars(select(ModelVersion.number)).all()
            if number not in known:
                raise NotFound(f"There is no version {number}; `python -m finetune versions` lists them.")
            serving = _serving(session)
            if serving is None or serving.shares != {number: 1.0}:  # else a rollback would go back to the same
                _promote(session, {number: 1.0}, person, reason)

    def can_roll_back(self) -> bool:
        """Tell whether there is anything to roll back to."""
        with self.reading() as session:
            return _before(session) is not None

    def rollback(self, person: str = LOCAL) -> Serving:
        """Serve again what served before the promotion in force. Raises BadInput at the first one."""
        with self.writing() as session:
            target = _before(session)
            if _last_promotion(session) is None:
                raise BadInput("Nothing serves yet, so there is nothing to roll back; start the app once.")
            if target is None:
                raise BadInput("The first promotion is in force; there is nothing before it to roll back to.")
            _promote(session, _shares(session, target), person, "Rolled back.", restores_id=target)
            serving = _serving(session)
            assert serving is not None
            return serving


def _promote(
    session: Session, shares: dict[int, float], person: str, reason: str, restores_id: int | None = None
) -> None:
    require_folders(session, shares)
    promotion = Promotion(person_id=person, reason=reason, restores_id=restores_id)
    session.add(promotion)
    session.flush()
    session.add_all(PromotionShare(promotion_id=promotion.id, version=v, share=s) for v, s in shares.items())
    session.flush()


def _before(session: Session) -> int | None:
    """Find the promotion that served before the one in force; a rollback stands for what it restored."""
    current = _last_promotion(session)
    if current is None:
        return None
    in_force = current.restores_id or current.id
    before = session.scalar(select(Promotion).where(Promotion.id < in_force).order_by(Promotion.id.desc()).limit(1))
    return (before.restores_id or before.id) if before else None


def _last_promotion(session: Session) -> Promotion | None:
    return session.scalar(select(Promotion).order_by(Promotion.id.desc()).limit(1))


def _shares(session: Session, promotion_id: int) -> dict[int, float]:
    query = select(PromotionShare).where(PromotionShare.promotion_id == promotion_id)
    return {row.version: row.share for row in session.scalars(query)}


def _serving(session: Session) -> Serving | None:
    last = _last_promotion(session)
    return Serving(last.id, _shares(session, last.id)) if last else None


def _version_line(row: ModelVersion, share: float) -> VersionLine:
    return VersionLine(
        number=row.number,
        kind=row.kind,
        base_model=row.base_model,
        path=row.path,
        run_id=row.run_id,
        verdict=row.verdict,
        reason=row.reason,
        metrics=row.metrics,
        created_at=row.created_at,
        share=share,
    )
