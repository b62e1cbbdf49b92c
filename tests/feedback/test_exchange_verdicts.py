"""A record that moves keeps what teaches and what forbids teaching: verdicts, choices, and how a chat was opened."""

import json
from pathlib import Path

import pytest

from feedback.records import Opening
from feedback.schema import Comparison, Preference
from feedback.store import Store
from feedback.transfer import export_file, import_file
from tests.feedback.talk import answer, ask, begin, exchange


def move(store: Store, to: Store, folder: Path) -> Path:
    """Export one record and import it into another, with no bad line."""
    file = folder / "record.jsonl"
    export_file(store, file)
    assert import_file(to, file).bad == []
    return file


def verdicts(store: Store) -> dict[str, str | None]:
    return {found.content: found.verdict for found in store.feedback()}


def choices(store: Store) -> tuple[list[tuple], list[tuple]]:
    """Read preferences and judged comparisons, by the texts of the replies."""

    def said(message_id: str) -> str:
        return store.message(message_id).content

    with store.reading() as session:
        preferences = [(p.chosen_id, p.rejected_id, p.rater_id) for p in session.query(Preference)]
        compared = [(c.left_id, c.right_id, c.outcome, c.person_id) for c in session.query(Comparison)]
    return (
        sorted((said(a), said(b), who) for a, b, who in preferences),
        sorted((said(a), said(b), how, who) for a, b, how, who in compared if how),
    )


def compare(store: Store, outcome: str | None, rater: str = "local") -> tuple[str, str]:
    """Have two replies written side by side, and judge them."""
    store.add_base("tiny")
    conversation = store.new_conversation()
    row, _, left, right = store.begin_comparison(conversation, None, f"{outcome}?", (0, {}, []), (0, {}, []), rater)
    for message_id, side in ((left, "left"), (right, "right")):
        store.end_reply(message_id, f"{outcome} {side}", "complete", "end")
    if outcome:
        store.judge_comparison(row, outcome, rater)
    return left, right


def test_a_rejection_and_an_approval_are_not_forgotten(store: Store, empty: Store, tmp_path: Path) -> None:
    replies = {text: exchange(store, "What?", text) for text in ("bad", "good", "undone", "plain")}
    for reply in replies.values():
        store.rate(reply, 1, rater="ann")
    store.review(replies["bad"], "rejected", reviewer="bob")
    store.review(replies["good"], "approved", reviewer="ann")
    store.review(replies["undone"], "rejected")
    store.review(replies["undone"], "")
    move(store, empty, tmp_path)
    assert verdicts(empty) == {"bad": "rejected", "good": "approved", "undone": None, "plain": None}
    assert empty.review_counts() == store.review_counts()  # what was settled asks for nobody again
    with empty.reading() as session:
        from feedback.schema import Review

        assert {(r.reviewer_id, r.verdict) for r in session.query(Review)} == {("bob", "rejected"), ("ann", "approved")}


def test_a_verdict_on_a_reply_without_a_thumb_moves_too(store: Store, empty: Store, tmp_path: Path) -> None:
    reply = exchange(store)
    store.review(reply, "rejected")
    move(store, empty, tmp_path)
    empty.rate(reply, 1)
    assert [found.verdict for found in empty.feedback()] == ["rejected"]


def test_an_old_file_lifts_no_rejection(store: Store, tmp_path: Path) -> None:
    reply = exchange(store)
    store.review(reply, "approved")
    export_file(store, tmp_path / "old.jsonl")
    store.rate(reply, 1)
    store.review(reply, "rejected")
    import_file(store, tmp_path / "old.jsonl")
    assert [found.verdict for found in store.feedback()] == ["rejected"]


