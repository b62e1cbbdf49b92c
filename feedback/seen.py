"""The verb that counts what a version saw; `trace` names each pair, of which there may be hundreds of thousands."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from feedback.messages import find, rows_of
from feedback.revocation import Withdrawal, withdrawals
from feedback.schema import Dataset, Message, ModelVersion, RejectedReply, TrainingPair
from feedback.sessions import Sessions


@dataclass(frozen=True)
class Saw:
    """Texts of a version's dataset by side (`rejected` too) and by kind, and how many pairs rest on what is gone since.

    Sides and kinds come as the dataset has them.
    """

    sides: Counter[str]
    kinds: Counter[str]
    revoked: int


class Seen(Sessions):
    """What versions saw."""

    def version_saw(self, number: int) -> Saw:
        """Count what a version's run read. Raises NotFound."""
        with self.reading() as session:
            version = find(session, ModelVersion, number)
            of_run = select(Dataset).where(Dataset.run_id == version.run_id).order_by(Dataset.id)
            found = Saw(Counter(), Counter(), 0)
            for dataset in session.scalars(of_run) if version.run_id is not None else ():
                saw = _saw(session, dataset)
                found = Saw(found.sides + saw.sides, found.kinds + saw.kinds, found.revoked + saw.revoked)
            return found


def _saw(session: Session, dataset: Dataset) -> Saw:
    pairs = select(TrainingPair.split, TrainingPair.kind, func.count())
    pairs = pairs.where(TrainingPair.dataset_id == dataset.id).group_by(TrainingPair.split, TrainingPair.kind)
    sides: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for split, kind, count in session.execute(pairs.order_by(func.min(TrainingPair.id))):
        sides[split] += count
        kinds[kind] += count
    rejected = select(func.count()).select_from(RejectedReply).where(RejectedReply.dataset_id == dataset.id)
    sides["rejected"] = session.scalar(rejected) or 0
    return Saw(+sides, kinds, _revoked(session, dataset))


def _revoked(session: Session, dataset: Dataset) -> int:
    """Count the pairs of which something was taken back since."""
    of_dataset = TrainingPair.dataset_id == dataset.id
    gone: dict[str, list[Withdrawal]] = defaultdict(list)
    for one in withdrawals(session, of=exists().where(TrainingPair.message_id == Message.id, of_dataset)):
        gone[one.message_id].append(one)
    query = select(TrainingPair.message_id, TrainingPair.kind).where(of_dataset)
    pairs = rows_of(session, query, TrainingPair.message_id, list(gone))
    return sum(any(one.concerns(kind, dataset.created_at) for one in gone[message]) for message, kind in pairs)
