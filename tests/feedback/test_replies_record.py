"""Replies: how one came to be, and what becomes of one whose writer is gone."""

import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy.exc import IntegrityError

from feedback.errors import BadInput, Busy, NotFound
from feedback.schema import now
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.turns import SILENCE
from feedback.writers import is_dead, this_writer
from tests.feedback.talk import answer, ask, begin, set_reply

KILLED = """
import os, signal, sys
from feedback.store import Store
store = Store.open(sys.argv[1])
store.add_base("tiny")
conversation = store.new_conversation()
question, reply = store.begin_turn(conversation, None, "Are you there?", 0, {}, [])
store.beat({reply: "I am, as far as"})
print(conversation, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def dead_pid() -> int:
    """Return the number of a process that has ended and was waited for."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_a_reply_keeps_how_it_came_to_be(store: Store) -> None:
    conversation = ask(store)
    reply = begin(store, conversation)
    question = store.history(conversation)[0].id
    figures = {"prompt_tokens": 12, "completion_tokens": 3, "first_token_s": 0.25, "duration_s": 0.5}
    store.end_reply(reply, "It is so.", "complete", "length", **figures)
    facts = store.reply_facts(reply)
    assert figures.items() <= facts.items()
    assert (facts["version"], facts["sampling"], facts["prompt"]) == (0, {"temperature": 0.5}, [{"message": question}])
    said = store.message(reply)
    assert (said.status, said.version, said.content) == ("complete", 0, "It is so.")


def test_a_reply_is_there_before_its_first_token_and_shows_its_text_so_far(store: Store) -> None:
    reply = begin(store, ask(store))
    assert (store.message(reply).status, store.message(reply).content) == ("running", "")
    store.beat({reply: "It is"})
    assert (store.message(reply).status, store.message(reply).content) == ("running", "It is")


def test_a_turn_is_the_message_and_the_row_of_its_reply_in_one_step(store: Store) -> None:
    conversation = ask(store, "first")
    store.add_base("tiny")
    head = answer(store, conversation, "a reply")
    given = [{"message": head}]
    message, reply = store.begin_turn(conversation, head, "second", 0, {}, given)
    assert store.reply_facts(reply)["prompt"] == [*given, {"message": message}]
    said = store.history(conversation)[-2:]
    assert [(m.id, m.parent_id, m.content, m.status) for m in said] == [
        (message, head, "second", "complete"),
        (reply, message, "", "running"),
    ]


def test_a_turn_that_cannot_begin_leaves_no_message_behind(store: Store) -> None:
    conversation = ask(store, "first")
    head = answer(store, conversation)
    before = store.history(conversation)
    with pytest.raises(Busy, match="just now"):
        store.begin_turn(conversation, before[0].id, "second", 0, {}, [])
    with pytest.raises(BadInput, match="empty"):
        store.begin_turn(conversation, head, " ", 0, {}, [])
    with pytest.raises(NotFound):
        store.begin_turn("nobody", None, "second", 0, {}, [])
    with pytest.raises(IntegrityError):
        store.begin_turn(conversation, head, "second", 7, {}, [])  # there is no version 7
    assert store.history(conversation) == before
    store.begin_turn(conversation, head, "second", 0, {}, [])
    with pytest.raises(Busy, match="still being written"):
        store.begin_turn(conversation, store.history(conversation)[-1].id, "third", 0, {}, [])


def test_an_error_is_kept_beside_the_reply_and_never_as_its_text(store: Store) -> None:
    reply = begin(store, ask(store))
    store.end_reply(reply, "", "error", error="out of memory")
    said = store.message(reply)
    assert (said.status, said.content, said.error) == ("error", "", "out of memory")


def test_a_late_beat_does_not_touch_a_reply_that_has_ended(store: Store) -> None:
    reply = answer(store, ask(store), "all of it")
    store.beat({reply: "all"})
    assert store.message(reply).content == "all of it"


def test_a_reply_that_has_ended_does_not_end_again(store: Store) -> None:
    reply = answer(store, ask(store), "half", "stopped", "stopped")
    store.end_reply(reply, "all of it", "complete", "end")
    assert (store.message(reply).status, store.message(reply).content) == ("stopped", "half")


