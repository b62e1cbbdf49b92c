"""All that was said of replies: choices between siblings, and replies that nobody rated."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from feedback.formats import Incoming, IncomingMessage
from feedback.judging import judge
from feedback.ratings import person
from feedback.schema import now
from feedback.store import Store
from feedback.trl import trl_lines
from tests.feedback.talk import answer, ask, begin, say


@pytest.fixture
def two(store: Store) -> tuple[str, str]:
    """Two replies to one message."""
    conversation = ask(store)
    first = answer(store, conversation, "first")
    question = store.message(first).parent_id
    second = store.begin_reply(str(question), 0, {}, [{"message": question}])
    store.end_reply(second, "second", "complete", "end")
    return first, second


def rules(store: Store) -> dict[str, str]:
    return {f.content: judge(f) for f in store.feedback()}


def test_a_choice_makes_one_reply_good_and_its_sibling_bad(store: Store, two: tuple[str, str]) -> None:
    store.prefer(two[1], two[0])
    assert rules(store) == {"second": "chosen", "first": "discarded"}
    found = {f.message_id: f for f in store.feedback()}
    assert found[two[1]].beat == {two[0]: "first"} and found[two[0]].beat == {}


def test_a_persons_newest_choice_counts(store: Store, two: tuple[str, str]) -> None:
    store.prefer(two[1], two[0])
    store.prefer(two[0], two[1])
    assert rules(store) == {"first": "chosen", "second": "discarded"}


def test_choices_of_two_people_against_each_other_are_a_dispute(store: Store, two: tuple[str, str]) -> None:
    store.prefer(two[1], two[0], rater="local")
    with store.writing() as session:
        person(session, "ben")
    store.prefer(two[0], two[1], rater="ben")
    assert rules(store) == {"first": "disputed", "second": "disputed"}
    assert all(f.beat == {} for f in store.feedback())


def test_a_sibling_that_a_reviewer_rejected_is_not_told_as_beaten(store: Store, two: tuple[str, str]) -> None:
    store.prefer(two[1], two[0])
    store.review(two[0], "rejected")
    assert all(f.beat == {} for f in store.feedback())


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("left", {"L": "chosen", "R": "discarded"}),
        ("right", {"L": "discarded", "R": "chosen"}),
        ("tie", {}),
        ("both_bad", {"L": "discarded", "R": "discarded"}),
    ],
)
def test_a_judged_comparison_says_the_same_here_and_in_a_file(
    store: Store, empty: Store, outcome: str, said: dict[str, str]
) -> None:
    store.add_base("tiny")
    conversation = store.new_conversation()
    one, _, left, right = store.begin_comparison(conversation, None, "Which?", (0, {}, []), (0, {}, []))
    store.end_reply(left, "L", "complete", "end")
    store.end_reply(right, "R", "complete", "end")
    store.judge_comparison(one, outcome)
    assert rules(store) == said
    assert empty.take_in(list(store.give_out())) == [None, None]
    assert rules(empty) == said


def test_a_comparison_that_another_person_judged_is_that_persons_choice_alone(store: Store) -> None:
    store.add_base("tiny")
    with store.writing() as session:
        person(session, "ben")
    one, _, left, right = store.begin_comparison(store.new_conversation(), None, "Which?", (0, {}, []), (0, {}, []))
    store.end_reply(left, "L", "complete", "end")
    store.end_reply(right, "R", "complete", "end")
    store.judge_comparison(one, "left", rater="ben")
    assert [(f.chosen_by, f.discarded_by) for f in store.feedback()] == [(("ben",), ()), ((), ("ben",))]


def test_a_choice_is_new_since_it_was_made(store: Store, two: tuple[str, str]) -> None:
    before = now()
    store.prefer(two[1], two[0])
    assert {f.message_id for f in store.feedback(before)} == set(two)
    assert all(f.changed_at > before for f in store.feedback(before))
    assert list(store.feedback(now() + timedelta(seconds=1))) == []


def test_what_was_said_here_and_what_a_file_tells_are_told_apart(store: Store) -> None:
    store.correct(answer(store, ask(store)), "Better.")
    told = IncomingMessage("assistant", "a", rating=1, correction="b")
    store.take_in([Incoming("there", (IncomingMessage("user", "q"), told), rater="ada")])
    assert [(f.imported, f.corrected_by) for f in store.feedback()] == [((), "local"), (("ada",), None)]
    reply = store.history("there")[1].id
    store.rate(reply, -1)
    store.correct(reply, "c")
    store.rate(reply, -1, rater="ada")
    assert [(f.imported, f.corrected_by) for f in store.feedback()][1] == ((), "local")


def test_what_a_file_tells_was_said_when_it_says_and_is_new_since_it_came(store: Store) -> None:
    began, then = now(), datetime(2023, 5, 1, tzinfo=UTC)
    replies = (
        IncomingMessage("assistant", "a", rating=1, id="a"),
        IncomingMessage("assistant", "b", correction="B", id="b"),
        IncomingMessage("assistant", "c", review="approved", id="c"),
        IncomingMessage("assistant", "d", id="d"),
        IncomingMessage("assistant", "e", id="e"),
    )
    asked = IncomingMessage("user", "q", id="q")
    paths = [Incoming("there", (asked, reply), created_at=then) for reply in replies]
    paths[-1] = replace(paths[-1], preferences=(("a", "d"),), comparisons=(("e", "b", "both_bad"),))
    assert store.take_in(paths) == [None] * 5
    found = list(store.feedback(began))
    assert {f.message_id for f in found} == set("abcde")
    assert {f.said_at for f in found} == {then} and all(f.changed_at > began for f in found)
    store.correct("b", "Bee")
    changed = {f.message_id: f for f in store.feedback()}["b"]
    assert changed.corrected_at == changed.said_at and changed.corrected_at > began


def test_kept_replies_come_only_when_asked_for(store: Store) -> None:
    conversation = ask(store)
    kept = answer(store, conversation, "kept")
    say(store, conversation, "go on")
    rated = answer(store, conversation, "rated")
    store.rate(rated, 1)
    assert [f.message_id for f in store.feedback()] == [rated]
    assert [(f.message_id, judge(f)) for f in store.feedback(kept=True)] == [(kept, "kept"), (rated, "thumb_up")]


def test_what_nobody_answered_or_somebody_spoke_against_is_not_kept(store: Store) -> None:
    answer(store, ask(store), "the last word")
    for kind in ("regenerated", "stopped"):
        conversation = ask(store)
        reply = answer(store, conversation)
        store.signal(reply, kind)
        say(store, conversation, "go on")
    cut = ask(store)
    answer(store, cut, finish="length")
    say(store, cut, "go on")
    asked = ask(store)
    reply = answer(store, asked)
    store.signal(str(store.message(reply).parent_id), "edited")
    say(store, asked, "go on")
    begin(store, asked)
    assert list(store.feedback(kept=True)) == []


def test_what_judges_a_reply_is_read_without_its_prompt(store: Store, two: tuple[str, str]) -> None:
    store.prefer(two[1], two[0])
    for n in range(3):
        reply = answer(store, ask(store, f"ask {n}"), f"tell {n}")
        store.rate(reply, (1, -1)[n % 2], ["because"], rater="ann")
    store.correct(reply, "Better.")
    store.review(answer(store, ask(store), "fine"), "approved")
    whole = {f.message_id: replace(f, prompt=(), beat={}) for f in store.feedback()}
    assert len(whole) == 6
    assert {f.message_id: f for f in store.opinions_since(None)} == whole
    since = whole[reply].changed_at - timedelta(microseconds=1)
    assert {f.message_id for f in store.opinions_since(since)} == {f.message_id for f in store.feedback(since)}


def talk(shown: bool, name: str = "there") -> Incoming:
    """Return a talk to import whose first reply was corrected, and whose second somebody liked."""
    return Incoming(
        name,
        (
            IncomingMessage("user", "q"),
            IncomingMessage("assistant", "wrong", correction="right", correction_shown=shown),
            IncomingMessage("user", "and why?"),
            IncomingMessage("assistant", "because", rating=1),
        ),
    )


@pytest.mark.parametrize(("shown", "first"), [(True, "right"), (False, "wrong")])
def test_an_imported_reply_was_asked_for_after_the_correction_that_is_shown(
    store: Store, shown: bool, first: str
) -> None:
    store.take_in([talk(shown)])
    prompts = {f.content: f.prompt for f in store.feedback()}
    assert prompts["because"] == (("user", "q"), ("assistant", first), ("user", "and why?"))
    assert prompts["wrong"] == (("user", "q"),)
    rows = map(json.loads, trl_lines(store.feedback(), "kto"))
    assert [row["prompt"][1]["content"] for row in rows if row["completion"][0]["content"] == "because"] == [first]


def test_a_correction_changed_after_an_import_or_shown_no_more_is_read_so(store: Store) -> None:
    def first() -> str:
        return next(f.prompt[1][1] for f in store.feedback() if f.content == "because")

    store.take_in([talk(shown=True)])
    wrong = next(f.message_id for f in store.feedback() if f.content == "wrong")
    store.correct(wrong, "righter")
    assert first() == "righter"
    store.show_correction(wrong, False)
    assert first() == "wrong"


def test_a_reply_of_here_was_asked_for_in_the_wording_of_its_record(store: Store) -> None:
    """Its first reply was corrected, and shown so, only after the second had been written."""
    conversation = ask(store)
    wrong = answer(store, conversation, "wrong")
    say(store, conversation, "and why?")
    store.rate(answer(store, conversation, "because"), 1)
    store.correct(wrong, "right")
    store.show_correction(wrong, True)
    assert next(f.prompt[1][1] for f in store.feedback() if f.content == "because") == "wrong"


def test_corrections_shown_in_many_imported_talks_are_read_at_once(store: Store) -> None:
    """One query for all of them, and none where no imported talk shows any."""
    sent: list[str] = []
    event.listen(store._database.engine, "before_cursor_execute", lambda *told: sent.append(told[2]))
    counts = []
    for talks in ([talk(shown=False)], [talk(True, f"shown {n}") for n in range(20)]):
        store.take_in(talks)
        sent.clear()
        list(store.feedback())
        counts.append(len(sent))
    assert counts[1] == counts[0] + 1
