"""Verbs that take conversations in from a file and give them out again."""

import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.again import Before, before, is_old_correction, is_old_thumb, is_old_verdict
from feedback.comparisons import take_comparison, take_preference
from feedback.errors import BadInput, RapportError
from feedback.formats import Incoming, IncomingMessage
from feedback.messages import append, current_corrections, current_reviews, in_batches, title_of
from feedback.personas import persona_name
from feedback.ratings import person, put_correction, put_rating, was_said
from feedback.reviews import take_verdict
from feedback.schema import LOCAL, Comparison, Conversation, Correction, Message, Preference, Rating, Review, now
from feedback.sessions import Sessions

DELETED = "is of a conversation that was deleted here, and stays so"
_DRAWN = re.compile(r"[0-9a-f]{12}4[0-9a-f]{19}")  # an id drawn by chance: `uuid4().hex`


class Exchange(Sessions):
    """Import and export of whole conversations."""

    def take_in(self, batch: Sequence[Incoming], there: Before | None = None) -> list[str | None]:
        """Merge paths into the record: what is there already stays, new messages and changed ratings are added.

        The batch is one transaction; of a file with several, `there` is what `before_import` gave before the first.
        Returns, per path, None or why it could not be taken in.
        """
        with self.writing() as session:
            there = there or before(session)
            return [_try_merge(session, incoming, there) for incoming in batch]

    def before_import(self) -> Before:
        """Return what feedback there is before a file is taken in, against which its own is told old or new."""
        with self.reading() as session:
            return before(session)

    def give_out(self, conversation_id: str | None = None) -> Iterator[Incoming]:
        """Yield every path from a first message to a last one, once per person with feedback; the shown path last.

        Of one conversation, or of all.
        """
        with self.reading() as session:
            there = select(Conversation.id).where(Conversation.deleted_at.is_(None))
            if conversation_id is not None:
                there = there.where(Conversation.id == conversation_id)
            ids = list(session.scalars(there.order_by(Conversation.created_at, Conversation.id)))
            for start in range(0, len(ids), 200):
                for conversation in in_batches(session, Conversation, Conversation.id, ids[start : start + 200]):
                    yield from _paths_out(session, conversation)


def _try_merge(session: Session, incoming: Incoming, there: Before) -> str | None:
    try:
        with session.begin_nested():
            _merge(session, incoming, there)
    except RapportError as error:
        return str(error)
    return None


def _merge(session: Session, incoming: Incoming, before_it: Before) -> None:
    person(session, incoming.rater)
    conversation = session.get(Conversation, incoming.conversation_id)
    if conversation is not None and conversation.deleted_at is not None:
        raise BadInput(DELETED)
    if conversation is None:
        conversation = Conversation(id=incoming.conversation_id, owner_id=LOCAL, source="import")
        if incoming.created_at:
            conversation.created_at = conversation.updated_at = incoming.created_at
        first = next((m.content for m in incoming.messages if m.role == "user"), incoming.messages[0].content)
        conversation.title = title_of(first) if incoming.title is None else incoming.title
        conversation.persona, conversation.sampling = incoming.persona, dict(incoming.sampling)
        if incoming.persona and incoming.messages[0].role == "system":
            conversation.system_prompt = incoming.messages[0].content
        session.add(conversation)
        session.flush()
    there = list(session.scalars(select(Message).where(Message.conversation_id == conversation.id)))
    parent: Message | None = None
    for message in incoming.messages:
        own, new_id = _same(session, conversation.id, there, parent, message)
        if own is None:
            own = append(
                session,
                conversation,
                message.role,
                message.content,
                id=new_id or uuid.uuid4().hex,
                parent_id=parent.id if parent else None,
                status=message.status,
                finish=message.finish,
                created_at=incoming.created_at or now(),
            )
            there.append(own)
        parent = own
        _merge_feedback(session, parent, message, incoming, before_it)
    _merge_choices(session, {m.id: m for m in there}, incoming)


def _merge_feedback(session: Session, reply: Message, told: IncomingMessage, by: Incoming, there: Before) -> None:
    """Add what a person says of a reply, unless they said it before: it may have been changed or taken back since."""
    at = by.created_at or now()
    if told.rating is not None:
        thumb = told.rating, told.reasons, told.comment
        if not is_old_thumb(session, reply, *thumb, by.rater, there):
            put_rating(session, reply, *thumb, by.rater, at)
    text = None if told.correction == reply.content else told.correction  # left as it was: that takes nothing back
    if text is not None and not is_old_correction(session, reply, text, by.rater, there):
        put_correction(session, reply, text, by.rater, at)
        reply.correction_shown = reply.correction_shown or told.correction_shown
    if told.review is not None and not is_old_verdict(session, reply, told.review):
        take_verdict(session, reply, told.review, by.rater, at)


def _merge_choices(session: Session, there: Mapping[str, Message], incoming: Incoming) -> None:
    def reply(message_id: str) -> Message:
        found = there.get(_id_here(session, incoming.conversation_id, message_id))
        if found is None or found.role != "assistant":
            raise BadInput(f"compares the reply {message_id!r}, which is not in this conversation")
        return found

    at = incoming.created_at or now()
    for chosen, rejected in incoming.preferences:
        take_preference(session, reply(chosen), reply(rejected), incoming.rater, at)
    for left, right, outcome in incoming.comparisons:
        take_comparison(session, reply(left), reply(right), outcome, incoming.rater, at)


