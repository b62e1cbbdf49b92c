"""A search of a record that holds more conversations than it reads through first."""

import pytest

from feedback import conversations
from feedback.store import Store
from tests.feedback.talk import ask, exchange


@pytest.fixture
def talks(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Six conversations about apples, the second with pears too, newest first; two of them are read through first."""
    monkeypatch.setattr(conversations, "_NEWEST", 2)
    made = [ask(store, f"apples {n}" + (" and pears" if n == 1 else "")) for n in range(6)]
    return made[::-1]


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
@pytest.mark.parametrize("word", ["apples", "AP", "äpples"])
def test_newest_first_however_many_are_wanted(store: Store, talks: list[str], word: str, limit: int) -> None:
    found = [hit.line.id for hit in store.search(word, limit=limit)]
    assert found == ([] if word == "äpples" else talks[:limit])


@pytest.mark.parametrize("query", ["", "apples", "ap"])
def test_what_comes_after_the_first_ones_is_found_by_an_offset(store: Store, talks: list[str], query: str) -> None:
    for offset, limit in ((0, 1), (1, 1), (1, 3), (2, 2), (4, 9), (9, 1)):
        found = [hit.line.id for hit in store.search(query, limit=limit, offset=offset)]
        assert found == talks[offset : offset + limit]


def test_what_only_old_ones_hold_is_found_with_where_it_stands(store: Store, talks: list[str]) -> None:
    (hit,) = store.search("pears")
    assert hit.line.id == talks[4] and hit.snippet[slice(*hit.snippet_marks[0])] == "pears"


def test_a_title_alone_is_enough_and_somebody_elses_are_not_found(store: Store, talks: list[str]) -> None:
    store.rename(talks[0], "Plums")
    assert [hit.line.id for hit in store.search("plums")] == [talks[0]]
    assert store.search("apples", owner="ann") == []


def test_words_may_stand_in_no_message_together(store: Store, talks: list[str]) -> None:
    exchange(store, "plums?", "apples!")
    assert store.search("plums apples") == []
