"""Feedback as lines of JSON: our own format, in and out, and the KTO rows that others write.

Own format, one path through a conversation per line, with what one person (`rater`) thinks of it:
`{"conversation_id"?, "rater"?, "created_at"?, "title"?, "persona"?, "sampling"?, "messages": [{"role", "content",
"rating"?: 1|-1, "correction"?, "correction_shown"?: true, "review"?: "approved"|"rejected", "reasons"?, "comment"?,
"id"?, "status"?, "finish"?}], "preferences"?: [{"chosen", "rejected"}],
"comparisons"?: [{"left", "right", "outcome": "left"|"right"|"tie"|"both_bad"}]}`.
`persona` and `sampling` are what the conversation was opened with; a rejected reply is never trained on. Preferences
and comparisons name replies by their ids, of this line or of an earlier one of the same conversation.
`created_at` is when all that was said: so old it is, and newer than that of another line or not, for what is learned.
`correction_shown` counts where its correction is new to the record; one that says what its reply says is none.
KTO rows: `prompt` + `completion` + `label`, or `messages` + `label`, which rates the last reply.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from feedback.characters import unkept
from feedback.errors import BadInput
from feedback.messages import MAX_TEXT
from feedback.personas import checked_sampling
from feedback.schema import LOCAL

ROLES = ("system", "user", "assistant")
_STATUSES = ("complete", "stopped", "interrupted")
_FINISHES = ("end", "length", "stopped")
VERDICTS = ("approved", "rejected")
_PREFERENCE = ("chosen", "rejected")
_COMPARISON = ("left", "right", "outcome")


@dataclass(frozen=True)
class IncomingMessage:
    """One message of a file."""

    role: str
    content: str
    id: str | None = None
    status: str = "complete"
    finish: str | None = None
    rating: int | None = None
    reasons: tuple[str, ...] | None = None  # None: not told, so what is known stays
    comment: str | None = None
    correction: str | None = None
    correction_shown: bool = False
    review: str | None = None  # approved or rejected


@dataclass(frozen=True)
class Incoming:
    """One line of a file: a path through one conversation, with one rater's feedback on it."""

    conversation_id: str
    messages: tuple[IncomingMessage, ...]
    rater: str = LOCAL
    created_at: datetime | None = None
    title: str | None = None
    persona: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    preferences: tuple[tuple[str, str], ...] = ()  # ids: chosen, rejected
    comparisons: tuple[tuple[str, str, str], ...] = ()  # ids of left and right, outcome


@dataclass(frozen=True)
class BadLine:
    """A line that could not be taken, by its number (from 1) and why."""

    number: int
    reason: str


def read_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Incoming | BadLine]]:
    """Parse a file line by line, with its line number; blank lines are passed over.

    A row without a conversation id gets one made from what it says and how often the file said it
    before, so that the same file read twice is the same conversations.
    """
    seen: Counter[str] = Counter()
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.decode("utf-8-sig"))
            yield number, _incoming(row, seen)
        except UnicodeDecodeError:
            yield number, BadLine(number, "is not UTF-8 text")
        except (ValueError, RecursionError) as error:  # ValueError alone: a number of thousands of digits
            yield number, BadLine(number, f"is not JSON ({error})")
        except BadInput as error:
            yield number, BadLine(number, str(error))


def line_of(incoming: Incoming) -> str:
    """Write one path in our own format, ending in a line feed."""
    row: dict[str, Any] = {"conversation_id": incoming.conversation_id, "rater": incoming.rater}
    if incoming.created_at:
        row["created_at"] = incoming.created_at.isoformat()
    if incoming.title is not None:
        row["title"] = incoming.title
    if incoming.persona:
        row["persona"] = incoming.persona
    if incoming.sampling:
        row["sampling"] = dict(incoming.sampling)
    row["messages"] = [_message_out(m) for m in incoming.messages]
    if incoming.preferences:
        row["preferences"] = [dict(zip(_PREFERENCE, ids, strict=True)) for ids in incoming.preferences]
    if incoming.comparisons:
        row["comparisons"] = [dict(zip(_COMPARISON, parts, strict=True)) for parts in incoming.comparisons]
    return json.dumps(row, ensure_ascii=False) + "\n"


def _message_out(message: IncomingMessage) -> dict[str, Any]:
    out: dict[str, Any] = {"id": message.id, "role": message.role, "content": message.content}
    if message.status != "complete":
        out["status"] = message.status
    if message.finish not in (None, "end"):
        out["finish"] = message.finish
    if message.rating:
        out |= {"rating": message.rating, "reasons": list(message.reasons or ()), "comment": message.comment or ""}
    if message.correction is not None:
        out["correction"] = message.correction
    if message.correction_shown:
        out["correction_shown"] = True
    if message.review is not None:
        out["review"] = message.review
    return out


