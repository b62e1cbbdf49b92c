"""The verb that reads, for every reply, all that people think of it: what a run learns from."""

import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, exists, not_, or_, select, union_all
from sqlalchemy.orm import Session, aliased

from feedback.messages import current_corrections, current_reviews, in_batches, newest_reviews, rows_of
from feedback.records import Feedback
from feedback.schema import (
    Comparison,
    Conversation,
    Correction,
    Message,
    Preference,
    Rating,
    Reply,
    Review,
    Signal,
)
from feedback.sessions import Sessions

_BATCH = 2000  # replies read at a time
_FEW = 500  # of which something was said, where it is likely that no more are wanted
_TELLING = ("left", "right", "both_bad")  # outcomes of a comparison that say something of a reply


class Harvest(Sessions):
    """All that was said of replies."""

    def feedback(self, since: datetime | None = None, kept: bool = False) -> Iterable[Feedback]:
        """Yield every reply that has a thumb, a correction, a choice or a reviewer's approval now.

        Oldest conversation first. `since` leaves out replies of which all these are older. `kept` adds those without
        any that ended by themselves, were answered, and that nothing anybody did speaks against.
        """
        with self.reading() as session:
            replies = _in_order(session, _with_feedback(since))
            silent = {r.id for r in _in_order(session, _kept(since))} - {r.id for r in replies} if kept else set()
            if silent:
                replies = _in_order(session, or_(_with_feedback(since), _kept(since)))
            for start in range(0, len(replies), _BATCH):
                yield from _gather(session, replies[start : start + _BATCH], silent)

    def opinions_since(self, since: datetime | None) -> Iterable[Feedback]:
        """Yield what `feedback` does as far as it takes to judge it: without prompts and siblings' texts.

        First come the replies of which something was said first (after `since`). It reads one message a reply, where
        `feedback` reads whole conversations, and reads no further than it is asked: the first few hundred of a big
        record come at once.
        """
        with self.reading() as session:
            came: set[str] = set()
            for some in session.execute(_by_time(since)).partitions(_FEW):
                ids = list(dict.fromkeys(key for key, _ in some if key not in came))
                came.update(ids)
                found = {row.id: _Judged(*row) for row in rows_of(session, _replies(), Message.id, ids)}
                replies = [found[key] for key in ids if key in found]
                yield from _gather(session, replies, set(), whole=False)


class _Judged(NamedTuple):
    """A reply that somebody thinks something of."""

    id: str
    conversation_id: str


class _Spoken(NamedTuple):
    """A message as far as it takes to learn from it."""

    turn: tuple[str, str]  # role and content; the prompts of a conversation share it
    parent_id: str | None
    status: str
    finish: str | None
    correction_shown: bool

    @property
    def content(self) -> str:
        return self.turn[1]


def spoken_against() -> ColumnElement[bool]:
    """Hold for a reply that somebody had written anew, stopped, or asked again for."""
    return or_(
        exists().where(Signal.message_id == Message.id, Signal.kind.in_(("regenerated", "stopped"))),
        exists().where(Signal.message_id == Message.parent_id, Signal.kind == "edited"),
    )


def _replies() -> Select[str, str]:
    query = select(Message.id, Message.conversation_id)
    return query.join(Conversation, Conversation.id == Message.conversation_id).where(Conversation.deleted_at.is_(None))


def _in_order(session: Session, wanted: ColumnElement[bool]) -> list[_Judged]:
    query = _replies().where(wanted).order_by(Conversation.created_at, Conversation.id, Message.seq)
    same: dict[str, str] = {}  # one text for an id that comes often: there may be hundreds of thousands
    return [_Judged(key, same.setdefault(talk, talk)) for key, talk in session.connection().execute(query)]


def _with_feedback(since: datetime | None) -> ColumnElement[bool]:
    first, *more = (query for query, _ in _told(since))
    return Message.id.in_(first.union(*more))


def _by_time(since: datetime | None) -> Select[str, datetime]:
    """Select replies each time that something was said of them, oldest first."""
    all_told = union_all(*(query.add_columns(at.label("at")) for query, at in _told(since))).subquery()
    return select(all_told.c[0], all_told.c.at).order_by(all_told.c.at)


def _told(since: datetime | None) -> list[tuple[Select[str], Any]]:
    """Name all that can be said of replies, as a selection of their ids, and when it was said; it may be void since."""
    told: list[tuple[Select[str], Any]] = [
        (select(Rating.message_id).where(Rating.value != 0), Rating.updated_at),
        (select(Correction.message_id).where(Correction.text.is_not(None)), Correction.created_at),
        (
            select(Review.message_id).where(Review.id.in_(newest_reviews()), Review.verdict == "approved"),
            Review.created_at,
        ),
        (select(Preference.chosen_id), Preference.created_at),
        (select(Preference.rejected_id), Preference.created_at),
        (select(Comparison.left_id).where(Comparison.outcome.in_(_TELLING)), Comparison.judged_at),
        (select(Comparison.right_id).where(Comparison.outcome.in_(_TELLING)), Comparison.judged_at),
    ]
    return [(query if since is None else query.where(at > since), at) for query, at in told]


