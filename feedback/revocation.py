"""What people took back after a version was trained on it: a thumb, a correction, an approval, a whole conversation.

Each run begins at the base model and learns from all that stands in the record. So what is taken back is out of the
next run, and a version made since is clean of it; a version that saw it stays what it is.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from feedback.judging import BAD, GOOD
from feedback.messages import is_newest, rows_of
from feedback.promotions import served_when, shares_now
from feedback.ratings import newest_corrections
from feedback.schema import (
    Comparison,
    Conversation,
    Correction,
    Dataset,
    Message,
    ModelVersion,
    Preference,
    Rating,
    RatingEvent,
    Review,
    TrainingPair,
)
from feedback.sessions import Sessions

LEARNED = ("train", "validation")  # a validation pair chose the checkpoint; a held-out one only judged it
# Kinds of pairs that would be another, or not there, without it.
_MADE = {
    "rating": ("chosen", "thumb_up", "thumb_down", "discarded", "corrected"),
    "correction": ("correction", "corrected"),
    "review": ("approved",),
    "conversation": (*GOOD, *BAD),
}

Values = tuple[tuple[datetime, int], ...]  # what a thumb or a choice was, each with its time, oldest first


@dataclass(frozen=True)
class Withdrawal:
    """Something taken back at an instant, for one reply that it was about; `values` are a rating's, by their times."""

    what: str  # rating, correction, review (an approval) or conversation
    key: int | str
    message_id: str
    conversation_id: str
    at: datetime
    values: Values = ()

    def concerns(self, kind: str, cut: datetime) -> bool:
        """Tell whether a pair of its reply, in a dataset read at `cut`, came of what was then taken back."""
        if self.what == "review":  # the kind tells that it stood then; when it was taken back is not always known
            return kind in _MADE["review"]
        stood = self.what != "rating" or value_at(self.values, cut) != 0
        return cut < self.at and kind in _MADE[self.what] and stood


class Revocations(Sessions):
    """What was taken back after something was learned from it."""

    def revoked(self) -> list[dict[str, Any]]:
        """List each rating, correction, approval and conversation taken back that a version learned from, oldest first.

        A row names what was taken back, when, the replies it was about, `versions` that saw it with their share of new
        conversations now, and `clean`: the versions that were made since, without it.
        """
        with self.reading() as session:
            made = versions_made(session)
            saw: dict[tuple[str, int | str], dict[str, Any]] = {}
            for one, numbers in _seen_by(session, withdrawals(session)):
                row = saw.setdefault((one.what, one.key), {"one": one, "messages": {}, "versions": set()})
                row["messages"][one.message_id] = None
                row["versions"] |= numbers
            serving = shares_now(served_when(session))
        return [_row(found, made, serving) for found in sorted(saw.values(), key=lambda f: f["one"].at)]


def value_at(values: Iterable[tuple[datetime, int]], instant: datetime) -> int:
    """Return what a rating was at an instant, 0 before it was given; `values` are oldest first."""
    value = 0
    for since, given in values:
        if since <= instant:
            value = given
    return value


def rating_values(session: Session, rating_ids: Sequence[int]) -> dict[int, Values]:
    """Map ratings to the values that they had, each with its time, oldest first."""
    query = select(RatingEvent.rating_id, RatingEvent.created_at, RatingEvent.value).order_by(RatingEvent.id)
    found: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
    for rating, at, value in rows_of(session, query, RatingEvent.rating_id, rating_ids):
        found[rating].append((at, value))
    return {rating: tuple(values) for rating, values in found.items()}


def choice_values(session: Session, message_ids: Sequence[str]) -> dict[str, list[Values]]:
    """Map replies to what people said of each beside another, one entry a person and sibling: 1 for chosen, else -1."""
    said = {
        (at, rater, frozenset((one, other)), winner)
        for query, columns in _choices()
        for column in columns
        for at, rater, one, other, winner in rows_of(session, query, column, message_ids)
    }
    found: dict[str, dict[tuple[str, frozenset[str]], list[tuple[datetime, int]]]]
    found = {key: defaultdict(list) for key in message_ids}
    for at, rater, two, winner in sorted(said, key=lambda one: one[0]):
        for message in two & found.keys():
            found[message][rater, two].append((at, 1 if message == winner else -1))
    return {message: [tuple(values) for values in by.values()] for message, by in found.items()}


def _choices() -> Iterator[tuple[Any, tuple[Any, Any]]]:
    """Yield queries of (when, who, two replies, the better one or None), each with its columns of replies."""
    two = Preference.chosen_id, Preference.rejected_id
    yield select(Preference.created_at, Preference.rater_id, *two, Preference.chosen_id), two
    two = Comparison.left_id, Comparison.right_id
    better = case((Comparison.outcome == "left", two[0]), (Comparison.outcome == "right", two[1]))
    at = func.coalesce(Comparison.judged_at, Comparison.created_at)
    told = Comparison.outcome.in_(("left", "right", "both_bad"))
    yield select(at, Comparison.person_id, *two, better).where(told), two


