"""Characters that no record can keep: refused from people, replaced in what models write, and found by no search."""

import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import IntegrityError

from feedback.characters import keepable, unkept
from feedback.errors import BadInput, NotFound
from feedback.formats import BadLine, Incoming, read_lines
from feedback.store import Store
from tests.feedback.talk import ask, begin, exchange

HALF = "half \ud83d"
NUL = "nul \0"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("as it is 🙂", "as it is 🙂"),
        ("a\ud83d\ude00b", "a😀b"),
        ("a\ud83d", "a\ufffd"),
        ("a\ude00b", "a\ufffdb"),
        ("\ud83db\ude00", "\ufffdb\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("a\0b\0", "ab"),
        ("\0", ""),
    ],
)
def test_what_a_model_wrote_is_kept_as_near_as_can_be(written: str, kept: str) -> None:
    assert keepable(written) == kept
    assert unkept(kept) == "" and (unkept(written) == "") is (written == kept)


@pytest.mark.parametrize(("text", "named"), [(HALF, "half a character"), (NUL, "a NUL character")])
def test_what_a_person_sends_is_refused_in_one_sentence(store: Store, text: str, named: str) -> None:
    reply = exchange(store)
    talk = store.conversation_of(reply)
    verbs = (
        lambda: store.begin_turn(talk, reply, text, 0, {}, []),
        lambda: store.begin_comparison(talk, reply, text, (0, {}, []), (0, {}, [])),
        lambda: store.correct(reply, text),
        lambda: store.rate(reply, 1, [text]),
        lambda: store.rate(reply, 1, None, text),
        lambda: store.rename(talk, text),
        lambda: store.amend(reply, text),
        lambda: store.keep_persona(text, "Be kind."),
        lambda: store.keep_persona("Kind", text),
    )
    before = store.history(talk)
    for verb in verbs:
        with pytest.raises(BadInput, match=f"holds {named}.*take it out"):
            verb()
    assert store.history(talk) == before
    with pytest.raises(NotFound):
        store.message(text)
    with pytest.raises(NotFound):
        store.history(text)


def test_of_a_file_half_a_character_refuses_its_line_and_a_nul_is_left_out() -> None:
    lines = [f'{{"messages":[{{"role":"user","content":"a{said}b"}}]}}'.encode() for said in ("\\ud83d", "\\u0000")]
    bad, good = (row for _, row in read_lines(lines))
    assert isinstance(bad, BadLine) and "half a character" in bad.reason
    assert isinstance(good, Incoming) and good.messages[0].content == "ab"


def test_a_reply_is_kept_with_such_characters_replaced(store: Store) -> None:
    reply = begin(store, ask(store))
    store.beat({reply: "so \0far \ud83d"})
    assert store.message(reply).content == "so far \ufffd"
    store.end_reply(reply, "done\0 \ud83d\ude00", "complete", "end", error="as \ud83d it says\0")
    assert store.message(reply).content == "done 😀"
    assert store.message(reply).error == "as \ufffd it says"


def test_a_reply_that_cannot_be_kept_takes_nothing_from_the_others(store: Store) -> None:
    before, broken, after = (begin(store, ask(store)) for _ in range(3))
    ask(store, "two")
    with store.writing() as session:
        session.execute(sql("CREATE UNIQUE INDEX just_one ON messages (content) WHERE content = 'two'"))
    beaten = [store.reply_facts(reply)["heartbeat_at"] for reply in (before, after)]
    with pytest.raises(IntegrityError):
        store.beat({before: "one", broken: "two", after: "three"})
    assert [store.message(reply).content for reply in (before, broken, after)] == ["one", "", "three"]
    now = [store.reply_facts(reply)["heartbeat_at"] for reply in (before, after)]
    assert all(later > earlier for earlier, later in zip(beaten, now, strict=True))


@pytest.mark.parametrize("query", [HALF, NUL, "\0", "\ud800", "fine \0", "fi\0ne"])
def test_a_search_for_such_a_character_finds_nothing(store: Store, query: str) -> None:
    exchange(store, "Is it fine?")
    assert len(store.search("fine")) == 1
    assert store.search(query) == []
