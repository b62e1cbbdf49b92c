"""A file taken in again, or beside another of the same ids: what was done here stays, and no line is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from feedback.schema import Correction, Message, Preference, RatingEvent
from feedback.store import Store
from feedback.transfer import ImportReport, import_file


def line(conversation: str, *ids: str, text: str = "a", **more: Any) -> dict[str, Any]:
    """Return a line of one question and one answer."""
    asked, said = ids
    turns = [{"role": "user", "content": "q", "id": asked}, {"role": "assistant", "content": text, "id": said}]
    turns[1] |= {key: more.pop(key) for key in ("rating", "correction", "correction_shown") if key in more}
    return {"conversation_id": conversation, "messages": turns, **more}


def take(store: Store, folder: Path, *rows: Any) -> ImportReport:
    """Import a file of these rows."""
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return import_file(store, path)


def test_a_correction_that_is_shown_no_more_stays_so(store: Store, tmp_path: Path) -> None:
    row = line("c", "q", "a", correction="b", correction_shown=True)
    take(store, tmp_path, row)
    assert store.message("a").correction_shown
    store.show_correction("a", False)
    take(store, tmp_path, row)
    assert not store.message("a").correction_shown


def test_what_nobody_corrected_in_a_file_takes_back_no_correction_of_here(store: Store, tmp_path: Path) -> None:
    row = line("c", "q", "a", correction="a")  # a tool that writes the text as it was left, changed or not
    take(store, tmp_path, row)
    store.correct("a", "b")
    for _ in range(2):
        assert take(store, tmp_path, row).bad == []
        assert store.message("a").correction == "b"


def test_of_what_a_file_tells_one_after_the_other_the_last_stands(store: Store, tmp_path: Path) -> None:
    rows = [line("c", "q", "a", rating=value, correction=text) for value, text in ((1, "b"), (-1, "d"), (1, "b"))]
    for _ in range(2):
        assert take(store, tmp_path, *rows).bad == []
        assert (store.message("a").rating, store.message("a").correction) == (1, "b")
    with store.reading() as session:
        assert session.query(RatingEvent).count() == session.query(Correction).count() == 3


def test_the_last_stands_where_a_dump_has_grown_since(store: Store, tmp_path: Path) -> None:
    rows = [line("c", "q", "a", rating=value, correction=text) for value, text in ((1, "b"), (-1, "d"), (1, "b"))]
    take(store, tmp_path, rows[0])
    for _ in range(2):
        take(store, tmp_path, *rows)
        assert (store.message("a").rating, store.message("a").correction) == (1, "b")


def test_what_was_changed_here_outlives_a_file_that_tells_it_both_ways(store: Store, tmp_path: Path) -> None:
    rows = [line("c", "q", "a", rating=value) for value in (1, -1, 1)]
    take(store, tmp_path, *rows)
    store.rate("a", -1)
    take(store, tmp_path, *rows)
    assert store.message("a").rating == -1


def test_siblings_that_say_the_same_stay_two_under_ids_of_another_conversation(store: Store, tmp_path: Path) -> None:
    choice = {"preferences": [{"chosen": "3", "rejected": "2"}]}
    rows = [line("two", "1", "2"), line("two", "1", "3", rating=1, **choice)]
    take(store, tmp_path, line("one", "1", "2", text="b"), line("one", "1", "3", text="c"))
    for _ in range(2):
        assert take(store, tmp_path, *rows) == ImportReport(2, [])
    with store.reading() as session:
        assert session.query(Message).filter_by(conversation_id="two").count() == 3
        assert session.query(Preference).count() == 1


@pytest.mark.parametrize(("conversation", "message"), [("talk 1", "2"), ("talk", "1 2")])
def test_no_two_conversations_share_an_id(store: Store, tmp_path: Path, conversation: str, message: str) -> None:
    held = [line("one", "q", "2"), line("one", "q", "1 2", text="b")]
    assert take(store, tmp_path, *held, line("talk 1", "q", "2"), line("talk", "q", "1 2", text="b")).bad == []
    assert [m.content for m in store.history(conversation)] == ["q", "a" if message == "2" else "b"]


def test_a_record_that_drew_such_ids_by_chance_takes_the_file_in_without_a_trace(store: Store, tmp_path: Path) -> None:
    row = line("two", "1", "2", rating=1)
    drawn = [{key: value for key, value in said.items() if key != "id"} for said in row["messages"]]
    take(store, tmp_path, line("one", "1", "2", text="b"), row | {"messages": drawn})
    before = store.history("two")
    assert take(store, tmp_path, row) == ImportReport(1, [])
    assert (store.history("two"), store.stats()["messages"]) == (before, 4)
