"""Verbs on asking: which unrated replies are put before a reviewer, the thumb each gets, and what those say of all.

How they are chosen stands in chooser.py. What was learnt of the ratings is kept, and learnt anew once a tenth more
changes of ratings came, or `_RELEARN` where that is less.
"""

import threading
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from feedback import asked_pool
from feedback.asked_pool import lives, unrated
from feedback.chooser import RANDOM, Ask, choose, set_apart
from feedback.errors import BadInput
from feedback.guess import Learnt
from feedback.messages import in_batches
from feedback.ratings import newest_corrections, put_rating, ratable
from feedback.records import RandomRate, ReviewItem
from feedback.reviews import review_items
from feedback.schema import LOCAL, AskedReply, Correction, Message, Rating, RatingEvent
from feedback.sessions import Sessions
from feedback.statistics import wilson

_BATCH = 10  # replies chosen at once; two of them by chance
_RELEARN = 25
_RATED = 2000  # rated replies learnt from: of so many of the newest ratings, and of as many of all
_POOL = 400  # unrated replies looked at: so many of the newest, and as many of all
_HELD = 100  # replies that a reviewer may have in hand
_APART = 50  # of those set apart, which are drawn from


class Asking(Sessions):
    """What reviewers are asked."""

    _one_at_a_time: ClassVar = threading.Lock()
    _learnt: tuple[int, Learnt] | None = None  # with the newest change of a rating that it knows
    _planned: tuple[Ask, ...] = ()

    def choose_asked(self, limit: int = _BATCH, seed: int = 0) -> list[Ask]:
        """Choose up to `limit` replies to ask about next, and why; writes nothing.

        The same for the same record and seed, but that the newest `_RELEARN` thumbs may not be learnt yet.
        """
        with self.reading() as session:
            before = session.scalar(select(func.count()).select_from(AskedReply)) or 0
            dice = np.random.default_rng([seed, before])
            pool = {text.message_id: text for text in asked_pool.newest(session, _POOL)}
            some = asked_pool.sample(session, dice, _POOL, lambda key: not set_apart(key))
            pool |= {text.message_id: text for text in some}
            apart = asked_pool.sample(session, dice, max(limit, _APART), set_apart)
            return choose(self._know(session), list(pool.values()), apart, limit, [seed, before])

    def put_asked(self, held: Sequence[str] = (), limit: int = 1) -> list[ReviewItem]:
        """Return up to `limit` replies to put before a reviewer, each with `why`, and remember that they were.

        `held` are those that the reviewer was given and has not answered: what is still unrated of them comes first,
        all others are such as nobody was given before.
        """
        with self.reading() as session:
            asked = select(Message.id).join(AskedReply, AskedReply.message_id == Message.id)
            still = set(session.scalars(asked.where(Message.id.in_(list(held)[:_HELD]), *unrated())))
        given = [message_id for message_id in dict.fromkeys(held) if message_id in still]
        while len(given) < limit and (ask := self._next()) is not None:
            if self._put(ask):
                given.append(ask.message_id)
        with self.reading() as session:
            why = {row.message_id: row.why for row in in_batches(session, AskedReply, AskedReply.message_id, given)}
            messages = {row.id: row for row in in_batches(session, Message, Message.id, given)}
            return review_items(session, [messages[key] for key in given], why)

    def answer_asked(self, message_id: str, value: int, reviewer: str = LOCAL) -> None:
        """Keep a reviewer's thumb on a reply that was put before one: 1, -1, or 0 to take it back.

        Raises NotFound, and BadInput for a reply that nobody was asked about.
        """
        with self.writing() as session:
            message = ratable(session, message_id, alone=True)
            if session.get(AskedReply, message.id) is None:
                raise BadInput(f"Nobody was asked about reply {message_id!r}; rate it in its conversation.")
            put_rating(session, message, value, None, None, reviewer)

    def random_rate(self) -> RandomRate:
        """Return what `asked_at_random` does."""
        with self.reading() as session:
            return asked_at_random(session)

    def _next(self) -> Ask | None:
        """Take the next reply of the batch in hand; of a new one where that is used up."""
        with self._one_at_a_time:
            planned = self._planned or tuple(self.choose_asked())
            self._planned = planned[1:]
            return planned[0] if planned else None

    def _put(self, ask: Ask) -> bool:
        """Remember that a reply is put before somebody; False where it was, or was rated since it was chosen."""
        wanted = select(Message.id).where(Message.id == ask.message_id, *unrated())
        try:
            with self.writing() as session:
                if session.scalar(wanted) is None:
                    return False
                session.add(AskedReply(message_id=ask.message_id, why=ask.why))
        except IntegrityError:  # it was put before somebody meanwhile, by another process
            return False
        return True

    def _know(self, session: Session) -> Learnt:
        """Return what is learnt of the ratings, learnt anew where enough of them changed."""
        newest = session.scalar(select(func.max(RatingEvent.id))) or 0
        known = self._learnt
        if known is None or not 0 <= newest - known[0] < max(1, min(_RELEARN, known[0] // 10)):
            known = newest, Learnt(asked_pool.rated(session, np.random.default_rng(newest), _RATED))
            self._learnt = known
        return known[1]


def asked_at_random(session: Session) -> RandomRate:
    """Return the share of thumbs up among replies asked about by chance, with its 90 % Wilson interval.

    It estimates how reviewers would thumb all replies that nobody rated. The newest thumb on a reply counts; one that
    was corrected without a thumb was not liked. Deleted conversations are left out, of those asked about too.
    """
    drawn = select(AskedReply.message_id).join(Message, Message.id == AskedReply.message_id)
    drawn = drawn.where(AskedReply.why == RANDOM, lives())
    thumbs = select(Rating.message_id, Rating.value).where(Rating.value != 0, Rating.message_id.in_(drawn))
    newest = newest_corrections().where(Correction.message_id.in_(drawn))
    corrected = select(Correction.message_id).where(Correction.id.in_(newest), Correction.text.is_not(None))
    last = dict(session.execute(thumbs.order_by(Rating.updated_at, Rating.id)).tuples().all())
    asked, answered = len(session.scalars(drawn).all()), len({*last, *session.scalars(corrected)})
    up = sum(value > 0 for value in last.values())
    return RandomRate(asked, answered, up, *wilson(up, answered))
