"""Verbs on reviews: the queue of replies that a reviewer should look at, and the verdict on each."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, String, and_, cast, exists, false, func, not_, or_, select
from sqlalchemy.orm import Session

from feedback.errors import BadInput
from feedback.formats import VERDICTS
from feedback.harvest import spoken_against
from feedback.messages import check_text, current_corrections, current_reviews, find, in_batches, is_newest
from feedback.ratings import person, put_correction, ratable
from feedback.records import ReviewItem, Thumb
from feedback.schema import LOCAL, Conversation, Correction, Message, Rating, Reply, Review, Signal
from feedback.sessions import Sessions

KINDS = ("unrated", "doubtful", "disputed", "corrected")
ASK = "ask"  # the queue beside them that chooses by itself: see asking.py
MOST_COUNTED = 1000  # nobody reviews more in a day, and counting half a million takes seconds


@dataclass(frozen=True)
class ReviewFilter:
    """Which replies a reviewer wants to see; None is all. Times are those at which the replies were written."""

    version: int | None = None
    rater: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Reviews(Sessions):
    """A reviewer's queue and verdicts."""

    def review(self, message_id: str, verdict: str, reviewer: str = LOCAL) -> None:
        """Keep a verdict on a reply: approved, rejected, or "" to take it back. Raises NotFound, BadInput.

        Taking back puts the verdict before in force again, as old as it was: undoing an approval lifts no rejection.
        """
        with self.writing() as session:
            _put_verdict(session, _reviewable(session, message_id, verdict), verdict, reviewer)

    def amend(self, message_id: str, text: str, verdict: str = "approved", reviewer: str = LOCAL) -> None:
        """Keep what a reply should have said, and a verdict on it, both or neither. Raises NotFound, BadInput.

        Its own text and the verdict "" take both back.
        """
        check_text(text, "correction")
        with self.writing() as session:
            message = _reviewable(session, message_id, verdict)
            put_correction(session, message, text, reviewer)
            _put_verdict(session, message, verdict, reviewer)

    def review_queue(
        self, kind: str, wanted: ReviewFilter | None = None, leave_out: Sequence[str] = (), limit: int = 20
    ) -> list[ReviewItem]:
        """List the replies of a kind that wait for a verdict, newest first, but for those skipped. Raises BadInput.

        Kinds: `unrated`, nobody has thumbed or corrected it; `doubtful`, what people did speaks against what they
        said (regenerated, stopped or asked again without a thumb down, or a thumb up on a reply that was cut off or
        corrected); `disputed`, raters disagree, or one with an approval; `corrected`. A thumb or a correction that is
        newer than the verdict brings a reply back.
        """
        with self.reading() as session:
            query = _waiting(kind, wanted or ReviewFilter())
            if leave_out:
                query = query.where(Message.id.not_in(list(leave_out)[:500]))
            order = query.order_by(Message.created_at.desc(), Message.id).limit(limit)
            return review_items(session, list(session.scalars(order)))

    def review_counts(self, wanted: ReviewFilter | None = None) -> dict[str, int]:
        """Count what waits for a verdict, by kind, as far as MOST_COUNTED; a reply may be of several kinds."""
        with self.reading() as session:
            some = {k: _waiting(k, wanted or ReviewFilter()).limit(MOST_COUNTED) for k in KINDS}
            counts = {k: select(func.count()).select_from(query.subquery()) for k, query in some.items()}
            return {kind: session.scalar(query) or 0 for kind, query in counts.items()}

    def review_choices(self) -> dict[str, list[Any]]:
        """List what can be filtered by: versions that wrote replies, raters, and reasons."""
        with self.reading() as session:
            versions = list(session.scalars(select(Reply.version).distinct().order_by(Reply.version)))
            thumbs = select(Rating.rater_id).where(Rating.value != 0)
            raters = sorted(set(session.scalars(thumbs.union(select(Correction.author_id)))))
            given = session.scalars(select(cast(Rating.reasons, String)).where(Rating.value != 0).distinct())
            reasons = sorted({reason for text in given for reason in json.loads(text)})
            return {"versions": versions, "raters": raters, "reasons": reasons}


