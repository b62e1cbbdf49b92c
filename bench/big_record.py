"""A record of many messages, made up: conversations with branches, people who rate, versions that serve, a trial.

Rows are written in bulk, past the store's verbs; what they hold is what the verbs would have written. What the runs
learned of it is written by big_history.py, once a run's pairs have been chosen in earnest.
"""

import random
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, insert, select

from feedback.schema import (
    AskedReply,
    Comparison,
    Conversation,
    Correction,
    Message,
    ModelVersion,
    Person,
    Pin,
    Preference,
    Promotion,
    PromotionShare,
    Rating,
    RatingEvent,
    Reply,
    Review,
    Run,
    RunEvent,
    RunPoint,
    Signal,
    Trial,
    now,
)
from feedback.store import Store

VERSIONS = 20
PEOPLE = 50
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_DAYS = 300
_AT_ONCE = 20_000  # rows written in one transaction
_TURNS = 5  # on average: ten messages a conversation
_PERSONAS = ("", "", "", "service", "assistant", "tutor")
_TRIAL_SHARE = 0.3  # of new conversations goes to the newest version, which is on trial
_REASONS = ("wrong", "too long", "off topic", "unclear", "rude", "helpful", "clear", "kind")
_SYLLABLES = re.findall(r"..", "kalomitevesudrapogrishbecodueafahujekomaniotprqurota")


def made_at(version: int) -> datetime:
    """Return when a version was made; the record was read for it an hour before."""
    return _BEGAN + version * timedelta(days=_DAYS) / (VERSIONS + 1) + timedelta(hours=1)


class _Written(NamedTuple):
    """A reply that nobody rated yet, with what a rating keeps of it."""

    id: str
    at: datetime
    conversation: str
    version: int
    persona: str