def _kept(since: datetime | None) -> ColumnElement[bool]:
    after = aliased(Message)
    return and_(
        Message.role == "assistant",
        Message.status == "complete",
        Message.finish == "end",
        exists().where(after.parent_id == Message.id),
        not_(spoken_against()),
        *([] if since is None else [Message.created_at > since]),
    )


@dataclass
class _Choices:
    """What people chose between one reply and its siblings."""

    by: set[str] = field(default_factory=set)
    against: set[str] = field(default_factory=set)
    won: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # sibling -> choices for, less those against
    told: list[tuple[datetime, datetime | None]] = field(default_factory=list)  # when it came, and was said by a file
    imported: set[str] = field(default_factory=set)  # of whose choices a file tells


_NO_CHOICES = _Choices()


def _choices(session: Session, ids: Sequence[str]) -> dict[str, _Choices]:
    """Map replies to what was chosen between them and others; a person's newest word on two replies counts."""
    last: dict[tuple[str, frozenset[str]], tuple[str | None, datetime, datetime | None]] = {}
    rows = {
        row.id: row
        for column in (Preference.chosen_id, Preference.rejected_id)
        for row in in_batches(session, Preference, column, ids)
    }
    for _, row in sorted(rows.items()):
        last[row.rater_id, frozenset((row.chosen_id, row.rejected_id))] = row.chosen_id, row.created_at, row.said_at
    preferred = {two for _, two in last}
    judged = {
        row.id: row
        for column in (Comparison.left_id, Comparison.right_id)
        for row in in_batches(session, Comparison, column, ids)
        if row.outcome in _TELLING
    }
    for _, one in sorted(judged.items()):
        two = frozenset((one.left_id, one.right_id))
        if two not in preferred:  # a pick that was made here is a preference too
            winner = {"left": one.left_id, "right": one.right_id}.get(one.outcome or "")
            last[one.person_id, two] = winner, one.judged_at or one.created_at, one.said_at
    found: dict[str, _Choices] = defaultdict(_Choices)
    beside = _places(session, {message for _, two in last for message in two})
    for (rater, two), (winner, at, said_at) in last.items():
        if len({beside[message] for message in two}) > 1:
            continue  # of replies to two messages, as an import may tell it: which is better says nothing of either
        for message in two:
            mine = found[message]
            mine.told.append((at, said_at))
            mine.imported.update([rater] if said_at else [])
            (mine.by if message == winner else mine.against).add(rater)
            for other in two - {message} if winner else ():
                mine.won[other] += 1 if message == winner else -1
    return found


def _gather(session: Session, replies: Sequence[_Judged], silent: set[str], whole: bool = True) -> Iterator[Feedback]:
    """Yield what people think of replies; without prompts and siblings' texts unless `whole`."""
    ids = [reply.id for reply in replies]
    ours = _ours(session, ids)
    choices = _choices(session, ids)
    beaten = {other for chosen in choices.values() for other in chosen.won}
    corrections, reviews = current_corrections(session, ids), current_reviews(session, list(beaten.union(ids)))
    thumbs = _thumbs(session, ids)
    spoken = _spoken(session, Message.conversation_id if whole else Message.id, replies)
    wordings = _wordings(session, ours.values()) if whole else {}
    shown = _shown(session, [key for key in ids if key not in ours], spoken) if whole else {}
    written = _written(session, [key for key in ids if key in silent])
    for message_id, conversation_id in replies:
        message, reply, correction = spoken[message_id], ours.get(message_id), corrections.get(message_id)
        ratings, review = thumbs.get(message_id, []), reviews.get(message_id)
        chosen = choices.get(message_id, _NO_CHOICES)
        told = [(r.updated_at, r.said_at) for r in ratings] + chosen.told
        told += [(correction.created_at, correction.said_at)] if correction else []
        told += [(review.created_at, review.said_at)] if review and review.verdict == "approved" else []
        if not told and message_id not in silent:
            continue  # the correction that brought it here was taken back, or the choice says nothing
        yield Feedback(
            message_id=message_id,
            conversation_id=conversation_id,
            prompt=_prompt(message, reply, spoken, wordings, shown) if whole else (),
            content=message.content,
            status=message.status,
            finish=message.finish,
            version=reply.version if reply else None,
            ratings={sys.intern(r.rater_id): r.value for r in ratings},
            reasons={sys.intern(r.rater_id): tuple(r.reasons) for r in ratings if r.reasons},
            correction=correction.text if correction else None,
            correction_id=correction.id if correction else None,
            changed_at=max(at for at, _ in told) if told else written[message_id],
            verdict=review.verdict if review else None,
            chosen_by=tuple(sorted(chosen.by)),
            discarded_by=tuple(sorted(chosen.against)),
            beat={
                other: spoken[other].content
                for other, won in chosen.won.items()
                if won > 0 and whole and _teaches(spoken[other], reviews.get(other))
            },
            corrected_by=correction.author_id if correction and not correction.said_at else None,
            corrected_at=correction.said_at or correction.created_at if correction else None,
            said_at=max((said_at or at for at, said_at in told), default=None),
            imported=_imported(ratings, chosen),
        )


