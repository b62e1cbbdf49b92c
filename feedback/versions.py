"""Verbs on versions: what each run made, and which of them a person wants kept."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from feedback.diary import enter
from feedback.errors import NotFound, Overtaken
from feedback.messages import find
from feedback.promotions import can_serve, known_version, one_at_a_time, put_promotion, serving
from feedback.records import VersionLine
from feedback.schema import LOCAL, ModelVersion, Person, Pin, Run
from feedback.sessions import Sessions
from feedback.trials import put_trial


class Versions(Sessions):
    """Versions and pins."""

    def add_base(self, base_model: str) -> None:
        """Write version 0 and the promotion that serves it, once."""
        with self.writing() as session:
            find(session, Person, LOCAL, alone=True)  # another app that begins at the same moment waits
            if session.get(ModelVersion, 0) is None:
                row = ModelVersion(
                    number=0, kind="base", base_model=base_model, path="base", verdict="base", metrics={}
                )
                session.add(row)
                session.flush()
                put_promotion(session, {0: 1.0}, LOCAL, "The base model.")

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
        trial: tuple[float, dict[str, Any]] | None = None,
        compared: int | None = None,
    ) -> None:
        """Write the row of a version whose folder is whole and end its run; serve it too if it was promoted.

        With `trial`, a share and a rule, one that was promoted serves that share of new conversations until thumbs
        have decided, and ends a trial that goes on. All in one step: a crash leaves either an open run or a version
        with its verdict. Raises Overtaken, having written nothing, if the promotion in force is no longer the one whose
        id is `compared`, against which the verdict was reached.
        """
        with self.writing() as session:
            one_at_a_time(session)
            serves = serving(session)
            if compared is not None and (serves is None or serves.promotion_id != compared):
                raise Overtaken(f"What serves changed while version {number} was tested; test it against what serves.")
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
            if verdict == "promoted" and trial:
                put_trial(session, number, *trial, LOCAL, reason)
            elif verdict == "promoted":
                put_promotion(session, {number: 1.0}, LOCAL, reason)

    def versions(self) -> list[VersionLine]:
        """List versions, oldest first, each with its share of new conversations."""
        with self.reading() as session:
            serves, pinned = serving(session), pinned_versions(session)
            shares = serves.shares if serves else {}
            rows = session.scalars(select(ModelVersion).order_by(ModelVersion.number))
            return [_version_line(row, shares.get(row.number, 0.0), row.number in pinned) for row in rows]

    def version(self, number: int) -> VersionLine:
        """Return one version. Raises NotFound."""
        found = [v for v in self.versions() if v.number == number]
        if not found:
            raise NotFound(f"There is no version {number}; `python -m finetune versions` lists them.")
        return found[0]

    def pin(self, number: int, pinned: bool, person: str = LOCAL) -> None:
        """Keep a version's folder whatever the rule for old ones says, or no longer; the same again changes nothing.

        Raises NotFound, and BadInput for a version whose folder was deleted already.
        """
        with self.writing() as session:
            one_at_a_time(session)
            known_version(session, number)
            if pinned:
                can_serve(session, number)
            if (number in pinned_versions(session)) != pinned:
                session.add(Pin(version=number, person_id=person, pinned=pinned))


def pinned_versions(session: Session) -> set[int]:
    """Return the versions whose newest pin says to keep them."""
    newest = select(func.max(Pin.id)).group_by(Pin.version)
    return set(session.scalars(select(Pin.version).where(Pin.id.in_(newest), Pin.pinned)))


def _version_line(row: ModelVersion, share: float, pinned: bool) -> VersionLine:
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
        pinned=pinned,
        pruned_at=row.pruned_at,
    )
