"""Files in and out: what goes in, what is refused by number, and that an export is the whole record."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feedback.errors import BadInput
from feedback.formats import BadLine, Incoming, IncomingMessage, line_of, read_lines
from feedback.messages import MAX_TEXT
from feedback.records import Said
from feedback.schema import Conversation, Message, now
from feedback.store import Store
from feedback.transfer import ImportReport, export_file, import_file
from tests.feedback.talk import answer, ask, begin, events, exchange

REAL = Path(__file__).parents[3] / "shared" / "data"


def user(text: str = "q", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def reply(text: str = "a", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def take(store: Store, folder: Path, *rows: Any) -> ImportReport:
    """Import a file of these rows; bytes go in as they are."""
    path = folder / "in.jsonl"
    path.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))
    return import_file(store, path)


def shown(store: Store, conversation: str, **by: str) -> list[tuple[str, str, int]]:
    return [(m.role, m.content, m.rating) for m in store.history(conversation, **by)]


def count(store: Store, table: type[Any]) -> int:
    with store.reading() as session:
        return int(session.query(table).count())


def all_said(store: Store) -> list[list[Said]]:
    """Show the path of every imported conversation."""
    with store.reading() as session:
        ids = [c.id for c in session.query(Conversation).order_by(Conversation.created_at, Conversation.id)]
    return [store.history(i) for i in ids]


def moves_whole(store: Store, empty: Store, folder: Path) -> None:
    """Export one record into the other, and find the same counts and, exported again, the same lines."""
    out, again = folder / "out.jsonl", folder / "again.jsonl"
    lines = export_file(store, out)
    report = import_file(empty, out)
    assert (report.taken, report.bad) == (lines, [])
    assert empty.stats() == store.stats()
    export_file(empty, again)
    assert sorted(again.read_bytes().split(b"\n")) == sorted(out.read_bytes().split(b"\n"))


# --- what goes in


def test_our_own_format_goes_in_with_all_it_says(store: Store, tmp_path: Path) -> None:
    feedback = {"rating": -1, "correction": "b", "reasons": ["wrong", "long"], "comment": "No."}
    row = {
        "conversation_id": "c1",
        "rater": "ada",
        "created_at": "2024-05-06T07:08:09+02:00",
        "messages": [user(), reply(**feedback)],
    }
    assert take(store, tmp_path, row) == ImportReport(1, [])
    _, said = store.history("c1", rater="ada")
    assert (said.rating, said.reasons, said.comment, said.correction) == (-1, ("wrong", "long"), "No.", "b")
    assert (said.status, said.version) == ("complete", None)
    (found,) = store.feedback()
    assert (found.ratings, found.prompt, found.finish) == ({"ada": -1}, (("user", "q"),), "end")
    (line,) = store.conversations()
    assert (line.id, line.title, line.updated_at) == ("c1", "q", datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC))


@pytest.mark.parametrize("created_at", ["2024-05-06T05:08:09", "2024-05-06T05:08:09Z", 1714972089, 1714972089.0])
def test_a_date_is_read_as_text_or_as_seconds(store: Store, tmp_path: Path, created_at: Any) -> None:
    assert take(store, tmp_path, {"created_at": created_at, "messages": [user()]}).bad == []
    assert store.conversations()[0].updated_at == datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a", "label": True},
        {"prompt": [user()], "completion": [reply()], "label": 1},
        {"prompt": [user()], "completion": "a", "label": True},
        {"messages": [user(), reply()], "label": True},
    ],
    ids=["texts", "lists", "mixed", "messages"],
)
@pytest.mark.parametrize("value", [1, -1])
def test_kto_rows_of_every_kind_rate_the_last_reply(
    store: Store, tmp_path: Path, row: dict[str, Any], value: int
) -> None:
    assert take(store, tmp_path, row | {"conversation_id": "k", "label": row["label"] if value == 1 else False}).taken
    assert shown(store, "k") == [("user", "q", 0), ("assistant", "a", value)]


def test_a_label_rates_the_last_reply_only(store: Store, tmp_path: Path) -> None:
    row = {"conversation_id": "k", "messages": [user(), reply(), user("r"), reply("b")], "label": False}
    take(store, tmp_path, row)
    assert [rating for _, _, rating in shown(store, "k")] == [0, 0, 0, -1]


@pytest.mark.parametrize("missing", [None, "", "  ", float("nan")])
def test_rows_whose_id_is_missing_are_conversations_of_their_own(store: Store, tmp_path: Path, missing: Any) -> None:
    rows = [{"conversation_id": missing, "messages": [user(text), reply(rating=1)]} for text in ("q", "r")]
    assert take(store, tmp_path, *rows).bad == [] and take(store, tmp_path, *rows).bad == []
    assert sorted(line.title for line in store.conversations()) == ["q", "r"]


def test_a_number_is_an_id(store: Store, tmp_path: Path) -> None:
    take(store, tmp_path, {"conversation_id": 7, "messages": [user()]})
    assert store.conversations()[0].id == "7"


ORDERS = [
    ["assistant"],
    ["system"],
    ["assistant", "user"],
    ["user", "user", "assistant", "assistant"],
    ["system", "system", "user"],
    ["user", "assistant", "system", "assistant"],
]


@pytest.mark.parametrize("roles", ORDERS, ids="-".join)
def test_any_order_of_roles_goes_in_and_nothing_is_added(store: Store, tmp_path: Path, roles: list[str]) -> None:
    messages = [{"role": role, "content": f"m{place}"} for place, role in enumerate(roles)]
    assert take(store, tmp_path, {"conversation_id": "c", "messages": messages}).bad == []
    assert [(role, content) for role, content, _ in shown(store, "c")] == [(m["role"], m["content"]) for m in messages]


TEXTS = ["line\u2028separator", "one\r\ntwo", "🦊", '"\\', " spaces ", "\ufeff", "", "x" * MAX_TEXT]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_texts_go_in_and_out_to_the_letter(store: Store, empty: Store, tmp_path: Path, text: str) -> None:
    take(store, tmp_path, {"conversation_id": "c", "messages": [user(text), reply(text, rating=1)]})
    moves_whole(store, empty, tmp_path)
    assert [content for _, content, _ in shown(empty, "c")] == [text, text]


def test_blank_lines_and_a_byte_order_mark_are_passed_over(store: Store, tmp_path: Path) -> None:
    line = json.dumps({"messages": [user()]}).encode()
    assert take(store, tmp_path, b"", b"\xef\xbb\xbf" + line, b"  \r", line + b"\r", b"") == ImportReport(2, [])


# --- bad lines

GOOD = {"messages": [user(), reply(rating=1)]}
BAD: list[tuple[Any, str]] = [
    (b"{", "is not JSON"),
    (b"[" * 100_000, "is not JSON"),
    (b'{"messages":' + b"9" * 5000 + b"}", "is not JSON"),
    (b"\xff\xfe{}", "is not UTF-8"),
    (b'{"messages":[{"role":"user","content":"\xe9"}]}', "is not UTF-8"),
    (b"null", "is not an object"),
    (b"[]", "is not an object"),
    (b'"text"', "is not an object"),
    (b"NaN", "is not an object"),
    ({}, "has neither `messages` nor"),
    ({"prompt": "q", "completion": "a"}, "its keys are ['completion', 'prompt']"),
    ({"messages": []}, "has no messages"),
    ({"messages": "text"}, "has no messages"),
    ({"messages": {"role": "user"}}, "has no messages"),
    ({"messages": [user(), "text"]}, "message 2 is not an object"),
    ({"messages": [{"content": "q"}]}, "message 1 has the role None"),
    ({"messages": [{"role": "tool", "content": "q"}]}, "message 1 has the role 'tool'"),
    ({"messages": [{"role": ["user"], "content": "q"}]}, "message 1 has the role"),
    ({"messages": [{"role": "user"}]}, "content of message 1 is NoneType"),
    ({"messages": [user(["parts"])]}, "content of message 1 is list"),
    ({"messages": [user("\ud83d")]}, "content of message 1 holds half a character"),
    ({"messages": [user("x" * (MAX_TEXT + 1))]}, "content of message 1 has 200,001 characters"),
    ({"messages": [user(rating=1)]}, "message 1 is a user message with a rating"),
    ({"messages": [user(correction="b")]}, "message 1 is a user message with a rating"),
    ({"messages": [reply(rating=0)]}, "message 1 has the rating 0"),
    ({"messages": [reply(rating=True)]}, "message 1 has the rating True"),
    ({"messages": [reply(rating="1")]}, "message 1 has the rating '1'"),
    ({"messages": [reply(correction=" ")]}, "message 1 has an empty correction"),
    ({"messages": [reply(correction=5)]}, "correction of message 1 is int"),
    ({"messages": [reply(rating=1, correction="\udc00")]}, "correction of message 1 holds half"),
    ({"messages": [reply(rating=1, reasons="wrong")]}, "reasons of message 1 are not a list"),
    ({"messages": [reply(rating=1, reasons=[1])]}, "reasons of message 1 are not a list"),
    ({"messages": [reply(rating=1, reasons=["\udc00"])]}, "a reason of message 1 holds half"),
    ({"messages": [reply(rating=1, comment="\udc00")]}, "comment on message 1 holds half"),
    ({"messages": [reply(rating=1, comment=["no"])]}, "comment on message 1 is list"),
    ({"messages": [reply(status="running")]}, "message 1 has the status 'running'"),
    ({"messages": [reply(finish="soon")]}, "message 1 has the status 'complete' and finish 'soon'"),
    ({"messages": [user(id="x"), reply(id="x")]}, "more than one message with the id 'x'"),
    ({"messages": [user(id=7)]}, "id of message 1 is int"),
    ({"messages": [user()], "rater": 5}, "rater is int"),
    ({"messages": [user()], "title": 5}, "title is int"),
    ({"messages": [user()], "rater": "\udc00"}, "rater holds half"),
    ({"messages": [user()], "conversation_id": "\udc00"}, "conversation_id holds half"),
    ({"messages": [user()], "conversation_id": "x" * 201}, "conversation_id has 201 characters"),
    ({"messages": [user()], "conversation_id": True}, "conversation_id is bool"),
    ({"messages": [user()], "conversation_id": ["c"]}, "conversation_id is list"),
    ({"messages": [user()], "created_at": "yesterday"}, "created_at 'yesterday'"),
    ({"messages": [user()], "created_at": True}, "created_at True"),
    ({"messages": [user()], "created_at": 1e300}, "created_at 1e"),
    ({"messages": [user()], "created_at": float("nan")}, "created_at nan"),
    ({"messages": [user()], "created_at": "0001-01-01T00:00:00+10:00"}, "created_at '0001"),
    ({"messages": [user(), reply()], "label": "true"}, "label 'true'"),
    ({"messages": [user(), reply()], "label": None}, "label None"),
    ({"messages": [reply(), user()], "label": True}, "does not end with an assistant message"),
    ({"messages": [], "label": True}, "does not end with an assistant message"),
    ({"prompt": "q", "label": True}, "has a `label` but neither"),
    ({"prompt": 5, "completion": "a", "label": True}, "user part that is neither"),
    ({"prompt": "q", "completion": {"role": "assistant"}, "label": True}, "assistant part that is neither"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_line_is_named_by_number_and_reason(bad: Any, reason: str) -> None:
    raw = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    good = json.dumps(GOOD).encode()
    (first, _), (number, found), (last, _) = read_lines([good, raw, b"", good])
    assert (first, number, last) == (1, 2, 4)
    assert isinstance(found, BadLine)
    assert reason in found.reason
    found.reason.encode()  # can be printed


def test_all_good_lines_go_in_around_the_bad_ones(store: Store, tmp_path: Path) -> None:
    rows = [row for bad, _ in BAD for row in (GOOD, bad)]
    report = take(store, tmp_path, *rows, GOOD)
    assert [line.number for line in report.bad] == list(range(2, 2 * len(BAD) + 1, 2))
    assert report.taken == len(BAD) + 1 == store.stats()["conversations"] == store.stats()["thumbs_up"]


def test_a_line_that_only_the_record_can_refuse_is_bad_as_a_whole(store: Store, tmp_path: Path) -> None:
    blank = {"conversation_id": "c", "rater": "ada", "messages": [user(), reply(rating=1, reasons=["  "])]}
    report = take(store, tmp_path, GOOD, blank, GOOD)
    assert (report.taken, [(b.number, "reason is empty" in b.reason) for b in report.bad]) == (2, [(2, True)])
    assert store.stats()["conversations"] == 2  # nothing of it stayed


def test_a_huge_line_is_bad_and_the_next_one_good(store: Store, tmp_path: Path) -> None:
    report = take(store, tmp_path, {"messages": [user("x" * 5_000_000)]}, GOOD)
    assert report.taken == 1
    assert [(line.number, len(line.reason) < 200) for line in report.bad] == [(1, True)]


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_read_gets_one_sentence(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"cannot be read: [A-Z]"):
        import_file(store, tmp_path / name)


# --- once more


ROWS = [
    GOOD,
    {"prompt": "q", "completion": "a", "label": False},
    {"conversation_id": "c", "messages": [user(), reply(rating=-1, reasons=["wrong"], comment="No.", correction="b")]},
]


def test_the_same_file_twice_adds_nothing(store: Store, tmp_path: Path) -> None:
    take(store, tmp_path, *ROWS)
    before = (store.stats(), all_said(store), events(store), store.conversations())
    assert take(store, tmp_path, *ROWS).bad == []
    assert (store.stats(), all_said(store), events(store), store.conversations()) == before


def test_rows_without_an_id_count_as_often_as_the_file_says_them(store: Store, tmp_path: Path) -> None:
    for _ in range(2):
        take(store, tmp_path, GOOD, GOOD, {"messages": [user(), reply(rating=-1)]}, GOOD)
        assert (store.stats()["conversations"], store.stats()["thumbs_up"]) == (4, 3)


def test_the_same_id_again_adds_new_messages_and_changed_ratings_only(store: Store, tmp_path: Path) -> None:
    first, second = user(), reply(rating=1)
    take(store, tmp_path, {"conversation_id": "c", "messages": [first, second]})
    before = store.history("c")
    more = [first, second | {"rating": -1}, user("r"), reply("b", rating=1)]
    take(store, tmp_path, {"conversation_id": "c", "messages": more})
    assert shown(store, "c") == [("user", "q", 0), ("assistant", "a", -1), ("user", "r", 0), ("assistant", "b", 1)]
    assert [m.id for m in store.history("c")][:2] == [m.id for m in before]
    assert [value for value, _, _ in events(store)] == [1, -1, 1]
    assert store.stats()["conversations"] == 1


def test_the_same_id_with_another_wording_makes_a_branch(store: Store, tmp_path: Path) -> None:
    for text in ("a", "b"):
        take(store, tmp_path, {"conversation_id": "c", "messages": [user(), reply(text, rating=1)]})
    assert count(store, Message) == 3
    assert shown(store, "c") == [("user", "q", 0), ("assistant", "b", 1)]


def test_what_a_file_does_not_tell_stays_as_it_is(store: Store, tmp_path: Path) -> None:
    row = {"conversation_id": "c", "messages": [user(), reply(rating=-1)]}
    take(store, tmp_path, row)
    said = store.history("c")[1]
    store.rate(said.id, -1, ["wrong"], "No.")
    store.correct(said.id, "b")
    before = store.history("c")
    take(store, tmp_path, row)
    take(store, tmp_path, {"conversation_id": "c", "messages": [user(), reply()]})
    assert store.history("c") == before


def test_an_id_that_another_conversation_holds_is_not_taken_from_it(store: Store, tmp_path: Path) -> None:
    take(store, tmp_path, {"conversation_id": "one", "messages": [user(id="1"), reply(id="2", rating=1)]})
    row = {"conversation_id": "two", "messages": [user("other", id="1"), reply("another", id="2", rating=-1)]}
    for _ in range(2):
        assert take(store, tmp_path, row).bad == []
    assert shown(store, "one") == [("user", "q", 0), ("assistant", "a", 1)]
    assert shown(store, "two") == [("user", "other", 0), ("assistant", "another", -1)]
    assert count(store, Message) == 4


def test_each_rater_keeps_a_thumb_of_their_own(store: Store, tmp_path: Path) -> None:
    rows = [
        {"conversation_id": "c", "rater": rater, "messages": [user(), reply(rating=rating)]}
        for rater, rating in (("ada", 1), ("ben", -1), ("ada", -1))
    ]
    take(store, tmp_path, *rows)
    assert [f.ratings for f in store.feedback()] == [{"ada": -1, "ben": -1}]
    assert store.stats()["raters"] == 2


# --- out, and in again


def test_an_export_is_our_own_format(store: Store, tmp_path: Path) -> None:
    answered = exchange(store, "Größe?", "a")
    store.rate(answered, -1, ["wrong"], "No.")
    store.correct(answered, "b")
    assert export_file(store, tmp_path / "out.jsonl") == 1
    row = json.loads((tmp_path / "out.jsonl").read_bytes())
    assert (row["conversation_id"], row["rater"], row["title"]) == (store.conversation_of(answered), "local", "Größe?")
    asked, said = row["messages"]
    assert (asked["role"], asked["content"]) == ("user", "Größe?") and "rating" not in asked
    assert said == reply(id=answered, rating=-1, reasons=["wrong"], comment="No.", correction="b")


def test_an_empty_record_moves(store: Store, empty: Store, tmp_path: Path) -> None:
    store.new_conversation()
    moves_whole(store, empty, tmp_path)


def test_a_conversation_with_no_feedback_moves(store: Store, empty: Store, tmp_path: Path) -> None:
    exchange(store)
    ask(store, "no answer to this one")
    moves_whole(store, empty, tmp_path)


STATUSES = ["complete", "stopped", "interrupted", "error", "running"]


@pytest.mark.parametrize("feedback", ["none", "thumb", "correction"])
def test_replies_that_did_not_end_by_themselves_move(store: Store, empty: Store, tmp_path: Path, feedback: str) -> None:
    conversations = {
        (status, text): broken_off(store, status, text, feedback) for status in STATUSES for text in ("half of it", "")
    }
    moves_whole(store, empty, tmp_path)
    for (status, text), conversation in conversations.items():
        worth = bool(text) or feedback != "none"
        kept = status == "complete" or (status in ("stopped", "interrupted") and worth)
        before = [m for m in store.history(conversation) if kept or m.status == "complete"]
        now = empty.history(conversation)
        assert [(m.content, m.status, m.rating, m.reasons, m.correction) for m in now] == [
            (m.content, m.status, m.rating, m.reasons, m.correction) for m in before
        ]


def broken_off(store: Store, status: str, text: str, feedback: str) -> str:
    """Have a conversation whose first reply ended so; talk on after it unless it still runs."""
    conversation = ask(store)
    broken = begin(store, conversation)
    if feedback == "thumb":
        store.rate(broken, -1, ["wrong"])
    if status != "running":
        store.end_reply(broken, text, status, {"complete": "length", "stopped": "stopped"}.get(status))
        if feedback == "correction" and status != "error":
            store.correct(broken, "It is so.")
        ask(store, "and then?", conversation)
        store.rate(answer(store, conversation, "so it was"), 1)
    return conversation


def test_branches_move_with_siblings_that_say_the_same(store: Store, empty: Store, tmp_path: Path) -> None:
    rows = [
        [user(id="q"), reply("same", id="a1", rating=1)],
        [user(id="q"), reply("same", id="a2", rating=-1, correction="better")],
        [user(id="q"), reply("same", id="a3"), user("r", id="r"), reply("b", id="b1")],
        [user(id="q"), reply("same", id="a2"), user("r", id="r2"), reply("b", id="b2", rating=1)],
        [user(id="q2"), reply("same", id="a4", rating=1)],  # the first message edited
    ]
    take(store, tmp_path, *({"conversation_id": "c", "messages": messages} for messages in rows))
    moves_whole(store, empty, tmp_path)
    assert empty.stats()["messages"] == 10
    assert [empty.message(i).rating for i in ("a1", "a2", "a3", "a4", "b2")] == [1, -1, 0, 1, 1]
    assert empty.history("c") == store.history("c")  # the same path is shown


def test_a_conversation_goes_on_after_it_moved(store: Store, empty: Store, tmp_path: Path) -> None:
    conversation = store.conversation_of(exchange(store))
    moves_whole(store, empty, tmp_path)
    ask(empty, "and?", conversation)
    answer(empty, conversation, "so")
    assert [m.content for m in empty.history(conversation)] == ["What is it?", "It is so.", "and?", "so"]


def test_each_persons_feedback_moves_as_theirs(store: Store, empty: Store, tmp_path: Path) -> None:
    answered = exchange(store)
    store.rate(answered, 1, rater="ada")
    store.rate(answered, -1, ["wrong"], "No.", rater="ben")
    store.rate(answered, 1, rater="cleo")
    store.rate(answered, 0, rater="cleo")
    store.correct(answered, "Better.", author="dan")
    moves_whole(store, empty, tmp_path)
    (found,) = empty.feedback()
    assert (found.ratings, found.reasons, found.correction) == ({"ada": 1, "ben": -1}, {"ben": ("wrong",)}, "Better.")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [(row["rater"], row["messages"][1].get("correction")) for row in lines] == [
        ("ada", None),
        ("ben", None),
        ("dan", "Better."),
    ]


def test_an_export_goes_into_the_record_it_came_from_without_a_trace(store: Store, tmp_path: Path) -> None:
    answered = exchange(store)
    store.rate(answered, -1, ["wrong"], "No.")
    store.correct(answered, "Better.")
    before = (store.stats(), all_said(store), events(store), store.conversations())
    export_file(store, tmp_path / "out.jsonl")
    assert import_file(store, tmp_path / "out.jsonl").bad == []
    assert (store.stats(), all_said(store), events(store), store.conversations()) == before


@pytest.mark.parametrize("seed", range(4))
def test_any_record_moves_whole(store: Store, empty: Store, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(6):
        store.take_in([Incoming(f"c{number}", path, rater) for path, rater in random_paths(draw, number)])
    for message in [m for path in all_said(store) for m in path if m.role == "assistant"]:
        if draw.random() < 0.3:
            store.rate(message.id, draw.choice([0, 1, -1]), rater=draw.choice(["local", "ada"]))
        if draw.random() < 0.3:
            store.correct(message.id, draw.choice([message.content or "x", "better"]))
    moves_whole(store, empty, tmp_path)


def random_paths(draw: random.Random, number: int) -> Iterator[tuple[tuple[IncomingMessage, ...], str]]:
    """Grow a tree of messages that say little, and yield its branches with somebody's feedback on each."""
    grown: list[tuple[IncomingMessage, ...]] = [()]
    for step in range(draw.randint(1, 12)):
        stem = draw.choice(grown)
        role = draw.choice(["system", "user", "assistant", "assistant"])
        status = draw.choice(["complete", "complete", "stopped", "interrupted"]) if role == "assistant" else "complete"
        finish = {"complete": draw.choice(["end", "length"]), "stopped": "stopped"}.get(status)
        more: dict[str, Any] = {"status": status, "finish": finish} if role == "assistant" else {}
        if role == "assistant" and draw.random() < 0.5:
            reasons = draw.choices(["wrong", "long"], k=draw.randint(0, 2))
            more |= {"rating": draw.choice([1, -1]), "reasons": tuple(reasons)}
        if role == "assistant" and draw.random() < 0.3:
            more["correction"] = draw.choice(["better", "best"])
        grown.append((*stem, IncomingMessage(role, draw.choice(["", "same", "other"]), f"{number}.{step}", **more)))
        yield grown[-1], draw.choice(["local", "ada", "ben"])