def test_what_was_chosen_over_what_moves_as_whose_it_is(store: Store, empty: Store, tmp_path: Path) -> None:
    for rater in ("ann", "bob"):
        store.rate(exchange(store), 1, rater=rater)
    for outcome in ("left", "right", "tie", "both_bad", None):
        compare(store, outcome, "ann" if outcome == "tie" else "local")
    conversation = ask(store, "Which?")
    one = answer(store, conversation, "one")
    asked = store.history(conversation)[0].id
    two = store.begin_reply(asked, 0, {}, [{"message": asked}])
    store.end_reply(two, "two", "complete", "end")
    store.prefer(one, two, rater="bob")  # the one that is not shown
    move(store, empty, tmp_path)
    assert choices(empty) == choices(store)
    assert [how for _, _, how, _ in choices(empty)[1]] == ["both_bad", "left", "right", "tie"]
    assert len(choices(empty)[0]) == 3
    left = empty.comparisons_of([m.id for m in empty.history(conversation)])
    assert left == {}


def test_an_imported_comparison_is_shown_without_versions(store: Store, empty: Store, tmp_path: Path) -> None:
    left, right = compare(store, "tie")
    move(store, empty, tmp_path)
    one = empty.comparisons_of([left])[left]
    assert (one.right_id, one.outcome, one.left_version, one.right_version) == (right, "tie", None, None)


def test_a_record_takes_in_its_own_verdicts_and_choices_without_a_trace(store: Store, tmp_path: Path) -> None:
    compare(store, "left")
    reply = exchange(store)
    store.review(reply, "rejected")
    before = choices(store), store.review_counts()
    move(store, store, tmp_path)
    assert (choices(store), store.review_counts()) == before


def test_persona_and_settings_of_a_conversation_move(store: Store, empty: Store, tmp_path: Path) -> None:
    own = store.keep_persona("Captain", "Speak like one.", {"temperature": 1.5})
    for opening in (Opening(own, "Speak like one.", {"temperature": 1.5}), Opening("tutor", "Explain.", {"top_k": 7})):
        conversation = store.new_conversation(opening=opening)
        store.add_base("tiny")
        _, reply = store.begin_turn(conversation, None, f"Hello {opening.persona}", 0, {}, [])
        store.end_reply(reply, "Ahoy.", "complete", "end")
    move(store, empty, tmp_path)
    found = {empty.opening(line.id).persona: empty.opening(line.id) for line in empty.conversations()}
    assert found == {
        "Captain": Opening("Captain", "Speak like one.", {"temperature": 1.5}),
        "tutor": Opening("tutor", "Explain.", {"top_k": 7}),
    }


def test_a_shown_correction_is_shown_again(store: Store, empty: Store, tmp_path: Path) -> None:
    reply = exchange(store)
    store.correct(reply, "It is not so.")
    store.show_correction(reply, True)
    move(store, empty, tmp_path)
    assert empty.message(reply).shown == "It is not so."


REPLY = {"role": "assistant", "content": "a", "id": "r"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{**REPLY, "review": "maybe"}]}, "the review 'maybe'"),
        ({"messages": [{"role": "user", "content": "q", "review": "rejected"}]}, "only replies have these"),
        ({"messages": [REPLY], "preferences": [{"chosen": "r"}]}, "rejected in preferences"),
        ({"messages": [REPLY], "preferences": "r"}, "not a list of objects"),
        ({"messages": [REPLY], "preferences": [{"chosen": "r", "rejected": "x"}]}, "'x', which is not in this"),
        ({"messages": [REPLY], "comparisons": [{"left": "r", "right": "r", "outcome": "won"}]}, "outcome 'won'"),
        ({"messages": [REPLY], "sampling": {"temperature": 9}}, "temperature 9"),
    ],
)
def test_what_cannot_be_meant_is_a_bad_line(store: Store, tmp_path: Path, row: dict, reason: str) -> None:
    (tmp_path / "bad.jsonl").write_text(json.dumps(row) + "\n")
    (bad,) = import_file(store, tmp_path / "bad.jsonl").bad
    assert reason in bad.reason
    assert store.stats()["messages"] == 0


def test_a_comparison_being_written_is_not_exported(store: Store, empty: Store, tmp_path: Path) -> None:
    compare(store, None)
    begin(store, ask(store))
    move(store, empty, tmp_path)
    assert choices(empty) == ([], [])