def _reviewable(session: Session, message_id: str, verdict: str) -> Message:
    if verdict not in (*VERDICTS, ""):
        raise BadInput(f"The verdict {verdict!r} is not known; give approved, rejected, or nothing to take it back.")
    message = ratable(session, message_id)
    if message.status == "running":
        raise BadInput("This reply is still being written; wait for its end, then review it.")
    return message


def _put_verdict(session: Session, message: Message, verdict: str, reviewer: str) -> None:
    if verdict:
        _judge(session, message, verdict, reviewer)
    else:
        _take_back(session, message, reviewer)


def take_verdict(session: Session, message: Message, verdict: str, reviewer: str, at: datetime) -> None:
    """Add a verdict that a file tells, said `at`; one that approves lifts no rejection of this record."""
    before = current_reviews(session, [message.id]).get(message.id)
    if before is None or before.verdict == "approved" != verdict:
        _judge(session, message, verdict, reviewer, at)


def _judge(session: Session, message: Message, verdict: str, reviewer: str, at: datetime | None = None) -> None:
    """Add a verdict; the same again only where something newer was said, which it then answers."""
    before = current_reviews(session, [message.id]).get(message.id)
    if before is not None and before.verdict == verdict:
        judged = select(Review.id).where(Review.id == before.id)
        if session.scalar(judged.where(not_(_settles()))) is None:
            return
    person(session, reviewer)
    session.add(Review(message_id=message.id, reviewer_id=reviewer, verdict=verdict, said_at=at))


def _take_back(session: Session, message: Message, reviewer: str) -> None:
    """Add a row that repeats the verdict before the one in force, with its time: what came since is still newer."""
    rows = list(session.scalars(select(Review).where(Review.message_id == message.id).order_by(Review.id)))
    if not rows or rows[-1].verdict is None:
        return
    # A repeated row stands for the one that it repeats: what was before that one is next.
    same = next(n for n, r in enumerate(rows) if (r.verdict, r.created_at) == (rows[-1].verdict, rows[-1].created_at))
    below = rows[same - 1] if same else None
    if below is None or below.verdict is None:
        person(session, reviewer)
        session.add(Review(message_id=message.id, reviewer_id=reviewer, verdict=None))
        return
    again = Review(message_id=message.id, reviewer_id=below.reviewer_id, verdict=below.verdict)
    again.created_at, again.said_at = below.created_at, below.said_at
    session.add(again)


def _settles() -> ColumnElement[bool]:
    """Hold for a review that no thumb and no correction is newer than: nothing is left to look at."""
    newer_thumb = exists().where(Rating.message_id == Review.message_id, Rating.updated_at > Review.created_at)
    newer_text = exists().where(Correction.message_id == Review.message_id, Correction.created_at > Review.created_at)
    return not_(or_(newer_thumb, newer_text))


def _waiting(kind: str, wanted: ReviewFilter) -> Select[Message]:
    if kind not in KINDS:
        raise BadInput(f"The kind {kind!r} is not known; {', '.join((ASK, *KINDS))} are.")
    judged = exists().where(Review.message_id == Message.id, is_newest(Review), Review.verdict.is_not(None), _settles())
    # Half of all messages are such replies: of the rarer kinds the database must not go through all these first.
    many = kind == "unrated" and wanted.rater is None
    role, status = (c if many else c.concat("") for c in (Message.role, Message.status))
    there = Message.conversation_id.not_in(select(Conversation.id).where(Conversation.deleted_at.is_not(None)))
    return select(Message).where(
        there,
        role == "assistant",
        status.in_(("complete", "stopped", "interrupted")),
        Message.content != "",
        *_may_be(kind, wanted),
        *_narrowed(wanted),
        _is(kind),
        not_(judged),
    )