def _incoming(row: Any, seen: Counter[str]) -> Incoming:
    if not isinstance(row, dict):
        raise BadInput("is not an object with `messages`, or `prompt` and `completion`")
    if "label" in row:
        messages = _kto_messages(row)
    elif "messages" in row:
        messages = row["messages"]
    else:
        raise BadInput(f"has neither `messages` nor `prompt`, `completion` and `label`; its keys are {sorted(row)}")
    if not isinstance(messages, list) or not messages:
        raise BadInput("has no messages")
    conversation_id = _conversation_id(row.get("conversation_id"))
    if conversation_id is None:
        digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:32]
        seen[digest] += 1
        conversation_id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    taken = tuple(_message(m, place) for place, m in enumerate(messages, 1))
    ids = Counter(m.id for m in taken if m.id is not None)
    if ids and ids.most_common(1)[0][1] > 1:
        raise BadInput(f"has more than one message with the id {_short(ids.most_common(1)[0][0])}")
    return Incoming(
        conversation_id=_text(conversation_id, "conversation_id", 200),
        messages=taken,
        rater=_text(row.get("rater") or LOCAL, "rater", 200),
        created_at=_instant(row.get("created_at")),
        title=None if row.get("title") is None else _text(row["title"], "title", 200),
        persona=_text(row.get("persona") or "", "persona", 200),
        sampling=checked_sampling(row.get("sampling")),
        preferences=tuple((a, b) for a, b in _objects(row, "preferences", _PREFERENCE)),
        comparisons=tuple((a, b, how) for a, b, how in _objects(row, "comparisons", _COMPARISON)),
    )


def _conversation_id(value: Any) -> str | None:
    """Read an id, which may be a number; None for none, which a table writes as an empty text or NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadInput(f"conversation_id is {type(value).__name__}, not a text or a number")
    return str(value) if str(value).strip() else None


def _objects(row: dict[str, Any], name: str, keys: tuple[str, ...]) -> list[list[str]]:
    """Read a list of objects of texts, as lists in the order of `keys`."""
    value = row.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadInput(f"has {name} that are not a list of objects")
    return [[_text(one.get(key), f"{key} in {name}", 200) for key in keys] for one in value]


def _kto_messages(row: dict[str, Any]) -> list[Any]:
    label = row["label"]
    if label not in (True, False, 0, 1):
        raise BadInput(f"has the label {_short(label)}; true or false is known")
    messages = row.get("messages")
    if messages is None:
        if "prompt" not in row or "completion" not in row:
            raise BadInput("has a `label` but neither `messages` nor `prompt` and `completion`")
        messages = _as_messages(row["prompt"], "user") + _as_messages(row["completion"], "assistant")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or last.get("role") != "assistant":
        raise BadInput("has a `label` but does not end with an assistant message")
    return [*messages[:-1], {**last, "rating": 1 if label else -1}]


def _as_messages(value: Any, role: str) -> list[Any]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list):
        return value
    raise BadInput(f"has a {role} part that is neither a text nor a list of messages")


def _message(value: Any, place: int) -> IncomingMessage:
    if not isinstance(value, dict):
        raise BadInput(f"message {place} is not an object")
    role, where = value.get("role"), f"message {place}"
    if role not in ROLES:
        raise BadInput(f"{where} has the role {_short(role)}; {', '.join(ROLES)} are known")
    rating, correction = value.get("rating"), value.get("correction")
    review = value.get("review")
    if role != "assistant" and (rating, correction, review) != (None, None, None):
        raise BadInput(f"{where} is a {role} message with a rating, a correction or a review; only replies have these")
    if review not in (None, *VERDICTS):
        raise BadInput(f"{where} has the review {_short(review)}; {' and '.join(VERDICTS)} are known")
    if rating is not None and (isinstance(rating, bool) or rating not in (1, -1)):
        raise BadInput(f"{where} has the rating {_short(rating)}; 1 and -1 are known")
    status, finish = value.get("status", "complete"), value.get("finish")
    if status not in _STATUSES or finish not in (None, *_FINISHES):
        raise BadInput(
            f"{where} has the status {_short(status)} and finish {_short(finish)}; "
            f"{_STATUSES} and {_FINISHES} are known"
        )
    if correction is not None and not _text(correction, f"the correction of {where}").strip():
        raise BadInput(f"{where} has an empty correction")
    return IncomingMessage(
        role=role,
        content=_text(value.get("content"), f"the content of {where}"),
        id=_text(value["id"], f"the id of {where}", 200) if value.get("id") else None,
        status=status,
        finish=(finish or ("end" if status == "complete" else None)) if role == "assistant" else None,
        rating=rating,
        reasons=_reasons(value.get("reasons"), where),
        comment=None if value.get("comment") is None else _comment(value["comment"], where),
        correction=correction,
        correction_shown=value.get("correction_shown") is True,
        review=review,
    )


def _short(value: Any) -> str:
    """Write a value as it would stand in code, cut where it gets long."""
    written = repr(value)
    return written if len(written) <= 80 else written[:77] + "..."


def _comment(value: Any, where: str) -> str:
    comment = _text(value, f"the comment on {where}")
    return comment if comment.strip() else ""


def _text(value: Any, what: str, most: int = MAX_TEXT) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{what} is {type(value).__name__}, not a text")
    if len(value) > most:
        raise BadInput(f"{what} has {len(value):,} characters; {most:,} is the most that is kept")
    text: str = value.replace("\0", "")  # which PostgreSQL does not take, and nobody misses
    if wrong := unkept(text):
        raise BadInput(f"{what} holds {wrong}")
    return text


def _reasons(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(r, str) and r for r in value):
        raise BadInput(f"the reasons of {where} are not a list of texts")
    return tuple(_text(r, f"a reason of {where}", 100) for r in value[:20])


def _instant(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        parsed = datetime.fromisoformat(value)
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise BadInput(f"created_at {_short(value)} is neither an ISO 8601 date nor seconds since 1970") from None
