"""Personas that people make, and what a conversation is opened with."""

import pytest

from feedback.errors import BadInput, NotFound
from feedback.records import Opening
from feedback.store import Store


def test_a_persona_is_kept_listed_and_dropped(store: Store) -> None:
    made = store.keep_persona("  Sea   captain ", "You speak like a captain.", {"temperature": 1, "top_k": 20.0})
    (line,) = store.personas()
    assert (line.id, line.name, line.system_prompt) == (made, "Sea captain", "You speak like a captain.")
    assert line.sampling == {"temperature": 1.0, "top_k": 20}
    store.drop_persona(made)
    assert store.personas() == []


@pytest.mark.parametrize(
    ("name", "prompt", "sampling", "told"),
    [
        (" ", "x", None, "name"),
        ("x", "", None, "system prompt"),
        ("x" * 61, "x", None, "61 characters"),
        ("x", "x" * 8001, None, "8,001 characters"),
        ("x", "x", {"temperature": 2.5}, "temperature 2.5"),
        ("x", "x", {"temperature": float("nan")}, "temperature nan"),
        ("x", "x", {"top_k": 1.5}, "top_k 1.5"),
        ("x", "x", {"top_k": True}, "top_k True"),
        ("x", "x", {"warmth": 1}, "'warmth'"),
        ("x", "x", [1], "[1]"),
        ("x", "x", {"seed": -1}, "seed -1"),
        ("x", "x", {"seed": True}, "seed True"),
        ("x", "x", {"stop": "END"}, "stop cannot be used"),
        ("x", "x", {"stop": ["END", "\ud83d"]}, "stop holds half a character"),
        ("x", "x", {"stop": ["\0"]}, "stop holds a NUL character"),
        ("x", "x", {"stop": [""]}, "stop cannot be used"),
        ("x", "x", {"stop": ["x"] * 17}, "at most 16 texts"),
    ],
)
def test_what_cannot_be_a_persona_is_refused(store: Store, name, prompt, sampling, told: str) -> None:
    with pytest.raises(BadInput) as refusal:
        store.keep_persona(name, prompt, sampling)
    assert told in str(refusal.value)
    assert store.personas() == []


def test_the_system_prompt_becomes_the_first_message_with_the_first_turn(store: Store) -> None:
    store.add_base("base")
    opening = Opening("Sea captain", "You speak like a captain.", {"temperature": 1.0})
    conversation = store.new_conversation(opening=opening)
    assert store.opening(conversation) == opening
    assert store.conversations() == []  # nothing was said yet
    said, reply = store.begin_turn(conversation, None, "Ahoy", 0, {}, [])
    store.end_reply(reply, "Ahoy!", "complete", "end")
    path = store.history(conversation)
    assert [(m.role, m.content) for m in path] == [
        ("system", "You speak like a captain."),
        ("user", "Ahoy"),
        ("assistant", "Ahoy!"),
    ]
    assert store.reply_facts(reply)["prompt"] == [{"message": path[0].id}, {"message": said}]
    store.rate(reply, 1)
    (feedback,) = store.feedback()
    assert feedback.prompt == (("system", "You speak like a captain."), ("user", "Ahoy"))
    store.begin_turn(conversation, reply, "Again", 0, {}, [])
    assert [m.role for m in store.history(conversation)].count("system") == 1


def test_sampling_of_a_conversation_is_set_reset_and_checked(store: Store) -> None:
    conversation = store.new_conversation()
    store.set_sampling(conversation, {"top_p": 0.5})
    with pytest.raises(BadInput):
        store.set_sampling(conversation, {"top_p": 0})
    assert store.opening(conversation).sampling == {"top_p": 0.5}
    store.set_sampling(conversation, {"seed": 7, "stop": ["END"]})
    assert store.opening(conversation).sampling == {"seed": 7, "stop": ["END"]}
    store.set_sampling(conversation, {})
    assert store.opening(conversation).sampling == {}
    with pytest.raises(NotFound):
        store.set_sampling("nobody", {})


def test_a_conversations_own_persona_is_found_by_its_id_whatever_its_name(store: Store) -> None:
    first = store.keep_persona("Captain", "One.", {"top_k": 1})
    second = store.keep_persona("Captain", "Two.", {"top_k": 2})
    assert (store.persona(first).sampling, store.persona(second).sampling) == ({"top_k": 1}, {"top_k": 2})
    store.drop_persona(first)
    assert store.persona(first).name == "Captain"  # what it is called in conversations opened with it
    assert store.persona("Captain").id == second  # as older and imported conversations name it
    assert store.persona("Pirate") is None