class BigRecord:
    """Fills a fresh record; everything follows from the seed."""

    def __init__(self, store: Store, messages: int, ratings: int, seed: int = 0):
        """Fill `store` with about so many messages and exactly so many ratings."""
        self._store, self._messages, self._ratings = store, messages, ratings
        self._dice = random.Random(seed)
        self._words = ["".join(self._dice.choices(_SYLLABLES, k=self._dice.randint(1, 3))) for _ in range(6000)]
        self._asked = [self._text(6, 14) + "?" for _ in range(500)]  # what is asked again and again
        self._replies: list[_Written] = []
        self._siblings: list[tuple[str, str, datetime]] = []
        self._rated: list[tuple[str, int, datetime]] = []
        self._span = timedelta(days=_DAYS) / (messages / (2 * _TURNS))
        self._count = 0  # ratings written

    def make(self) -> None:
        """Write everything but the newest ratings."""
        self._store.add_base("tiny")
        self._write(Person, ({"id": f"person-{n}", "role": "chatter"} for n in range(PEOPLE)))
        self._versions()
        self._conversations()
        self._dice.shuffle(self._replies)
        self.rate(self._ratings)
        self._opinions()
        self._ask()

    def rate(self, number: int, at: datetime | None = None) -> None:
        """Rate so many replies, a twentieth of them by two people; at the time of the reply or at a given one."""
        rows: list[dict[str, Any]] = []
        while len(rows) < number:
            reply = self._replies.pop()
            good = self._dice.random() < 0.7
            for rater in self._dice.sample(range(PEOPLE), 2 if self._dice.random() < 0.05 else 1)[: number - len(rows)]:
                value = 1 if good != (self._dice.random() < 0.05) else -1
                rows.append(self._rating(reply, f"person-{rater}", value, at or reply.at + timedelta(minutes=5)))
            self._rated.append((reply.id, rows[-1]["value"], rows[-1]["updated_at"]))
        rows.sort(key=lambda row: row["created_at"])
        for n, row in enumerate(rows, 1 + self._count):
            row["id"] = n
        self._write(Rating, rows)
        kept = ("value", "reasons", "comment")
        self._write(
            RatingEvent,
            ({"rating_id": r["id"], "created_at": r["updated_at"], **{name: r[name] for name in kept}} for r in rows),
        )
        self._count += number

    def rate_unrated(self, number: int) -> None:
        """Rate now so many replies that nobody has rated, in conversations that are there."""
        with self._store.reading() as session:
            self._count = session.scalar(select(func.max(Rating.id))) or 0
            rated = select(Rating.message_id)
            there = select(Message.id, Message.created_at, Conversation.id, Reply.version, Conversation.persona)
            there = there.join(Conversation, Conversation.id == Message.conversation_id)
            there = there.join(Reply, Reply.message_id == Message.id)
            there = there.where(Message.id.not_in(rated), Conversation.deleted_at.is_(None))
            self._replies = [_Written(*row) for row in session.execute(there.limit(number * 3))]
        self._dice.shuffle(self._replies)
        self.rate(number, now())

    def _rating(self, reply: _Written, rater: str, value: int, at: datetime) -> dict[str, Any]:
        reasons = self._dice.sample(_REASONS, self._dice.randint(1, 2)) if self._dice.random() < 0.3 else []
        return {
            "message_id": reply.id,
            "rater_id": rater,
            "value": value,
            "reasons": reasons,
            "comment": "",
            "conversation_id": reply.conversation,
            "version": reply.version,
            "persona": reply.persona,
            "created_at": at,
            "updated_at": at,
        }

    def _write(self, table: Any, rows: Iterable[dict[str, Any]]) -> None:
        part: list[dict[str, Any]] = []
        for row in rows:
            part.append(row)
            if len(part) == _AT_ONCE:
                self._flush(table, part)
                part = []
        self._flush(table, part)

    def _flush(self, table: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            with self._store.writing() as session:
                session.execute(insert(table.__table__), rows)

    def _text(self, least: int, most: int) -> str:
        said, drawn = self._words, self._dice.random
        places = [
            int(len(said) * drawn() ** 3) for _ in range(self._dice.randint(least, most))
        ]  # some are much commoner
        return " ".join([said[place] for place in places]).capitalize()

    def _id(self) -> str:
        return f"{self._dice.getrandbits(128):032x}"

    def _version_at(self, at: datetime) -> int:
        newest = max((n for n in range(1, VERSIONS + 1) if made_at(n) <= at), default=0)
        on_trial = newest == VERSIONS
        return newest - 1 if on_trial and self._dice.random() > _TRIAL_SHARE else newest

    def _conversations(self) -> None:
        made, number = 0, 0
        while made < self._messages:
            talks, said, replies, signals = [], [], [], []
            while len(said) < _AT_ONCE and made + len(said) < self._messages:
                talk = self._talk(_BEGAN + number * self._span, said, replies, signals)
                talks.append(talk)
                number += 1
            for table, rows in ((Conversation, talks), (Message, said), (Reply, replies), (Signal, signals)):
                self._flush(table, rows)
            made += len(said)

    def _talk(
        self, at: datetime, said: list[dict[str, Any]], replies: list[dict[str, Any]], signals: list[dict[str, Any]]
    ) -> dict[str, Any]:
        talk, owner, seq = self._id(), "local" if self._dice.random() < 0.5 else "person-1", 0
        persona, version = self._dice.choice(_PERSONAS), self._version_at(at)
        head: str | None = None
        given: list[dict[str, str]] = []
        began = at

        def add(role: str, text: str, parent: str | None) -> str:
            nonlocal seq, at
            seq, at, key = seq + 1, at + timedelta(seconds=30), self._id()
            ended = {"status": "complete", "finish": "end" if role == "assistant" else None}
            if role == "assistant" and self._dice.random() < 0.02:
                ended = {"status": "stopped", "finish": "stopped"}
            elif role == "assistant" and self._dice.random() < 0.02:
                ended["finish"] = "length"
            row = {"id": key, "conversation_id": talk, "parent_id": parent, "seq": seq, "role": role, "content": text}
            said.append({**row, **ended, "correction_shown": False, "created_at": at})
            return key

        if persona:
            head = add("system", f"You are a {persona}.", None)
            given.append({"message": head})
        for _ in range(self._dice.randint(_TURNS - 2, _TURNS + 2)):
            asked = self._dice.choice(self._asked) if self._dice.random() < 0.05 else self._text(5, 14)
            head = add("user", asked, head)
            given.append({"message": head})
            beside = []
            for _ in range(2 if self._dice.random() < 0.08 else 1):
                beside.append(add("assistant", self._text(12, 40), head))
                replies.append(
                    {
                        "message_id": beside[-1],
                        "version": version,
                        "sampling": {},
                        "prompt": list(given),
                        "writer": "bench",
                        "heartbeat_at": at,
                        "completion_tokens": 40,
                        "duration_s": 2.0,
                    }
                )
                self._replies.append(_Written(beside[-1], at, talk, version, persona))
            if len(beside) == 2:
                signals.append({"message_id": beside[0], "person_id": owner, "kind": "regenerated", "created_at": at})
                self._siblings.append((beside[0], beside[1], at))
            head = beside[-1]
            given.append({"message": head})
        return {
            "id": talk,
            "owner_id": owner,
            "title": self._text(3, 6),
            "source": "chat",
            "head_id": head,
            "persona": persona,
            "system_prompt": f"You are a {persona}." if persona else "",
            "sampling": {},
            "created_at": began,
            "updated_at": at,
            "deleted_at": at if self._dice.random() < 0.01 else None,
        }

    def _opinions(self) -> None:
        """Correct a twentieth of what was rated, review a hundredth, choose between siblings."""
        some = self._dice.sample(self._rated, len(self._rated) // 20)
        self._write(
            Correction,
            (
                {"message_id": reply, "author_id": "local", "text": self._text(10, 30), "created_at": at}
                for reply, _, at in some
            ),
        )
        few = self._dice.sample(self._rated, len(self._rated) // 100)
        self._write(
            Review,
            (
                {
                    "message_id": reply,
                    "reviewer_id": "local",
                    "verdict": "approved" if value > 0 else "rejected",
                    "created_at": at + timedelta(minutes=5),
                }
                for reply, value, at in few
            ),
        )
        half = self._siblings[::2]
        self._write(
            Preference,
            ({"chosen_id": b, "rejected_id": a, "rater_id": "person-2", "created_at": at} for a, b, at in half),
        )
        self._write(
            Comparison,
            (
                {
                    "left_id": a,
                    "right_id": b,
                    "person_id": "person-3",
                    "outcome": "both_bad",
                    "created_at": at,
                    "judged_at": at,
                }
                for a, b, at in self._siblings[1::20]
            ),
        )

    def _ask(self) -> None:
        """Let reviewers have been asked about a fiftieth of what was rated, and a few more."""
        some = self._dice.sample(self._rated, len(self._rated) // 50)
        rows = [(key, at - timedelta(minutes=1)) for key, _, at in some]
        rows += [(reply.id, reply.at) for reply in self._replies[: len(some) // 4]]
        why = ("random", "uncertain", "uncertain", "disputed", "unlike")
        self._write(AskedReply, ({"message_id": k, "why": self._dice.choice(why), "created_at": at} for k, at in rows))

    def _versions(self) -> None:
        """Write a run, its diary and curve, a version and a promotion for each after the base; the last is on trial."""
        for number in range(1, VERSIONS + 1):
            at, ended = made_at(number) - timedelta(hours=1), made_at(number)
            run = {
                "id": number,
                "status": "promoted",
                "settings": {},
                "metrics": {"loss": 1.0},
                "step": 500,
                "total": 500,
                "writer": "bench",
                "created_at": at,
                "heartbeat_at": at,
                "finished_at": ended,
            }
            states = ("queued", "building", "training", "evaluating", "promoted")
            points = [{"run_id": number, "name": "loss", "step": n, "value": 2 - n / 500} for n in range(500)]
            version = {
                "number": number,
                "kind": "adapter",
                "base_model": "tiny",
                "path": f"versions/{number:03}",
                "run_id": number,
                "verdict": "promoted",
                "metrics": {},
                "created_at": ended,
            }
            self._flush(Run, [run])
            self._flush(
                RunEvent,
                [
                    {"run_id": number, "status": state, "created_at": at + n * timedelta(minutes=15)}
                    for n, state in enumerate(states)
                ],
            )
            self._flush(RunPoint, points)
            self._flush(ModelVersion, [version])
            shares = {number: 1.0} if number < VERSIONS else {number: _TRIAL_SHARE, number - 1: 1 - _TRIAL_SHARE}
            promotion = {"id": number + 1, "person_id": "local", "reason": "", "created_at": ended}
            self._flush(Promotion, [promotion])
            self._flush(
                PromotionShare,
                [{"promotion_id": number + 1, "version": v, "share": share} for v, share in shares.items()],
            )
        trial = {
            "promotion_id": VERSIONS + 1,
            "candidate": VERSIONS,
            "against": VERSIONS - 1,
            "share": _TRIAL_SHARE,
            "rule": {},
            "person_id": "local",
            "created_at": made_at(VERSIONS),
        }
        self._flush(Trial, [trial])
        self._flush(Pin, [{"version": 3, "person_id": "local", "pinned": True}])


def newer_ratings(store: Store, number: int) -> None:
    """Let so many replies that nobody has rated be rated now, after everything that a run has read."""
    record = BigRecord(store, 1, 0, seed=1)
    record.rate_unrated(number)
