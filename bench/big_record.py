"""A record of many messages, made up: conversations with branches, people who rate, runs and versions that learned.

Rows are written in bulk, past the store's verbs; what they hold is what the verbs would have written.
"""

import random
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select

from feedback.schema import (
    Comparison,
    Conversation,
    Correction,
    Dataset,
    Message,
    ModelVersion,
    Person,
    Preference,
    Promotion,
    PromotionShare,
    Rating,
    RatingEvent,
    Reply,
    Review,
    Run,
    RunPoint,
    Signal,
    TrainingPair,
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
_REASONS = ("wrong", "too long", "off topic", "unclear", "rude", "helpful", "clear", "kind")
_SYLLABLES = re.findall(r"..", "kalomitevesudrapogrishbecodueafahujekomaniotprqurota")


class BigRecord:
    """Fills a fresh record; everything follows from the seed."""

    def __init__(self, store: Store, messages: int, ratings: int, seed: int = 0):
        """Fill `store` with about so many messages and exactly so many ratings."""
        self._store, self._messages, self._ratings = store, messages, ratings
        self._dice = random.Random(seed)
        self._words = ["".join(self._dice.choices(_SYLLABLES, k=self._dice.randint(1, 3))) for _ in range(6000)]
        self._asked = [self._text(6, 14) + "?" for _ in range(500)]  # what is asked again and again
        self._replies: list[tuple[str, datetime]] = []  # those nobody rated yet
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
        self._datasets()

    def rate(self, number: int, at: datetime | None = None) -> None:
        """Rate so many replies, a twentieth of them by two people; at the time of the reply or at a given one."""
        rows = []
        while len(rows) < number:
            reply, written = self._replies.pop()
            good = self._dice.random() < 0.7
            for rater in self._dice.sample(range(PEOPLE), 2 if self._dice.random() < 0.05 else 1)[: number - len(rows)]:
                value = 1 if good != (self._dice.random() < 0.05) else -1
                rows.append(self._rating(reply, f"person-{rater}", value, at or written + timedelta(minutes=5)))
            self._rated.append((reply, rows[-1]["value"], rows[-1]["updated_at"]))
        first = 1 + self._count
        self._write(Rating, rows)
        names = ("value", "reasons", "comment")
        events = (
            {"rating_id": n, "created_at": row["updated_at"], **{name: row[name] for name in names}}
            for n, row in enumerate(rows, first)
        )
        self._write(RatingEvent, events)
        self._count += number

    def rate_unrated(self, number: int) -> None:
        """Rate now so many replies that nobody has rated, in conversations that are there."""
        with self._store.reading() as session:
            rated = select(Rating.message_id)
            there = select(Message.id).join(Conversation, Conversation.id == Message.conversation_id)
            there = there.where(
                Message.role == "assistant", Message.id.not_in(rated), Conversation.deleted_at.is_(None)
            )
            self._replies = [(key, now()) for key in session.scalars(there.limit(number * 3))]
            self._count = session.scalar(select(func.max(Rating.id))) or 0
        self._dice.shuffle(self._replies)
        self.rate(number, now())

    def _rating(self, reply: str, rater: str, value: int, at: datetime) -> dict[str, Any]:
        reasons = self._dice.sample(_REASONS, self._dice.randint(1, 2)) if self._dice.random() < 0.3 else []
        return {
            "message_id": reply,
            "rater_id": rater,
            "value": value,
            "reasons": reasons,
            "comment": "",
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
                session.execute(insert(table), rows)

    def _text(self, least: int, most: int) -> str:
        many = self._dice.randint(least, most)
        places = (int(len(self._words) * self._dice.random() ** 3) for _ in range(many))  # some words are much commoner
        return " ".join(self._words[place] for place in places).capitalize()

    def _id(self) -> str:
        return f"{self._dice.getrandbits(128):032x}"

    def _version_at(self, at: datetime) -> int:
        return min(VERSIONS, int((at - _BEGAN) / timedelta(days=_DAYS) * (VERSIONS + 1)))

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
                self._replies.append((beside[-1], at))
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

    def _versions(self) -> None:
        """Write a run, its curve, a version and a promotion for each version after the base."""
        for number in range(1, VERSIONS + 1):
            at = _BEGAN + number * timedelta(days=_DAYS) / (VERSIONS + 1)
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
                "finished_at": at + timedelta(hours=1),
            }
            points = [{"run_id": number, "name": "loss", "step": n, "value": 2 - n / 500} for n in range(500)]
            version = {
                "number": number,
                "kind": "adapter",
                "base_model": "tiny",
                "path": f"versions/{number:03}",
                "run_id": number,
                "verdict": "promoted",
                "metrics": {},
                "created_at": at + timedelta(hours=1),
            }
            promotion = {"id": number + 1, "person_id": "local", "reason": "", "created_at": at + timedelta(hours=1)}
            share = {"promotion_id": number + 1, "version": number, "share": 1.0}
            self._flush(Run, [run])
            self._flush(RunPoint, points)
            self._flush(ModelVersion, [version])
            self._flush(Promotion, [promotion])
            self._flush(PromotionShare, [share])

    def _datasets(self) -> None:
        """Freeze for each run what had been rated by then; the last run read all of it."""
        rated = sorted(self._rated, key=lambda one: one[2])
        for number in range(1, VERSIONS + 1):
            until = rated[len(rated) * number // VERSIONS - 1][2]
            cut = until + timedelta(seconds=1)
            counts = {"thumb_up": len(rated) * number // VERSIONS}
            self._flush(Dataset, [{"id": number, "run_id": number, "rule": {}, "counts": counts, "created_at": cut}])
            self._write(TrainingPair, self._pairs(number, rated[: len(rated) * number // VERSIONS]))

    @staticmethod
    def _pairs(dataset: int, rated: list[tuple[str, int, datetime]]) -> Iterator[dict[str, Any]]:
        for reply, value, _ in rated:
            yield {
                "dataset_id": dataset,
                "message_id": reply,
                "kind": "thumb_up" if value > 0 else "thumb_down",
                "weight": 0.6,
                "split": "held_out" if reply[0] in "01" else "validation" if reply[0] == "2" else "train",
            }


def newer_ratings(store: Store, number: int) -> None:
    """Let so many replies that nobody has rated be rated now, after everything that a run has read."""
    record = BigRecord(store, 1, 0, seed=1)
    record.rate_unrated(number)
