"""How a reply ends: whether Stop really cut it, and what is on record of what a model wrote."""

from collections.abc import Iterator

import pytest

from chatui.engine.protocol import Sampling
from chatui.replies import Replies
from feedback.errors import BadInput
from feedback.formats import Incoming, IncomingMessage
from feedback.records import Opening
from feedback.store import Store
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.feedback.talk import signals_of


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(["Hel", "lo"], gated=True)


@pytest.fixture
def replies(store: Store, engine: ScriptedEngine) -> Iterator[Replies]:
    store.add_base("tiny")
    made = Replies(store, engine, Sampling())
    yield made
    made.close()


def test_a_stop_that_cuts_a_reply_speaks_against_it(store: Store, replies: Replies, engine: ScriptedEngine) -> None:
    live = replies.send(store.new_conversation(), "Hi")
    engine.gates[0].release()
    wait_for(lambda: live.text == "Hel")
    assert replies.stop(live.conversation_id)
    wait_for(lambda: not live.running)
    assert (store.message(live.message_id).status, signals_of(store, live.message_id)) == ("stopped", ["stopped"])


def test_a_stop_that_comes_after_the_last_word_says_nothing(
    store: Store, replies: Replies, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = store.end_reply

    def end_late(*args, **kwargs) -> None:
        assert replies.stop(live.conversation_id)  # while the row of a whole reply is closed
        end(*args, **kwargs)

    monkeypatch.setattr(store, "end_reply", end_late)
    live = replies.send(store.new_conversation(), "Hi")
    engine.gates[0].release(2)
    wait_for(lambda: not live.running)
    assert (store.message(live.message_id).status, signals_of(store, live.message_id)) == ("complete", [])


def test_a_reply_that_ends_as_the_app_does_is_not_spoken_against(
    store: Store, replies: Replies, engine: ScriptedEngine
) -> None:
    live = replies.send(store.new_conversation(), "Hi")
    engine.gates[0].release()
    wait_for(lambda: live.text == "Hel")
    replies.close()
    assert (store.message(live.message_id).status, signals_of(store, live.message_id)) == ("stopped", [])


def test_halves_of_characters_are_joined_as_they_come_and_never_sent_alone(
    store: Store, replies: Replies, engine: ScriptedEngine
) -> None:
    engine.pieces = ["so \0\ud83d", "\ude00", "\ud83d"]
    live = replies.send(store.new_conversation(), "Hi")
    for text in ("so \ufffd", "so 😀", "so 😀\ufffd"):
        engine.gates[0].release()
        wait_for(lambda: live.text == text)  # noqa: B023 - it is waited for before the next one is named
    wait_for(lambda: not live.running)
    assert store.message(live.message_id).content == "so 😀\ufffd"


@pytest.mark.parametrize("prompt", [(), (IncomingMessage("system", "Be brief."),)])
@pytest.mark.parametrize("verb", ["regenerate", "go_on", "edit"])
def test_a_reply_that_a_conversation_begins_with_answers_nothing(
    store: Store, replies: Replies, engine: ScriptedEngine, verb: str, prompt: tuple[IncomingMessage, ...]
) -> None:
    greeting = IncomingMessage("assistant", "Welcome!", id="first", finish="length")
    said = (*prompt, greeting, IncomingMessage("user", "Hi"))
    assert store.take_in([Incoming("c", said)]) == [None]
    before = store.history("c")
    with pytest.raises(BadInput, match="first"):
        replies.edit("first", "Hello") if verb == "edit" else getattr(replies, verb)("first")
    assert store.history("c") == before and engine.asked == []


def test_no_reply_is_written_to_a_system_prompt(store: Store, replies: Replies, engine: ScriptedEngine) -> None:
    conversation = store.new_conversation(opening=Opening("Captain", "Speak like one."))
    live = replies.send(conversation, "Hi")
    engine.gates[0].release(2)
    wait_for(lambda: not live.running)
    before = store.history(conversation)
    with pytest.raises(BadInput, match=f"{before[0].id}.*is a system prompt"):
        replies.regenerate(before[0].id)
    assert store.history(conversation) == before and len(engine.asked) == 1


def test_a_reply_below_a_later_system_message_is_written_anew(
    store: Store, replies: Replies, engine: ScriptedEngine
) -> None:
    said = [("user", "Hi"), ("system", "Be brief."), ("assistant", "Yo.")]
    store.take_in([Incoming("c", tuple(IncomingMessage(role, text) for role, text in said))])
    live = replies.regenerate(store.history("c")[-1].id)
    engine.gates[0].release(2)
    wait_for(lambda: not live.running)
    assert engine.asked == [said[:2]]