def test_more_conversations_than_fit_one_batch_move(store: Store, empty: Store, tmp_path: Path) -> None:
    take(store, tmp_path, *({"prompt": f"q{n}", "completion": "a", "label": n % 2 == 0} for n in range(210)))
    moves_whole(store, empty, tmp_path)
    assert empty.stats()["thumbs_up"] == 105


def test_an_export_replaces_a_file_only_when_it_is_whole(store: Store, tmp_path: Path) -> None:
    exchange(store)
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    (tmp_path / "link.jsonl").symlink_to(out)
    export_file(store, tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert json.loads(out.read_text("utf-8"))["messages"]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("place", ["", "no/such/folder/out.jsonl"])
def test_a_place_that_cannot_be_written_gets_one_sentence(store: Store, tmp_path: Path, place: str) -> None:
    with pytest.raises(BadInput, match=r"cannot be written: [A-Z]"):
        export_file(store, tmp_path / place)
    assert not list(tmp_path.parent.glob("*.partial"))


def test_an_export_can_go_into_a_device(store: Store) -> None:
    exchange(store)
    assert export_file(store, Path("/dev/null")) == 1
    assert Path("/dev/null").is_char_device()


def test_a_line_is_one_line_whatever_is_said() -> None:
    incoming = Incoming("c\n", (IncomingMessage("user", "one\ntwo\r\u2028"),), rater="a\nb", title="t\n")
    assert line_of(incoming).encode().count(b"\n") == 1
    ((_, again),) = read_lines([line_of(incoming).encode()])
    assert again == incoming


# --- feedback that no one here wrote


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not there")
@pytest.mark.parametrize("name", ["coffee_thumbs.jsonl", "kto_en_demo.jsonl"])
def test_real_feedback_goes_in_and_moves_whole(store: Store, empty: Store, tmp_path: Path, name: str) -> None:
    rows = [json.loads(line) for line in (REAL / name).read_text("utf-8").splitlines()]
    rated: dict[str, bool] = {}  # the same path twice in one conversation is one reply; its last label holds
    for place, row in enumerate(rows):
        said = [(m["role"], m["content"]) for m in row.get("messages") or row["prompt"] + row["completion"]]
        rated[json.dumps([row.get("conversation_id", place), said])] = row["label"]
    assert import_file(store, REAL / name) == ImportReport(len(rows), [])
    stats = store.stats()
    assert (stats["thumbs_up"], stats["thumbs_down"]) == (sum(rated.values()), len(rated) - sum(rated.values()))
    moves_whole(store, empty, tmp_path)


def test_a_bad_value_is_named_but_not_repeated_at_length() -> None:
    role = "x" * 5_000
    (_, bad) = next(iter(read_lines([f'{{"messages":[{{"role":"{role}","content":"hi"}}]}}'.encode()])))
    assert isinstance(bad, BadLine)
    assert "'xxx" in bad.reason
    assert len(bad.reason) < 200


def test_a_comment_of_white_space_is_none_at_all(store: Store) -> None:
    line = (
        b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","rating":1,"comment":" \\n"}]}'
    )
    ((_, incoming),) = read_lines([line])
    assert isinstance(incoming, Incoming)
    assert store.take_in([incoming]) == [None]
    assert [m.comment for m in store.history(incoming.conversation_id)] == ["", ""]


def test_choices_name_replies_whose_ids_another_conversation_holds(store: Store, tmp_path: Path) -> None:
    ids = [user(id="1"), reply(id="2"), user("r", id="3")]
    rows = [
        {"conversation_id": "a", "messages": ids},
        {"conversation_id": "b", "messages": [user("s", id="1"), reply("one", id="2")]},
        {
            "conversation_id": "b",
            "messages": [user("s", id="1"), reply("other", id="3")],
            "preferences": [{"chosen": "3", "rejected": "2"}],
        },
    ]
    for _ in range(2):
        assert take(store, tmp_path, *rows).bad == []
    assert {f.content: (bool(f.chosen_by), bool(f.discarded_by)) for f in store.feedback()} == {
        "one": (False, True),
        "other": (True, False),
    }
    assert count(store, Message) == 6


# --- the same file again


def test_a_dump_taken_in_again_brings_nothing_back(store: Store, tmp_path: Path) -> None:
    rows = [
        {
            "conversation_id": "c",
            "messages": [user(id="q"), reply(id="a", rating=1, correction="b", review="approved")],
        },
        {"conversation_id": "d", "messages": [user("r", id="r"), reply(id="e", rating=1)]},
    ]
    take(store, tmp_path, *rows)
    store.rate("a", 0)
    store.correct("a", "a")  # its own words again
    store.review("a", "")
    store.rate("e", -1)
    assert take(store, tmp_path, *rows) == ImportReport(2, [])
    assert (store.message("a").rating, store.message("a").correction, store.message("e").rating) == (0, None, -1)
    assert [found.message_id for found in store.feedback()] == ["e"]
    store.delete("d")
    assert take(store, tmp_path, *rows) == ImportReport(1, [], deleted=1)
    assert list(store.feedback()) == []
    store.undelete("d")
    assert take(store, tmp_path, rows[1] | {"rater": "ada"}).taken == 1


def test_the_same_file_twice_is_nothing_new_whoever_said_what(store: Store, tmp_path: Path) -> None:
    messages = [user(id="q"), reply(id="a", rating=1, correction="x")]
    rows = [
        {"conversation_id": "c", "rater": "ada", "messages": messages},
        {"conversation_id": "c", "rater": "ben", "messages": [user(id="q"), reply(id="a", rating=1, correction="y")]},
        {"conversation_id": "c", "rater": "ada", "messages": [user(id="q"), reply(id="a", rating=-1)]},
    ]
    take(store, tmp_path, *rows)
    before, at = list(store.feedback()), now()
    take(store, tmp_path, *rows)
    assert list(store.feedback()) == before and list(store.opinions_since(at)) == []
    assert (before[0].correction, before[0].ratings) == ("y", {"ada": -1, "ben": 1})


def test_an_id_of_other_words_is_a_bad_line_and_no_thumb_lands_on_them(store: Store, tmp_path: Path) -> None:
    first = [user("Hi", id="0"), reply("Hello", id="1"), user("Tell me a joke", id="2")]
    other = [{"role": "system", "content": "Be kind", "id": "0"}, user("Hi", id="1"), reply("Hey", id="2", rating=1)]
    told = take(store, tmp_path, *({"conversation_id": "c", "messages": said} for said in (first, other)))
    (bad,) = told.bad
    assert bad.number == 2
    assert bad.reason == "has another message under the id '0' than this conversation holds under it"
    assert list(store.feedback()) == []


def test_the_newest_choice_moves(store: Store, empty: Store, tmp_path: Path) -> None:
    for n in range(6):
        turn = [user(id=f"q{n}")]
        row = {"conversation_id": f"c{n}", "messages": [*turn, reply("one", id=f"a{n}")]}
        take(store, tmp_path, row, row | {"messages": [*turn, reply("other", id=f"b{n}")]})
        first, second = sorted((f"a{n}", f"b{n}"), reverse=n % 2 == 0)
        store.prefer(first, second)
        store.prefer(second, first)
        store.prefer(first, second)
    moves_whole(store, empty, tmp_path)
    chosen = [{f.message_id for f in of.feedback() if f.chosen_by} for of in (store, empty)]
    assert chosen[0] == chosen[1] == {"b0", "a1", "b2", "a3", "b4", "a5"}