def test_only_the_writer_of_a_reply_ends_it(store: Store) -> None:
    reply = begin(store, ask(store))
    set_reply(store, reply, writer="elsewhere|1|1.00")
    store.end_reply(reply, "not mine", "complete", "end")
    assert store.message(reply).status == "running"


def test_a_slow_writer_that_was_taken_for_gone_still_ends_its_reply(store: Store) -> None:
    reply = begin(store, ask(store))
    set_reply(store, reply, heartbeat_at=now() - 2 * SILENCE)
    assert store.interrupt_dead_replies() == 1
    store.end_reply(reply, "at last", "complete", "end")
    assert (store.message(reply).status, store.message(reply).content) == ("complete", "at last")


def test_an_imported_or_unknown_reply_has_no_facts(store: Store) -> None:
    assert store.reply_facts("nobody") == {}
    with pytest.raises(NotFound):
        store.end_reply("nobody", "", "complete")


def test_a_killed_writer_leaves_the_message_and_the_text_so_far(data: DataSettings) -> None:
    root = Path(__file__).parent.parent.parent
    child = subprocess.run([sys.executable, "-c", KILLED, data.database], cwd=root, capture_output=True, text=True)
    assert child.returncode == -9, child.stderr
    conversation = child.stdout.strip()
    store = Store.open(data.database)
    assert store.interrupt_dead_replies() == 1
    question, reply = store.history(conversation)
    assert (question.content, question.status) == ("Are you there?", "complete")
    assert (reply.content, reply.status) == ("I am, as far as", "interrupted")
    assert store.interrupt_dead_replies() == 0
    ask(store, "go on", conversation)  # nothing is in the way any more
    store.close()


def test_a_reply_of_a_dead_process_on_this_host_is_interrupted_with_its_text(store: Store) -> None:
    reply = begin(store, ask(store))
    store.beat({reply: "half of"})
    set_reply(store, reply, writer=f"{socket.gethostname()}|{dead_pid()}|1.00")
    assert store.interrupt_dead_replies() == 1
    assert (store.message(reply).status, store.message(reply).content) == ("interrupted", "half of")


@pytest.mark.parametrize(
    ("writer", "silent_s", "status"),
    [
        ("elsewhere|1|1.00", 0, "running"),
        ("elsewhere|1|1.00", 29, "running"),
        ("elsewhere|1|1.00", 31, "interrupted"),
        ("", 0, "running"),
        ("", 31, "interrupted"),
    ],
    ids=["other host", "other host, quiet", "other host, silent", "this process", "this process, silent"],
)
def test_a_writer_that_may_live_is_judged_by_its_heartbeat(
    store: Store, writer: str, silent_s: int, status: str
) -> None:
    reply = begin(store, ask(store))
    set_reply(store, reply, writer=writer or this_writer(), heartbeat_at=now() - timedelta(seconds=silent_s))
    store.interrupt_dead_replies()
    assert store.message(reply).status == status


def test_a_beat_keeps_a_reply_alive(store: Store) -> None:
    reply = begin(store, ask(store))
    set_reply(store, reply, heartbeat_at=now() - 2 * SILENCE)
    store.beat({reply: "still here"})
    assert store.interrupt_dead_replies() == 0
    assert store.message(reply).status == "running"


@pytest.mark.parametrize("status", ["complete", "stopped", "error"])
def test_a_reply_that_has_ended_stays_as_it_ended(store: Store, status: str) -> None:
    reply = answer(store, ask(store), "text", status)
    set_reply(store, reply, writer=f"{socket.gethostname()}|{dead_pid()}|1.00", heartbeat_at=now() - 2 * SILENCE)
    assert store.interrupt_dead_replies() == 0
    assert store.message(reply).status == status


def test_this_process_is_alive_under_one_name() -> None:
    assert this_writer() == this_writer()
    assert not is_dead(this_writer())


def test_a_process_number_that_was_given_again_is_another_writer() -> None:
    host, pid, started = this_writer().split("|")
    assert is_dead(f"{host}|{pid}|{float(started) - 60:.2f}")


def test_a_process_that_ended_without_being_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    writer = f"{socket.gethostname()}|{child.pid}|{psutil.Process(child.pid).create_time():.2f}"
    assert not is_dead(writer)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(writer)
    child.communicate()
