"""What only a real PostgreSQL server shows: lost connections, and many at once on one record."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import text

from feedback.errors import RapportError
from feedback.store import Store
from feedback.trouble import DatabaseTrouble, in_words
from tests.databases import of_postgres
from tests.feedback.talk import ask, begin, exchange

pytestmark = of_postgres

CUT = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> :kept")


def cut_others(store: Store) -> None:
    """End all connections to the record but this one's own, as a server does that is restarted."""
    with store.writing() as session:
        session.execute(CUT, {"kept": session.scalar(text("SELECT pg_backend_pid()"))})


def other(store: Store) -> Store:
    return Store.open(store._database.engine.url.render_as_string(hide_password=False))


def test_a_connection_lost_between_two_calls_is_made_anew(store: Store) -> None:
    conversation, second = ask(store), other(store)
    cut_others(second)
    second.close()
    assert [said.content for said in store.history(conversation)] == ["What is it?"]
    store.rename(conversation, "Still there")
    assert store.conversations()[0].title == "Still there"


def test_a_connection_lost_within_a_call_is_told_in_one_sentence_and_the_next_call_works(store: Store) -> None:
    conversation, second = ask(store), other(store)
    with pytest.raises(DatabaseTrouble) as caught, store.writing() as session:
        session.execute(text("UPDATE conversations SET title = 'half'"))
        cut_others(second)
        session.execute(text("SELECT 1"))
    second.close()
    assert in_words(caught.value).startswith("The record cannot be reached")
    assert store.conversations()[0].title == "What is it?"
    store.rename(conversation, "After it")
    assert store.conversations()[0].title == "After it"


def test_a_new_rater_may_give_several_thumbs_at_once(store: Store) -> None:
    replies = [exchange(store, f"Question {n}?") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda reply: store.rate(reply, 1, rater="new"), replies))
    assert store.stats()["thumbs_up"] == 8


@pytest.mark.parametrize("attempt", range(5))
def test_thumbs_ends_of_replies_and_promotions_at_once_neither_lock_each_other_out_nor_lose_anything(
    store: Store, attempt: int
) -> None:
    store.add_base("tiny")
    for number in (1, 2):
        store.add_version(number, "adapter", f"versions/{number}", store.open_run({}), "refused", "", {})
    conversations = [ask(store, f"Question {n}?") for n in range(6)]
    running = [begin(store, conversation) for conversation in conversations]

    def work(number: int) -> None:
        reply, conversation = running[number % 6], conversations[number % 6]
        jobs: list[Any] = [
            lambda: store.end_reply(reply, "It is so.", "complete", "end"),
            lambda: store.rate(reply, 1, rater=f"rater {number % 4}"),
            lambda: store.correct(reply, f"Not so, {number}.", author=f"rater {number % 4}"),
            lambda: store.promote(number % 3),
            lambda: store.rollback(),
            lambda: store.beat(dict.fromkeys(running if number == 0 else (), "So far")),  # one thread beats for all
            lambda: store.show(reply),
            lambda: store.rename(conversation, f"Title {number}"),
            lambda: store.review(reply, "rejected"),
            lambda: store.begin_turn(conversation, reply, "And then?", 0, {}, []),
        ]
        for step in range(len(jobs)):
            with suppress(RapportError):  # such as: this reply is still being written
                jobs[(step + number) % len(jobs)]()

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))
    assert {store.message(reply).status for reply in running} == {"complete"}
    assert {store.message(reply).content for reply in running} == {"It is so."}
    assert store.stats()["thumbs_up"] == 12
