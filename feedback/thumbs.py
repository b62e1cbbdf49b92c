"""Verbs on the thumbs that versions earned, each conversation told as one witness.

Counted are thumbs on replies that a version wrote here, as they are now: a changed thumb counts as changed, one taken
back not at all, and imported replies count for no version. Left out are deleted conversations, and thumbs that somebody
was asked for because of what the reply says (`AskedReply`): only those asked at random tell how often people are
pleased.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from feedback.chooser import RANDOM
from feedback.messages import find
from feedback.records import Earned
from feedback.schema import AskedReply, Comparison, Conversation, Message, Rating, Reply, Trial, now
from feedback.sessions import Sessions
from feedback.statistics import wilson


@dataclass(frozen=True)
class Witness:
    """One conversation's thumbs on a version's replies."""

    up: int
    down: int

    @property
    def share(self) -> float:
        """Share of thumbs up, 0 to 1."""
        return self.up / (self.up + self.down)


class Thumbs(Sessions):
    """Thumbs by version."""

    def version_thumbs(self) -> dict[int, Earned]:
        """Map each version with thumbs to what it earned in all the time it served."""
        with self.reading() as session:
            return _earned(session, Rating.version.is_not(None))

    def version_earned(self, number: int) -> Earned:
        """Return what one version earned; nothing if there are no thumbs."""
        with self.reading() as session:
            return _earned(session, Rating.version == number).get(number, earned(()))

    def trial_thumbs(self, trial_id: int) -> dict[int, list[Witness]]:
        """Map candidate and opponent of a trial to their conversations with thumbs. Raises NotFound.

        Counted are conversations that began during the trial, each for the version that was drawn for it: the one that
        wrote its first reply. Thumbs on replies of another version in it, and on two replies put side by side, count
        for neither.
        """
        with self.reading() as session:
            trial = find(session, Trial, trial_id)
            found = _witnesses(session.execute(_of_trial(trial)))
            return {number: found.get(number, []) for number in (trial.candidate, trial.against)}


def earned(witnesses: Sequence[Witness]) -> Earned:
    """Sum up what a version's conversations say."""
    up, down = sum(one.up for one in witnesses), sum(one.down for one in witnesses)
    return _summed(up, down, len(witnesses), sum(one.share for one in witnesses))


def _summed(up: int, down: int, conversations: int, shares: float) -> Earned:
    low, high = wilson(shares, conversations)
    return Earned(up, down, conversations, shares / conversations if conversations else None, low, high)


def _earned(session: Session, of: ColumnElement[bool]) -> dict[int, Earned]:
    """Sum up by version in the database, off the thumbs alone: there may be hundreds of thousands."""
    up, down = (func.sum(case((Rating.value == value, 1), else_=0)) for value in (1, -1))
    gone = select(Conversation.id).where(Conversation.deleted_at.is_not(None))
    each = select(Rating.version, up.label("up"), down.label("down"))
    each = each.where(of, Rating.value != 0, Rating.conversation_id.not_in(gone), ~_picked())
    one = each.group_by(Rating.version, Rating.conversation_id).subquery()
    share = func.sum(one.c.up * 1.0 / (one.c.up + one.c.down))
    told = select(one.c.version, func.sum(one.c.up), func.sum(one.c.down), func.count(), share)
    rows = session.execute(told.group_by(one.c.version).order_by(one.c.version))
    # A sum of sums is a Decimal on PostgreSQL.
    return {version: _summed(int(up), int(down), n, float(shares)) for version, up, down, n, shares in rows}


def _picked() -> ColumnElement[bool]:
    """Hold for a thumb that was asked for because of what the reply says."""
    return exists().where(
        AskedReply.message_id == Rating.message_id,
        AskedReply.why != RANDOM,
        AskedReply.created_at <= Rating.created_at,
    )


def _thumbs() -> Any:
    """Select (version, conversation, value, how many) of the thumbs that count."""
    rows = select(Reply.version, Message.conversation_id, Rating.value, func.count()).select_from(Rating)
    rows = rows.join(Message, Message.id == Rating.message_id).join(Reply, Reply.message_id == Message.id)
    rows = rows.join(Conversation, Conversation.id == Message.conversation_id)
    rows = rows.where(Rating.value != 0, Conversation.deleted_at.is_(None), ~_picked())
    return rows.group_by(Reply.version, Message.conversation_id, Rating.value)


def _of_trial(trial: Trial) -> Any:
    """Select those of the thumbs that count in a trial."""
    until = trial.ended_at or now()
    during = and_(Conversation.source == "chat", Conversation.created_at.between(trial.created_at, until))
    first = (
        select(Message.conversation_id, func.min(Message.seq).label("seq"))
        .join(Reply, Reply.message_id == Message.id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(during)
        .group_by(Message.conversation_id)
        .subquery()
    )
    opening, drawn = aliased(Message), aliased(Reply)
    rows = _thumbs().join(first, first.c.conversation_id == Message.conversation_id)
    rows = rows.join(opening, and_(opening.conversation_id == Message.conversation_id, opening.seq == first.c.seq))
    rows = rows.join(drawn, drawn.message_id == opening.id).where(drawn.version == Reply.version)
    rows = rows.where(Reply.version.in_((trial.candidate, trial.against)), Message.created_at <= until)
    return rows.where(~_put_beside(Message.id), ~_put_beside(opening.id), Rating.updated_at >= trial.created_at)


def _put_beside(reply: Any) -> ColumnElement[bool]:
    """Hold for a reply that was written to be chosen from two."""
    return exists().where(or_(Comparison.left_id == reply, Comparison.right_id == reply))


def _witnesses(rows: Iterable[Any]) -> dict[int, list[Witness]]:
    thumbs: dict[int, dict[str, dict[int, int]]] = {}
    for version, conversation, value, count in rows:
        thumbs.setdefault(version, {}).setdefault(conversation, {})[value] = count
    return {
        version: [Witness(each.get(1, 0), each.get(-1, 0)) for each in told.values()]
        for version, told in thumbs.items()
    }