def versions_made(session: Session) -> dict[int, datetime]:
    """Map versions to the instant at which the record was read for them."""
    query = select(ModelVersion.number, Dataset.created_at).join(Dataset, Dataset.run_id == ModelVersion.run_id)
    return dict(session.execute(query).tuples().all())


def clean_of(made: dict[int, datetime], at: datetime) -> list[int]:
    """List the versions for which the record was read after an instant."""
    return sorted(number for number, cut in made.items() if cut >= at)


def withdrawals(
    session: Session, message_ids: Sequence[str] | None = None, of: ColumnElement[bool] | None = None
) -> list[Withdrawal]:
    """List what was taken back about some replies, or about all messages of which `of` holds.

    Without either these are the replies that any dataset holds a pair of to learn from.
    """
    wanted = _was_learned() if of is None else of
    thumbs = select(Rating.id, Rating.message_id, Message.conversation_id, Rating.updated_at)
    thumbs = thumbs.join(Message, Message.id == Rating.message_id).where(Rating.value == 0)
    texts = select(Correction.id, Correction.message_id, Message.conversation_id, Correction.created_at)
    texts = texts.join(Message, Message.id == Correction.message_id)
    texts = texts.where(Correction.text.is_(None), Correction.id.in_(newest_corrections()))
    deleted = select(Conversation.id, Conversation.deleted_at).where(Conversation.deleted_at.is_not(None))
    gone = dict(session.execute(deleted).tuples().all())
    talks = select(Message.conversation_id, Message.id)
    rated = list(_about(session, thumbs, message_ids, wanted))
    values = rating_values(session, [row.id for row in rated])
    found = [Withdrawal("rating", *(*row, values.get(row.id, ()))) for row in rated]
    found += [Withdrawal("correction", *row) for row in _about(session, texts, message_ids, wanted)]
    for key, reply, talk, back, approved in _about(session, _approvals_gone(), message_ids, wanted):
        # A verdict that is in force again is as old as it was: then no later time is known than the approval's.
        found.append(Withdrawal("review", key, reply, talk, max(back, approved)))
    if message_ids is not None:
        told = rows_of(session, talks, Message.id, message_ids)
    else:
        told = rows_of(session, talks.where(wanted), Message.conversation_id, list(gone))
    return found + [Withdrawal("conversation", key, reply, key, at) for key, reply in told if (at := gone.get(key))]


def _approvals_gone() -> Any:
    """Select the newest verdict on replies that were approved and are not now, its time, and the approval's."""
    before = aliased(Review)
    approved = select(func.max(before.created_at)).where(before.verdict == "approved")
    approved = approved.where(before.message_id == Review.message_id, before.id < Review.id)
    at = approved.scalar_subquery()
    query = select(Review.id, Review.message_id, Message.conversation_id, Review.created_at, at)
    query = query.join(Message, Message.id == Review.message_id).where(is_newest(Review), at.is_not(None))
    return query.where(or_(Review.verdict.is_(None), Review.verdict != "approved"))


def _about(
    session: Session, query: Any, message_ids: Sequence[str] | None, wanted: ColumnElement[bool]
) -> Iterable[Any]:
    if message_ids is not None:
        return rows_of(session, query, Message.id, message_ids)
    return session.execute(query.where(wanted))


def _was_learned() -> ColumnElement[bool]:
    pair = select(TrainingPair.id).where(TrainingPair.message_id == Message.id, TrainingPair.split.in_(LEARNED))
    return pair.exists()


def _seen_by(session: Session, taken_back: Sequence[Withdrawal]) -> Iterable[tuple[Withdrawal, set[int]]]:
    """Yield what a version was trained on before it was taken back, with those versions."""
    query = (
        select(TrainingPair.message_id, TrainingPair.kind, Dataset.created_at, ModelVersion.number)
        .join(Dataset, Dataset.id == TrainingPair.dataset_id)
        .join(ModelVersion, ModelVersion.run_id == Dataset.run_id)
        .where(TrainingPair.split.in_(LEARNED))
    )
    pairs: dict[str, list[tuple[str, datetime, int]]] = defaultdict(list)
    about = list({one.message_id for one in taken_back})
    for message, kind, cut, number in rows_of(session, query, TrainingPair.message_id, about):
        pairs[message].append((kind, cut, number))
    for one in taken_back:
        numbers = {number for kind, cut, number in pairs[one.message_id] if one.concerns(kind, cut)}
        if numbers:
            yield one, numbers


def _row(found: dict[str, Any], made: dict[int, datetime], serving: dict[int, float]) -> dict[str, Any]:
    one: Withdrawal = found["one"]
    return {
        "what": one.what,
        one.what: one.key,
        "conversation": one.conversation_id,
        "messages": list(found["messages"]),
        "at": one.at.isoformat(),
        "versions": [
            {"version": number, "serves": number in serving, "share": serving.get(number, 0.0)}
            for number in sorted(found["versions"])
        ],
        "clean": [number for number in clean_of(made, one.at) if number not in found["versions"]],
    }
