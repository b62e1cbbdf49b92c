"""Verbs on runs, datasets, versions and what serves: the lineage from feedback to a better model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from feedback.errors import BadInput, NotFound
from feedback.messages import find, in_batches
from feedback.records import RunLine, Serving, VersionLine
from feedback.schema import (
    LOCAL,
    RUN_ENDED,
    RUN_OPEN,
    Dataset,
    HeldOutPrompt,
    ModelVersion,
    Promotion,
    PromotionShare,
    RejectedReply,
    Run,
    Split,
    TrainingPair,
    now,
)
from feedback.sessions import Sessions
from feedback.writers import this_writer


@dataclass(frozen=True)
class PairRow:
    """One line of a dataset: which reply, in which wording, on which side."""

    message_id: str
    correction_id: int | None
    kind: str
    weight: float
    split: str


class Learning(Sessions):
    """Runs, datasets, versions and promotions."""

    # --- runs

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
            return [_run_line(run, numbers.get(run.id)) for run in session.scalars(query)]

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

    # --- datasets

    def freeze_dataset(
        self,
        run_id: int,
        rule: dict[str, Any],
        counts: dict[str, Any],
        pairs: Sequence[PairRow],
        cut: datetime,
        rejected: Sequence[tuple[str, str]] = (),
    ) -> int:
        """Keep the list of pairs of one run, and each rejected reply's id with its rule; return the dataset's id.

        `cut` is the instant the record was read.
        """
        with self.writing() as session:
            dataset = Dataset(run_id=run_id, rule=rule, counts=counts, created_at=cut)
            session.add(dataset)
            session.flush()
            if pairs:
                session.execute(insert(TrainingPair), [{"dataset_id": dataset.id, **vars(pair)} for pair in pairs])
            if rejected:
                lines = [{"dataset_id": dataset.id, "message_id": reply, "rule": why} for reply, why in rejected]
                session.execute(insert(RejectedReply), lines)
            return dataset.id

    def rejections(self, message_id: str) -> list[tuple[int, str]]:
        """List the runs whose datasets rejected a text of the reply, with the rule, oldest first."""
        with self.reading() as session:
            query = select(Dataset.run_id, RejectedReply.rule).join(Dataset, Dataset.id == RejectedReply.dataset_id)
            query = query.where(RejectedReply.message_id == message_id).order_by(RejectedReply.id)
            return [(run, rule) for run, rule in session.execute(query)]

    def splits(self, conversation_ids: Sequence[str]) -> dict[str, str]:
        """Map those of the conversations that have been in a dataset to `train` or `held_out`."""
        with self.reading() as session:
            rows = in_batches(session, Split, Split.conversation_id, list(conversation_ids))
            return {row.conversation_id: row.split for row in rows}

    def remember_splits(self, new: dict[str, str]) -> None:
        """Fix the side of conversations that are in a dataset for the first time."""
        with self.writing() as session:
            session.add_all(Split(conversation_id=k, split=v) for k, v in new.items())

    def held_out_prompts(self) -> list[tuple[str, str, bytes]]:
        """List the prompts that are held out: conversation, digest, and what their near-duplicates are told by."""
        with self.reading() as session:
            rows = session.scalars(select(HeldOutPrompt).order_by(HeldOutPrompt.digest))
            return [(row.conversation_id, row.digest, row.signature) for row in rows]

    def hold_out_prompts(self, prompts: Sequence[tuple[str, str, bytes]]) -> None:
        """Remember prompts as `held_out_prompts` lists them; those known already stay as they are."""
        with self.writing() as session:
            known = set(session.scalars(select(HeldOutPrompt.digest)))
            for conversation, digest, signature in prompts:
                if digest not in known:
                    known.add(digest)
                    session.add(HeldOutPrompt(digest=digest, conversation_id=conversation, signature=signature))

    def learned_until(self) -> datetime | None:
        """Return up to when feedback is in a dataset that made a version, None before the first."""
        with self.reading() as session:
            query = select(func.max(Dataset.created_at)).join(ModelVersion, ModelVersion.run_id == Dataset.run_id)
            return session.scalar(query)

    def last_run_at(self) -> datetime | None:
        """Return when the newest run began, None before the first."""
        with self.reading() as session:
            return session.scalar(select(func.max(Run.created_at)))

    # --- versions

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
            run.status, run.reason, run.finished_at = verdict, reason, now()
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


def _run_line(run: Run, version: int | None) -> RunLine:
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
    )


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
