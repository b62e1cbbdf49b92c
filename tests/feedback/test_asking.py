"""Which replies are asked about, that nobody is asked twice, and what the answers say of all."""

import threading
from collections import Counter

import numpy as np
import pytest

from feedback import asked_pool
from feedback.asked_pool import sample
from feedback.chooser import RANDOM, set_apart
from feedback.errors import BadInput, NotFound
from feedback.formats import Incoming, IncomingMessage
from feedback.messages import append
from feedback.ratings import put_rating
from feedback.schema import LOCAL, AskedReply, Conversation, Reply
from feedback.statistics import wilson
from feedback.store import Store
from tests.feedback.talk import answer, ask

SUBJECTS = ("bread", "rivers", "chess", "engines", "poems", "taxes", "orchids", "glaciers", "violins", "comets")


def filled(store: Store, count: int, rated: int = 0) -> list[str]:
    """Write replies, each in a conversation of its own, in one step; give the first some thumbs."""
    store.add_base("tiny")
    replies = []
    with store.writing() as session:
        for number in range(count):
            subject = SUBJECTS[number % len(SUBJECTS)]
            conversation = Conversation(id=f"c{number}", owner_id=LOCAL)
            session.add(conversation)
            asked = append(session, conversation, "user", f"Tell me of {subject} {number}")
            text = f"Of {subject} it is told {number * 7919} times"
            said = append(session, conversation, "assistant", text, id=f"reply-{number}")
            session.add(Reply(message_id=said.id, version=0, sampling={}, prompt=[{"message": asked.id}], writer=""))
            if number < rated:
                put_rating(session, said, 1 if number % 3 else -1, None, None, LOCAL)
            replies.append(said.id)
    return replies


def asked_of(store: Store) -> dict[str, str]:
    with store.reading() as session:
        return {row.message_id: row.why for row in session.query(AskedReply)}


def put_all(store: Store, most: int = 1000) -> list[str]:
    """Have replies put one at a time until there are none."""
    ids = []
    while len(ids) < most and (items := store.put_asked()):
        ids += [item.message_id for item in items]
    return ids


def test_nobody_is_asked_twice_and_each_reply_is_remembered_with_why(store: Store) -> None:
    replies = filled(store, 36, rated=6)
    put = put_all(store)
    assert len(put) == len(set(put)) > 10
    assert set(put) == set(asked_of(store)) <= set(replies[6:])
    assert all((why == RANDOM) == set_apart(message_id) for message_id, why in asked_of(store).items())
    assert {message_id for message_id in replies[6:] if set_apart(message_id)} <= set(put)
    assert store.put_asked() == []


def test_what_was_judged_failed_cut_off_by_a_crash_or_deleted_is_not_asked_about(store: Store) -> None:
    replies = dict(zip(("rated", "corrected", "approved", "gone", "undone", "open"), filled(store, 6), strict=True))
    store.rate(replies["rated"], -1)
    store.correct(replies["corrected"], "Better.")
    store.review(replies["approved"], "approved")
    store.delete(store.conversation_of(replies["gone"]))
    store.rate(replies["undone"], 1)
    store.rate(replies["undone"], 0)
    store.correct(replies["undone"], "Better.")
    store.correct(replies["undone"], store.message(replies["undone"]).content)
    store.review(replies["undone"], "rejected")
    store.review(replies["undone"], "")
    answer(store, ask(store, "error?"), "", "error", None)
    answer(store, ask(store, "crash?"), "half", "interrupted", None)
    turns = (IncomingMessage("user", "theirs?"), IncomingMessage("assistant", "Theirs.", finish="end"))
    store.take_in([Incoming("imported", turns)])
    with store.reading() as session:
        found = sample(session, np.random.default_rng(0), 100, lambda key: True)
    assert {text.message_id for text in found} == {replies["undone"], replies["open"]}
    assert {text.question for text in found} == {"Tell me of poems 4", "Tell me of taxes 5"}


def test_imported_replies_are_asked_about_where_there_are_no_others(store: Store) -> None:
    for name in SUBJECTS:
        turns = (IncomingMessage("user", f"What of {name}?"), IncomingMessage("assistant", f"Much of {name} is known."))
        store.take_in([Incoming(name, turns)])
    assert len(put_all(store)) >= 8


@pytest.mark.parametrize("read_at_most", [20_000, 20])
def test_a_sample_of_a_file_whose_ids_run_on_reaches_all_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, read_at_most: int
) -> None:
    monkeypatch.setattr(asked_pool, "_MOST_READ", read_at_most)
    monkeypatch.setattr(asked_pool, "_WINDOW", 10)
    rows = []
    for n in range(60):
        said = IncomingMessage("user", f"{n}?", f"msg-{n:06}a"), IncomingMessage("assistant", "So.", f"msg-{n:06}b")
        rows.append(Incoming(f"talk {n}", said))
    assert store.take_in(rows) == [None] * 60
    drawn = Counter[str]()
    with store.reading() as session:
        for seed in range(120):
            found = sample(session, np.random.default_rng(seed), 6, lambda key: True)
            assert len({text.message_id for text in found}) == 6
            drawn.update(text.message_id for text in found)
    assert set(drawn) == {f"msg-{n:06}b" for n in range(60)}
    assert max(drawn.values()) < 30  # 12 times each, were all as often


