"""Verbs on datasets: what one run learned from, for good, and what is held out for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select

from feedback.messages import rows_of
from feedback.schema import Dataset, HeldOutPrompt, ModelVersion, RejectedReply, Split, TrainingPair
from feedback.sessions import Sessions


@dataclass(frozen=True)
class PairRow:
    """One line of a dataset: which reply, in which wording, on which side."""

    message_id: str
    correction_id: int | None
    kind: str
    weight: float
    split: str


class Datasets(Sessions):
    """The frozen datasets of runs."""

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

    def splits(self, conversation_ids: Sequence[str]) -> dict[str, str]:
        """Map those of the conversations that have been in a dataset to `train` or `held_out`."""
        with self.reading() as session:
            query = select(Split.conversation_id, Split.split)
            return dict(rows_of(session, query, Split.conversation_id, conversation_ids))

    def remember_splits(self, new: dict[str, str]) -> None:
        """Fix the side of conversations that are in a dataset for the first time."""
        if new:
            with self.writing() as session:
                session.execute(insert(Split), [{"conversation_id": k, "split": v} for k, v in new.items()])

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
