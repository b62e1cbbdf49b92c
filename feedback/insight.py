"""The verb that counts what people think of replies: over time, by version, persona and reason, and what they correct.

All is counted by the database, over columns of the ratings themselves, so that a record of a million messages answers
in a second. A thumb counts at the time it was first given. Thumbs are given by who wants to: their share tells what
those people thought, not how good all replies are.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, cast, exists, func, select
from sqlalchemy.orm import Session, aliased

from feedback.asking import asked_at_random
from feedback.errors import BadInput
from feedback.ratings import newest_corrections
from feedback.schema import Conversation, Correction, Message, Rating, Reply, now
from feedback.sessions import Sessions
from feedback.statistics import wilson

ENOUGH = 20  # observations; of fewer a share is not shown
STEPS = ("day", "week")
IMPORTED = "imported"  # the version's name where there is none: what was imported counts for no version
_QUESTIONS = 5_000  # corrected replies, the newest, whose questions are looked at
_MOST = 12  # lines of a list
_OPENING = 2  # words that a question begins with
_IDEOGRAPHS = 4  # as many characters, where words are not kept apart by spaces


@dataclass(frozen=True)
class Share:
    """A part of a whole: thumbs up of thumbs, corrected replies of judged ones."""

    name: str
    part: int
    whole: int

    @property
    def share(self) -> float | None:
        """The part, 0 to 1; None of nothing."""
        return self.part / self.whole if self.whole else None

    @property
    def interval(self) -> tuple[float, float]:
        """Its two-sided 90 % interval by Wilson, see `statistics.wilson`."""
        return wilson(self.part, self.whole)

    @property
    def enough(self) -> bool:
        """Whether there are enough observations to show a share at all."""
        return self.whole >= ENOUGH


@dataclass(frozen=True)
class Survey:
    """What was counted, since when (None: ever) and per day or week; time runs forward, all else by size.

    Of thumbs the part is those up. A reason's whole is the thumbs of its side. Of corrections the whole is the thumbs,
    and the corrected replies without one. `openings` holds how often questions of corrected replies began so, among the
    newest `questions`. `asked` is of replies that reviewers were asked about at random: only there may a share be
    read as that of all replies.
    """

    since: datetime | None
    step: str
    at: datetime
    total: Share
    over_time: tuple[Share, ...]
    versions: tuple[Share, ...]
    personas: tuple[Share, ...]
    reasons_up: tuple[Share, ...]
    reasons_down: tuple[Share, ...]
    corrected: Share
    corrected_versions: tuple[Share, ...]
    corrected_personas: tuple[Share, ...]
    openings: tuple[tuple[str, int], ...]
    questions: int
    asked: Share


class Insight(Sessions):
    """Counts over the whole record."""

    def survey(self, since: datetime | None = None, step: str = "week") -> Survey:
        """Count thumbs and corrections given since an instant (None: ever), per day or week. Raises BadInput."""
        if step not in STEPS:
            raise BadInput(f"The step {step!r} is not known; {' and '.join(STEPS)} are.")
        with self.reading() as session:
            thumbs = _Thumbs(session, since)
            up, down = _reasons(session, since)
            fixed = _Corrected(session, since, thumbs)
            openings = _openings(session, since)
            asked = asked_at_random(session)
        total = _sum("", thumbs.rows)
        return Survey(
            since=since,
            step=step,
            at=now(),
            total=total,
            over_time=thumbs.over_time(step),
            versions=thumbs.by_version(),
            personas=_by_size(thumbs.by(lambda row: row[2])),
            reasons_up=_by_size(Share(name, n, total.part) for name, n in up.items()),
            reasons_down=_by_size(Share(name, n, total.whole - total.part) for name, n in down.items()),
            corrected=fixed.total,
            corrected_versions=fixed.versions,
            corrected_personas=fixed.personas,
            openings=tuple(openings.most_common(_MOST)),
            questions=openings.total(),
            asked=Share("", asked.up, asked.answered),
        )


class _Thumbs:
    """Thumbs by (day, version, persona), as (day, version, persona, up, all)."""

    def __init__(self, session: Session, since: datetime | None):
        day = func.date(Rating.created_at, type_=String)
        up = func.sum(case((Rating.value > 0, 1), else_=0))
        query = select(day, Rating.version, Rating.persona, up, func.count()).where(_counts(since))
        rows = session.execute(query.group_by(day, Rating.version, Rating.persona))
        self.rows = [(str(day), _named(version), persona, up, n) for day, version, persona, up, n in rows]

    def by(self, key: Any) -> list[Share]:
        """Sum up by what a row is called."""
        together = defaultdict(list)
        for row in self.rows:
            together[key(row)].append(row)
        return [_sum(name, rows) for name, rows in together.items()]

    def over_time(self, step: str) -> tuple[Share, ...]:
        """Sum up by day, or by week as the day on which it begins."""
        found = self.by(lambda row: row[0] if step == "day" else _monday(row[0]))
        return tuple(sorted(found, key=lambda share: share.name))

    def by_version(self) -> tuple[Share, ...]:
        """Sum up by version, in their order."""
        return _in_order(self.by(lambda row: row[1]))


class _Corrected:
    """Corrected replies of those judged, in all and by version and persona."""

    def __init__(self, session: Session, since: datetime | None, thumbs: _Thumbs):
        thumbed = exists().where(Rating.message_id == Correction.message_id, _counts(since))
        query = (
            select(Reply.version, Conversation.persona, func.count(), func.sum(case((thumbed, 0), else_=1)))
            .select_from(Correction)
            .join(Message, Message.id == Correction.message_id)
            .join(Conversation, Conversation.id == Message.conversation_id)
            .outerjoin(Reply, Reply.message_id == Correction.message_id)
            .where(_stands(since), Conversation.deleted_at.is_(None))
            .group_by(Reply.version, Conversation.persona)
        )
        rows = [(_named(version), persona, n, alone) for version, persona, n, alone in session.execute(query)]
        self.versions = _in_order(_merged([(row[0], *row[2:]) for row in rows], thumbs.by(lambda row: row[1])))
        self.personas = _by_size(_merged([(row[1], *row[2:]) for row in rows], thumbs.by(lambda row: row[2])))
        judged = sum(row[4] for row in thumbs.rows) + sum(row[3] for row in rows)
        self.total = Share("", sum(row[2] for row in rows), judged)


def _merged(rows: Iterable[tuple[str, int, int]], thumbs: Iterable[Share]) -> list[Share]:
    part: Counter[str] = Counter()
    whole = Counter({share.name: share.whole for share in thumbs})
    for name, corrected, alone in rows:
        part[name] += corrected
        whole[name] += alone  # those with a thumb are counted as thumbs
    return [Share(name, part[name], n) for name, n in whole.items()]


def _reasons(session: Session, since: datetime | None) -> tuple[Counter[str], Counter[str]]:
    """Count how many thumbs up and down name each reason."""
    kept = cast(Rating.reasons, String)  # as it is stored: JSON itself cannot be grouped by everywhere
    query = select(kept, Rating.value, func.count()).where(_counts(since)).group_by(kept, Rating.value)
    sides: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for text, value, n in session.execute(query):
        for reason in set(json.loads(text)):
            sides[value < 0][reason] += n
    return sides


def _openings(session: Session, since: datetime | None) -> Counter[str]:
    """Count how the questions begin whose replies were corrected, of the newest ones."""
    question = aliased(Message)
    query = (
        select(func.substr(question.content, 1, 80))
        .select_from(Correction)
        .join(Message, Message.id == Correction.message_id)
        .join(question, question.id == Message.parent_id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(_stands(since), Conversation.deleted_at.is_(None))
        .order_by(Correction.id.desc())
        .limit(_QUESTIONS)
    )
    return Counter(opening_of(text) for text in session.scalars(query))


def opening_of(question: str) -> str:
    """Return the words that a question begins with, in lower case; of a script without spaces some characters."""
    words = question.lower().split()
    if words and words[0][0] >= "\u3040":
        return words[0][:_IDEOGRAPHS]
    return " ".join(word.strip(".,:;!?\"'()") for word in words[:_OPENING])


def _counts(since: datetime | None) -> ColumnElement[bool]:
    """Hold for thumbs that stand, in conversations that are there."""
    gone = select(Conversation.id).where(Conversation.deleted_at.is_not(None))
    stands = and_(Rating.value != 0, Rating.conversation_id.not_in(gone))
    return stands if since is None else and_(stands, Rating.created_at >= since)


def _stands(since: datetime | None) -> ColumnElement[bool]:
    """Hold for corrections that are not replaced or taken back."""
    newest = and_(Correction.id.in_(newest_corrections()), Correction.text.is_not(None))
    return newest if since is None else and_(newest, Correction.created_at >= since)


def _named(version: int | None) -> str:
    return IMPORTED if version is None else str(version)


def _monday(day: str) -> str:
    at = date.fromisoformat(day)
    return (at - timedelta(days=at.weekday())).isoformat()


def _sum(name: str, rows: Iterable[tuple[str, str, str, int, int]]) -> Share:
    found = list(rows)
    return Share(name, sum(row[3] for row in found), sum(row[4] for row in found))


def _by_size(shares: Iterable[Share]) -> tuple[Share, ...]:
    return tuple(sorted(shares, key=lambda s: (-s.part, -s.whole, s.name))[:_MOST])


def _in_order(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Versions, oldest first; what was imported comes last."""
    return tuple(sorted(shares, key=lambda s: (s.name == IMPORTED, int(s.name) if s.name.isdigit() else 0)))
