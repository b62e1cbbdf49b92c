"""The verb that follows feedback to what it reached: pairs, datasets, runs and versions; and a version back to it.

A rating reached the datasets that were frozen while it stood: with the value that it had then, whatever it is now. One
that was taken back, and a conversation that was deleted, is found like any other; its rows say so.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.errors import NotFound
from feedback.messages import current_corrections, find, in_batches, rows_of
from feedback.reached import dataset_rows, run_rows, version_rows
from feedback.revocation import (
    LEARNED,
    Values,
    Withdrawal,
    choice_values,
    clean_of,
    rating_values,
    value_at,
    versions_made,
    withdrawals,
)
from feedback.schema import (
    Conversation,
    Dataset,
    Message,
    ModelVersion,
    Rating,
    RejectedReply,
    Reply,
    TrainingPair,
)
from feedback.sessions import Sessions

Trace = dict[str, list[dict[str, Any]]]
_CHOICE = {"chosen": 1, "discarded": -1}  # kinds of pairs that a choice makes, and what it said of the reply
REJECTED = "rejected"  # beside train, validation and held_out: the dataset has no pair of the text, `rule` says why


class Lineage(Sessions):
    """What feedback reached."""

    def trace(
        self,
        rating: int | str | None = None,
        message: str | None = None,
        conversation: str | None = None,
        version: int | str | None = None,
    ) -> Trace:
        """Follow one rating, message or conversation to the versions it reached, or a version back. Raises NotFound.

        Returns rows under `ratings`, `pairs`, `datasets`, `runs` and `versions`; a name stands for the same thing in
        every row, so a pair's `run` is the `run` of one of the runs. Times are ISO 8601 in UTC.
        """
        with self.reading() as session:
            if rating is not None:
                row = find(session, Rating, _number(rating, "rating"))
                return _Told(session, [row.message_id], only=row.id).rows()
            if message is not None:
                return _Told(session, _replies_of(session, find(session, Message, message))).rows()
            if conversation is not None:
                talk = find(session, Conversation, conversation, deleted_too=True)
                return _Told(session, _replies_in(session, talk.id)).rows()
            return _back(session, _number(version, "version"))

    def trace_message(self, message_id: str) -> Trace:
        """Follow one message, as `trace` does. Raises NotFound."""
        return self.trace(message=message_id)


@dataclass(frozen=True)
class _Line:
    """One pair of a dataset, or one text that it rejected: then without id, kind, weight and correction."""

    id: int | None
    dataset: int
    message: str
    split: str
    kind: str | None
    rule: str | None
    weight: float | None
    correction: int | None
    run: int
    cut: datetime
    version: int | None


class _Told:
    """All that there is to tell of some replies; of one rating alone, with `only`."""

    def __init__(self, session: Session, replies: Sequence[str], only: int | None = None, run: int | None = None):
        """Read what datasets made of the replies, or the dataset of one run."""
        self._session, self._replies, self._run = session, replies, run
        talks = select(Message.id, Message.conversation_id, Conversation.deleted_at)
        talks = talks.join(Conversation, Conversation.id == Message.conversation_id)
        self._talks = {key: (talk, gone) for key, talk, gone in rows_of(session, talks, Message.id, replies)}
        found = in_batches(session, Rating, Rating.message_id, replies)
        self._ratings = sorted((r for r in found if only in (None, r.id)), key=lambda r: r.id)
        self._values = rating_values(session, [r.id for r in self._ratings])
        self._corrections = {key: c.id for key, c in current_corrections(session, replies).items()}
        self._withdrawn: dict[str, list[Withdrawal]] = defaultdict(list)
        for one in withdrawals(session, replies):
            self._withdrawn[one.message_id].append(one)
        self._choices: dict[str, list[Values]] = {}
        self._only = only

    def rows(self) -> Trace:
        """Return the rows of every kind."""
        by_reply: dict[str, list[Rating]] = defaultdict(list)
        for rating in self._ratings:
            by_reply[rating.message_id].append(rating)
        lines = self._lines()
        self._choices = choice_values(self._session, list({line.message for line in lines if line.kind in _CHOICE}))
        pairs = [self._pair(line, by_reply[line.message]) for line in lines]
        if self._only is not None:
            pairs = [pair for pair in pairs if pair["ratings"]]
        ratings = self._ratings
        if self._run is not None:
            stood = {one["rating"] for pair in pairs for one in pair["ratings"]}
            ratings = [rating for rating in ratings if rating.id in stood]
        return {
            "ratings": [self._rating(rating) for rating in ratings],
            "pairs": pairs,
            "datasets": dataset_rows(self._session, {pair["dataset"] for pair in pairs}),
            "runs": run_rows(self._session, {pair["run"] for pair in pairs}),
            "versions": self._versions(pairs),
        }

    def _lines(self) -> list[_Line]:
        """Read pairs and rejections, in the order of their datasets."""
        taken = [getattr(TrainingPair, name) for name in ("split", "kind", "weight", "correction_id")]
        found: list[_Line] = []
        for table, columns in ((TrainingPair, taken), (RejectedReply, [RejectedReply.rule])):
            query = select(table.id, table.dataset_id, table.message_id, *columns)
            query = query.add_columns(Dataset.run_id, Dataset.created_at, ModelVersion.number)
            query = query.join(Dataset, Dataset.id == table.dataset_id)
            query = query.join(ModelVersion, ModelVersion.run_id == Dataset.run_id, isouter=True).order_by(table.id)
            if self._run is not None:
                rows: Iterable[Any] = self._session.execute(query.where(Dataset.run_id == self._run))
            else:
                rows = rows_of(self._session, query, table.message_id, self._replies)
            found += [_line(*row) for row in rows]
        return sorted(found, key=lambda line: line.dataset)

    def _pair(self, line: _Line, ratings: Sequence[Rating]) -> dict[str, Any]:
        stood = [(r, value_at(self._values.get(r.id, ()), line.cut)) for r in ratings]
        withdrawn = self._withdrawn[line.message] if line.kind else []
        told = [{"rating": r.id, "value": then, "now": r.value} for r, then in stood if then]
        changed = ["rating"] if any(one["value"] != one["now"] for one in told) else []
        if line.kind == "correction" and self._corrections.get(line.message) != line.correction:
            changed.append("correction")
        if self._turned_round(line):
            changed.append("choice")
        return {
            "pair": line.id,
            "dataset": line.dataset,
            "run": line.run,
            "version": line.version,
            "message": line.message,
            "conversation": self._talks[line.message][0],
            "split": line.split,
            "kind": line.kind,
            "rule": line.rule,
            "weight": line.weight,
            "correction": line.correction,
            "ratings": told,
            "changed": changed,
            "revoked": [one.what for one in withdrawn if one.concerns(line.kind or "", line.cut)],
        }

    def _turned_round(self, line: _Line) -> bool:
        """Tell whether somebody chose as the pair says when it was made, and the other way since."""
        said, choices = _CHOICE.get(line.kind or ""), self._choices.get(line.message, ())
        return any(value_at(values, line.cut) == said != values[-1][1] for values in choices)

    def _rating(self, rating: Rating) -> dict[str, Any]:
        conversation, deleted = self._talks[rating.message_id]
        return {
            "rating": rating.id,
            "message": rating.message_id,
            "conversation": conversation,
            "rater": rating.rater_id,
            "value": rating.value,
            "given_at": rating.created_at.isoformat(),
            "changed_at": rating.updated_at.isoformat(),
            "taken_back": rating.value == 0,
            "conversation_deleted": deleted is not None,
        }

    def _versions(self, pairs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        reached: dict[int, dict[str, set[str]]] = defaultdict(lambda: {"reached": set(), "revoked": set()})
        for pair in pairs:
            if pair["version"] is not None:
                of = reached[pair["version"]]
                of["reached"].add(pair["split"])
                of["revoked"].update(pair["revoked"] if pair["split"] in LEARNED else ())
        last = max((one.at for them in self._withdrawn.values() for one in them), default=None)
        saw = {number for number, of in reached.items() if of["revoked"]}
        clean = [number for number in clean_of(versions_made(self._session), last) if number not in saw] if last else []
        rows = version_rows(self._session, sorted(reached))
        for row in rows:
            of = reached[row["version"]]
            row |= {key: sorted(found) for key, found in of.items()} | {"clean": clean if of["revoked"] else []}
        return rows


def _line(key: int, dataset: int, message: str, *rest: Any) -> _Line:
    run, cut, version = rest[-3:]
    if len(rest) == 4:
        return _Line(None, dataset, message, REJECTED, None, rest[0], None, None, run, cut, version)
    split, kind, weight, correction = rest[:4]
    return _Line(key, dataset, message, split, kind, None, weight, correction, run, cut, version)


def _number(given: int | str | None, what: str) -> int:
    try:
        return int(given or 0)
    except ValueError:
        raise NotFound(f"There is no {what} {given!r}; give its number.") from None


def _replies_in(session: Session, conversation_id: str) -> list[str]:
    of = select(Message.id).where(Message.conversation_id == conversation_id, Message.role == "assistant")
    return list(session.scalars(of.order_by(Message.seq)))


def _replies_of(session: Session, message: Message) -> list[str]:
    """Return the reply itself; of another message, the replies that were written with it in their prompt."""
    if message.role == "assistant":
        return [message.id]
    replies = _replies_in(session, message.conversation_id)
    given = {
        reply: {part["message"] for part in prompt}
        for reply, prompt in rows_of(session, select(Reply.message_id, Reply.prompt), Reply.message_id, replies)
    }
    of = select(Message.id, Message.parent_id).where(Message.conversation_id == message.conversation_id)
    parents = dict(session.execute(of).tuples().all())
    return [key for key in replies if message.id in (given[key] if key in given else _above(parents, key))]


def _above(parents: dict[str, str | None], key: str) -> set[str]:
    found: set[str] = set()
    above = parents[key]
    while above is not None:
        found.add(above)
        above = parents[above]
    return found


def _back(session: Session, number: int) -> Trace:
    """Trace a version back to everything that its dataset took or rejected."""
    try:
        version = find(session, ModelVersion, number)
    except NotFound:
        raise NotFound(f"There is no version {number}; `python -m finetune versions` lists them.") from None
    if version.run_id is None:
        return _Told(session, []).rows() | {"versions": version_rows(session, [number])}
    replies: dict[str, None] = {}
    for table in (TrainingPair, RejectedReply):
        of = select(table.message_id).join(Dataset, Dataset.id == table.dataset_id)
        replies |= dict.fromkeys(session.scalars(of.where(Dataset.run_id == version.run_id).order_by(table.id)))
    found = _Told(session, list(replies), run=version.run_id).rows()
    runs = found["runs"] or run_rows(session, [version.run_id])
    return found | {"runs": runs, "versions": found["versions"] or version_rows(session, [number])}
