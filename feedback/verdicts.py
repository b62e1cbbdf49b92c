"""Which of a reviewer's decisions on a reply stands: they pile up, and taking one back uncovers the one below."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from feedback.messages import in_batches
from feedback.schema import Review

VERDICTS = ("approved", "rejected")


def standing(session: Session, message_ids: Sequence[str]) -> dict[str, Review]:
    """Map message to the decision that stands.

    Taking back uncovers the one below: who undoes an approval does not lift an older rejection.
    """
    piles: dict[str, list[Review]] = {}
    for row in sorted(in_batches(session, Review, Review.message_id, message_ids), key=lambda r: r.id):
        pile = piles.setdefault(row.message_id, [])
        if row.verdict is not None:
            pile.append(row)
        elif pile:
            pile.pop()
    return {key: pile[-1] for key, pile in piles.items() if pile}