def _may_be(kind: str, wanted: ReviewFilter) -> Iterable[ColumnElement[bool]]:
    """Name the few replies that can be of a kind at all, so that nobody looks at all the others."""
    if kind == "unrated":
        if wanted.reason is not None:  # reasons come with a thumb
            yield false()
        if wanted.rater is not None:  # who did not thumb it can only have corrected it, and taken that back
            yield Message.id.in_(select(Correction.message_id).where(Correction.author_id == wanted.rater))
        if wanted.version is not None:  # what came after its last reply was not its own
            last = select(func.max(Reply.heartbeat_at)).where(Reply.version == wanted.version)
            yield Message.created_at <= last.scalar_subquery()
        return
    corrected = select(Correction.message_id)
    if kind == "corrected":
        yield Message.id.in_(corrected)
        return
    liked = select(Rating.message_id).where(Rating.value == 1)
    if kind == "disputed":
        vouched = liked.union(select(Review.message_id).where(Review.verdict == "approved"))
        down = select(Rating.message_id).where(Rating.value == -1)
        yield Message.id.in_(down.intersect(select(vouched.subquery().c.message_id)))
        return
    thumbed = exists().where(Rating.message_id == Message.id, Rating.value == 1)
    cut = select(Message.id).where(Message.finish == "length", thumbed.correlate(Message))
    edited = select(Signal.message_id).where(Signal.kind == "edited")
    asked_again = select(Message.id).where(Message.parent_id.in_(edited))
    told = select(Signal.message_id).where(Signal.kind.in_(("regenerated", "stopped")))
    yield Message.id.in_(told.union(corrected, cut, asked_again))


def _thumbed(*values: int) -> ColumnElement[bool]:
    return exists().where(Rating.message_id == Message.id, Rating.value.in_(values))


def _is(kind: str) -> ColumnElement[bool]:
    newest = is_newest(Correction)
    corrected = exists().where(Correction.message_id == Message.id, newest, Correction.text.is_not(None))
    if kind == "unrated":
        return and_(not_(_thumbed(1, -1)), not_(corrected))
    if kind == "disputed":
        approved = exists().where(Review.message_id == Message.id, is_newest(Review), Review.verdict == "approved")
        return and_(or_(_thumbed(1), approved), _thumbed(-1))  # an approval teaches like a thumb up
    if kind == "corrected":
        return corrected
    contradicted = and_(_thumbed(1), or_(corrected, Message.finish == "length"))
    return or_(and_(spoken_against(), not_(_thumbed(-1)), not_(corrected)), contradicted)


def _narrowed(wanted: ReviewFilter) -> Iterable[ColumnElement[bool]]:
    if wanted.version is not None:
        yield exists().where(Reply.message_id == Message.id, Reply.version == wanted.version)
    if wanted.rater is not None:
        yield or_(
            exists().where(Rating.message_id == Message.id, Rating.value != 0, Rating.rater_id == wanted.rater),
            exists().where(Correction.message_id == Message.id, Correction.author_id == wanted.rater),
        )
    if wanted.reason is not None:
        held = cast(Rating.reasons, String).contains(json.dumps(wanted.reason), autoescape=True)
        yield Message.id.in_(select(Rating.message_id).where(Rating.value != 0, held))
    if wanted.since is not None:
        yield Message.created_at >= wanted.since
    if wanted.until is not None:
        yield Message.created_at < wanted.until


def review_items(
    session: Session, messages: Sequence[Message], why: Mapping[str, str] | None = None
) -> list[ReviewItem]:
    """Tell replies as a reviewer sees them; `why` maps those that are asked about to the reason."""
    ids = [m.id for m in messages]
    replies = {r.message_id: r for r in in_batches(session, Reply, Reply.message_id, ids)}
    corrections = current_corrections(session, ids)
    thumbs: dict[str, list[Thumb]] = {}
    for rating in in_batches(session, Rating, Rating.message_id, ids):
        if rating.value:
            thumb = Thumb(rating.rater_id, rating.value, tuple(rating.reasons), rating.comment)
            thumbs.setdefault(rating.message_id, []).append(thumb)
    signals: dict[str, list[str]] = {}
    parents = list({m.parent_id for m in messages if m.parent_id})
    for signal in in_batches(session, Signal, Signal.message_id, [*ids, *parents]):
        signals.setdefault(signal.message_id, []).append(signal.kind)
    return [
        ReviewItem(
            message_id=m.id,
            conversation_id=m.conversation_id,
            question=find(session, Message, m.parent_id).content if m.parent_id else "",
            content=m.content,
            version=replies[m.id].version if m.id in replies else None,
            created_at=m.created_at,
            thumbs=tuple(thumbs.get(m.id, ())),
            correction=corrections[m.id].text if m.id in corrections else None,
            signals=tuple(
                sorted({*signals.get(m.id, ()), *(k for k in signals.get(m.parent_id or "", ()) if k == "edited")})
            ),
            why=(why or {}).get(m.id, ""),
        )
        for m in messages
    ]