def _id_here(session: Session, conversation_id: str, told: str) -> str:
    """Return the id that a file's message has in its conversation: its own, unless another conversation holds that.

    Then it is one made from both, the same every time.
    """
    while (held := session.get(Message, told)) is not None and held.conversation_id != conversation_id:
        told = uuid.uuid5(uuid.NAMESPACE_OID, f"{conversation_id} {told}").hex
    return told


def _same(
    session: Session, conversation_id: str, there: list[Message], parent: Message | None, message: IncomingMessage
) -> tuple[Message | None, str | None]:
    """Find the message that is there already; else say which id the new one may take.

    A message with an id is the one of that id: two siblings may say the same. Without an id it is the sibling that says
    the same. Raises BadInput for an id of other words.
    """
    parent_id = parent.id if parent else None
    alike = (m for m in there if (m.parent_id, m.role, m.content) == (parent_id, message.role, message.content))
    if message.id is None:
        return next(alike, None), None
    new_id = _id_here(session, conversation_id, message.id)
    own = next((m for m in there if m.id == new_id), None)
    if own is not None and (own.role, own.content) != (message.role, message.content):
        raise BadInput(f"has another message under the id {message.id!r} than this conversation holds under it")
    if own is None and new_id != message.id:
        own = next((m for m in alike if _DRAWN.fullmatch(m.id)), None)  # as in older records; any other is a sibling's
    return own, new_id


def _paths_out(session: Session, conversation: Conversation) -> Iterator[Incoming]:
    query = select(Message).where(Message.conversation_id == conversation.id, was_said()).order_by(Message.seq)
    said = {m.id: m for m in session.scalars(query)}
    all_parents = dict(
        session.execute(select(Message.id, Message.parent_id).where(Message.conversation_id == conversation.id))
        .tuples()
        .all()
    )
    parents = {key: _nearest(all_parents, all_parents[key], said) for key in said}
    inner = set(parents.values())
    leaves = [key for key in said if key not in inner]
    shown = _nearest(all_parents, conversation.head_id, said)
    leaves.sort(key=lambda key: key == shown)
    told = _told_by(session, list(said))
    # Who reviewed comes last: a verdict that is taken in is then newer than the thumbs that it answers.
    for rater in sorted(told, key=lambda name: (bool(told[name].reviews), name)) or [LOCAL]:
        by = told.get(rater, _Told())
        for leaf in leaves:
            choices = (tuple(by.preferences), tuple(by.comparisons)) if leaf == leaves[-1] else ((), ())
            yield Incoming(
                conversation_id=conversation.id,
                rater=rater,
                created_at=conversation.created_at,
                title=conversation.title,
                messages=tuple(_out(said[i], by) for i in _climb(parents, leaf)),
                persona=persona_name(session, conversation.persona),
                sampling=conversation.sampling,
                preferences=choices[0],
                comparisons=choices[1],
            )


@dataclass
class _Told:
    """What one person thinks of the replies of a conversation, by the replies' ids."""

    ratings: dict[str, Rating] = field(default_factory=dict)
    corrections: dict[str, Correction] = field(default_factory=dict)
    reviews: dict[str, Review] = field(default_factory=dict)
    preferences: list[tuple[str, str]] = field(default_factory=list)
    comparisons: list[tuple[str, str, str]] = field(default_factory=list)


def _told_by(session: Session, ids: Sequence[str]) -> dict[str, _Told]:
    """Map people to what they think of these replies now; of each two replies, to what they chose last."""
    there = set(ids)
    told: dict[str, _Told] = defaultdict(_Told)
    for rating in in_batches(session, Rating, Rating.message_id, ids):
        if rating.value:
            told[rating.rater_id].ratings[rating.message_id] = rating
    for correction in current_corrections(session, ids).values():
        told[correction.author_id].corrections[correction.message_id] = correction
    for review in current_reviews(session, ids).values():
        told[review.reviewer_id].reviews[review.message_id] = review
    chosen = sorted(in_batches(session, Preference, Preference.chosen_id, ids), key=lambda choice: choice.id)
    newest = {(c.rater_id, frozenset((c.chosen_id, c.rejected_id))): c for c in chosen if c.rejected_id in there}
    for choice in sorted(newest.values(), key=lambda choice: choice.id):
        told[choice.rater_id].preferences.append((choice.chosen_id, choice.rejected_id))
    for one in in_batches(session, Comparison, Comparison.left_id, ids):
        if one.right_id in there and one.outcome is not None:
            told[one.person_id].comparisons.append((one.left_id, one.right_id, one.outcome))
    return told


def _nearest(parents: dict[str, str | None], key: str | None, kept: dict[str, Message]) -> str | None:
    while key is not None and key not in kept:
        key = parents[key]
    return key


def _climb(parents: dict[str, str | None], leaf: str) -> list[str]:
    ids: list[str] = []
    key: str | None = leaf
    while key is not None:
        ids.append(key)
        key = parents[key]
    return ids[::-1]


def _out(message: Message, by: _Told) -> IncomingMessage:
    rating, correction = by.ratings.get(message.id), by.corrections.get(message.id)
    review = by.reviews.get(message.id)
    return IncomingMessage(
        role=message.role,
        content=message.content,
        id=message.id,
        status=message.status,
        finish=message.finish,
        rating=rating.value if rating else None,
        reasons=tuple(rating.reasons) if rating else (),
        comment=rating.comment if rating else "",
        correction=correction.text if correction else None,
        correction_shown=message.correction_shown and correction is not None,
        review=review.verdict if review else None,
    )