def _imported(ratings: Sequence[Any], choices: _Choices) -> tuple[str, ...]:
    """Name those of whose opinion a file tells; a thumb that was given here comes before a choice that a file tells."""
    told = dict.fromkeys(choices.imported, True) | {r.rater_id: r.said_at is not None for r in ratings}
    return tuple(sorted(sys.intern(rater) for rater, by_file in told.items() if by_file))


# What follows reads columns, not objects of the record: there may be a million messages.


def _ours(session: Session, ids: Sequence[str]) -> dict[str, Any]:
    query = select(Reply.message_id, Reply.version, Reply.prompt)
    return {row.message_id: row for row in rows_of(session, query, Reply.message_id, ids)}


def _thumbs(session: Session, ids: Sequence[str]) -> dict[str, list[Any]]:
    query = select(Rating.message_id, Rating.rater_id, Rating.value, Rating.reasons, Rating.updated_at, Rating.said_at)
    found: dict[str, list[Any]] = {}
    for row in rows_of(session, query.where(Rating.value != 0).order_by(Rating.id), Rating.message_id, ids):
        found.setdefault(row.message_id, []).append(row)
    return found


def _spoken(session: Session, column: Any, replies: Sequence[_Judged]) -> dict[str, _Spoken]:
    """Map messages to what they say: those of whole conversations, or the replies alone."""
    keys = [reply.id for reply in replies]
    if column is Message.conversation_id:
        keys = list(dict.fromkeys(reply.conversation_id for reply in replies))
    ends = (Message.status, Message.finish, Message.correction_shown)
    said = select(Message.id, Message.role, Message.content, Message.parent_id, *ends)
    return {
        key: _Spoken((sys.intern(role), text), *rest) for key, role, text, *rest in rows_of(session, said, column, keys)
    }


def _places(session: Session, ids: Collection[str]) -> dict[str, tuple[str, str | None]]:
    """Map replies to where they stand: conversation and parent, the same for those that can be chosen between."""
    query = select(Message.id, Message.conversation_id, Message.parent_id)
    return {key: (talk, parent) for key, talk, parent in rows_of(session, query, Message.id, list(ids))}


def _written(session: Session, ids: Sequence[str]) -> dict[str, datetime]:
    query = select(Message.id, Message.created_at)
    return {row.id: row.created_at for row in rows_of(session, query, Message.id, ids)}


def _teaches(message: _Spoken, review: Review | None) -> bool:
    """Tell whether a reply may stand as the worse of two: it ended with some text, and no reviewer forbids it."""
    said = message.status in ("complete", "stopped") and bool(message.content.strip())
    return said and (review is None or review.verdict != "rejected")


def _wordings(session: Session, replies: Iterable[Any]) -> dict[int, str]:
    used = [part["correction"] for reply in replies for part in reply.prompt if "correction" in part]
    return {c.id: c.text or "" for c in in_batches(session, Correction, Correction.id, used)}


def _shown(session: Session, ids: Sequence[str], spoken: dict[str, _Spoken]) -> dict[str, str]:
    """Map messages before replies that were taken in to the corrections that stand in their place.

    Nothing tells in which wording such a prompt was given; what was said after a correction was said to its words.
    """
    before = {key for reply in ids for key in _before(spoken[reply], spoken) if spoken[key].correction_shown}
    return {key: one.text or "" for key, one in current_corrections(session, list(before)).items()}


def _before(message: _Spoken, spoken: dict[str, _Spoken]) -> Iterator[str]:
    """Yield the ids of what was said before a message, the last first."""
    parent = message.parent_id
    while parent is not None:
        yield parent
        parent = spoken[parent].parent_id


def _prompt(
    message: _Spoken, reply: Any, spoken: dict[str, _Spoken], wordings: dict[int, str], shown: dict[str, str]
) -> tuple[tuple[str, str], ...]:
    if reply is not None:
        return tuple(_turn(spoken[part["message"]], wordings.get(part.get("correction", 0))) for part in reply.prompt)
    return tuple(_turn(spoken[key], shown.get(key)) for key in _before(message, spoken))[::-1]


def _turn(message: _Spoken, wording: str | None) -> tuple[str, str]:
    return message.turn if wording is None else (message.turn[0], wording)
