"""What the runs of a big record learned, and what people took back since.

The newest run's pairs are chosen in earnest from the whole record, and so are the sides they are on and the checks
that are kept. The runs before it get those of its pairs whose replies had been rated by then: what each would have
chosen, but for the few that a later text made a duplicate or a contradiction.
"""

import random
from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import func, insert, select, update

from bench.big_record import VERSIONS, made_at
from feedback.frozen import PairRow
from feedback.messages import rows_of
from feedback.schema import Correction, Dataset, Message, Rating, RatingEvent, now
from feedback.store import Store
from finetune.dataset import Built, rule_of
from finetune.settings import PairSettings

_TAKEN_BACK = 200  # one rating, and one correction, in so many


def write_history(store: Store, built: Built) -> None:
    """Freeze what the newest run chose, and of it what each run before it could have."""
    rows = [
        (pair.message_id, PairRow(pair.message_id, pair.correction_id, pair.kind, pair.weight, side))
        for side, part in vars(built.sides).items()
        for pair in part
    ]
    known = _judged_at(store, [*(key for key, _ in rows), *(key for key, _ in built.rejected)])
    for number in range(1, VERSIONS + 1):
        cut, newest = made_at(number) - timedelta(hours=1), number == VERSIONS
        pairs = [row for key, row in rows if newest or known[key] <= cut]
        rejected = [(key, rule) for key, rule in built.rejected if newest or known[key] <= cut]
        counts = Counter(row.kind for row in pairs) + Counter(rule for _, rule in rejected)
        at = built.cut if newest else cut
        store.freeze_dataset(number, rule_of(PairSettings()), dict(counts), pairs, at, rejected)


def _judged_at(store: Store, replies: list[str]) -> dict[str, datetime]:
    """Map replies to when they were rated first; to when they were written, where they were chosen only."""
    keys = list(dict.fromkeys(replies))
    with store.reading() as session:
        found = dict(rows_of(session, select(Message.id, Message.created_at), Message.id, keys))
        first = select(Rating.message_id, func.min(Rating.created_at)).group_by(Rating.message_id)
        return found | dict(session.execute(first).tuples().all())


def take_back(store: Store) -> None:
    """Let people take back some of what the newest run learned from."""
    dice, at = random.Random(2), now()
    with store.writing() as session:
        ratings = list(session.scalars(select(Rating.id)))
        for key in dice.sample(ratings, len(ratings) // _TAKEN_BACK):
            session.execute(update(Rating).where(Rating.id == key).values(value=0, reasons=[], updated_at=at))
            session.execute(insert(RatingEvent), {"rating_id": key, "value": 0, "reasons": [], "created_at": at})
        for key in dice.sample(
            texts := list(session.scalars(select(Correction.message_id))), len(texts) // _TAKEN_BACK
        ):
            session.execute(
                insert(Correction), {"message_id": key, "author_id": "local", "text": None, "created_at": at}
            )
        assert session.scalar(select(func.count()).select_from(Dataset)) == VERSIONS