def test_own_replies_are_found_among_many_imported_ones(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [IncomingMessage("user" if n % 2 == 0 else "assistant", f"text {n}", id=f"msg-{n}") for n in range(30)]
    assert store.take_in([Incoming("theirs", tuple(said))]) == [None]
    store.add_base("tiny")
    own = answer(store, ask(store))
    monkeypatch.setattr(asked_pool, "_MOST_READ", 10)
    with store.reading() as session:
        for seed in range(20):
            found = sample(session, np.random.default_rng(seed), 5, lambda key: True)
            assert [text.message_id for text in found] == [own]


def test_the_same_record_and_seed_choose_the_same_and_write_nothing(store: Store, data) -> None:
    filled(store, 40, rated=4)
    other = Store.open(data.database)
    assert store.choose_asked(seed=3) == other.choose_asked(seed=3) == store.choose_asked(seed=3)
    drawn = {frozenset(one.message_id for one in store.choose_asked(seed=seed)) for seed in range(6)}
    assert len(drawn) > 1
    assert asked_of(store) == {}
    other.close()


def test_a_batch_speaks_to_a_conversation_once(store: Store) -> None:
    talk = ask(store, "Tell me of bread")
    for subject in SUBJECTS:
        answer(store, talk, f"Much could be told about {subject} indeed")
        ask(store, f"And of {subject}?", talk)
    chosen = [one for one in store.choose_asked() if one.why != RANDOM]
    assert len(chosen) <= 1


def test_what_is_in_hand_is_given_again_until_it_is_answered(store: Store) -> None:
    filled(store, 30)
    (first,) = store.put_asked()
    (same,) = store.put_asked([first.message_id, "never put"])
    assert same == first and first.why
    store.answer_asked(first.message_id, 1)
    assert store.message(first.message_id).rating == 1
    (second,) = store.put_asked([first.message_id])
    assert second.message_id != first.message_id
    store.answer_asked(first.message_id, 0)
    assert [item.message_id for item in store.put_asked([first.message_id, second.message_id])] == [
        first.message_id,
        second.message_id,
    ]
    assert len(asked_of(store)) == 2


def test_what_was_rated_since_it_was_chosen_is_not_put(store: Store) -> None:
    replies = filled(store, 12)
    store.put_asked()
    for reply in replies:
        if reply not in asked_of(store):
            store.rate(reply, 1)
    assert store.put_asked() == []


def test_a_thumb_is_taken_only_for_what_was_asked_about(store: Store) -> None:
    (reply,) = filled(store, 1)
    with pytest.raises(BadInput, match="Nobody was asked about reply"):
        store.answer_asked(reply, 1)
    with pytest.raises(NotFound):
        store.answer_asked("none", 1)
    assert store.message(reply).rating == 0


def test_the_share_of_thumbs_up_is_that_of_the_random_ones_alone(store: Store) -> None:
    filled(store, 24)
    while items := store.put_asked():
        assert len(items) == 1
    chosen = [message_id for message_id, why in asked_of(store).items() if why != RANDOM]
    store.answer_asked(chosen[0], 1)
    drawn = [message_id for message_id, why in asked_of(store).items() if why == RANDOM]
    assert len(drawn) > 4
    store.answer_asked(drawn[0], 1)
    store.answer_asked(drawn[1], -1)
    store.answer_asked(drawn[2], 1)
    store.answer_asked(drawn[2], 0)
    store.rate(drawn[3], 1)
    store.amend(drawn[3], "It was not that good.")
    store.amend(drawn[4], "Corrected without a thumb.")
    rate = store.random_rate()
    assert (rate.asked, rate.answered, rate.up) == (len(drawn), 4, 2)
    assert (rate.low, rate.high) == wilson(2, 4)


def test_the_share_shown_among_the_counts_is_the_same(store: Store) -> None:
    replies = filled(store, 6)
    with store.writing() as session:
        session.add_all(AskedReply(message_id=reply, why=RANDOM) for reply in replies)

    def told() -> tuple[int, int, int]:
        rate, counted = store.random_rate(), store.survey().asked
        assert (rate.up, rate.answered) == (counted.part, counted.whole)
        return rate.asked, rate.answered, rate.up

    store.rate(replies[0], 1)
    assert told() == (6, 1, 1)
    store.amend(replies[1], "Corrected without a thumb.")
    assert told() == (6, 2, 1)
    store.rate(replies[2], 1, rater="one")
    store.rate(replies[2], -1, rater="another")
    assert told() == (6, 3, 1)  # of two raters the last
    store.delete(store.conversation_of(replies[0]))
    assert told() == (5, 2, 0)
    store.delete(store.conversation_of(replies[1]))
    assert told() == (4, 1, 0)


def test_reviewers_at_once_are_given_different_replies(store: Store) -> None:
    filled(store, 40)
    given: list[list[str]] = [[] for _ in range(4)]

    def take(mine: list[str]) -> None:
        for _ in range(3):
            mine += [item.message_id for item in store.put_asked()]

    threads = [threading.Thread(target=take, args=(mine,)) for mine in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [message_id for mine in given for message_id in mine]
    assert len(everything) == len(set(everything)) == 12


def test_another_process_that_put_it_first_is_not_in_the_way(store: Store, data) -> None:
    filled(store, 40)
    other = Store.open(data.database)
    mine, theirs = [], []
    for _ in range(5):
        mine += [item.message_id for item in store.put_asked()]
        theirs += [item.message_id for item in other.put_asked()]
    assert len({*mine, *theirs}) == 10
    other.close()
