import asyncio
import time

import pytest

from chatui import serving
from chatui.engine.protocol import EngineError, EngineState, Sampling
from chatui.following import pause
from chatui.replies import Replies
from chatui.serving import ServingWatch
from feedback.errors import BadInput, Busy, NotFound
from feedback.store import Store
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.feedback.talk import signals_of


def running(store: Store, *pieces: str, gated: bool = False) -> tuple[Replies, ScriptedEngine]:
    store.add_base("tiny")
    engine = ScriptedEngine(list(pieces), gated)
    return Replies(store, engine, Sampling()), engine


def ended(replies: Replies, conversation: str) -> None:
    wait_for(lambda: not replies.live(conversation))


def test_a_reply_is_on_disk_with_how_it_came_to_be(store: Store) -> None:
    replies, _ = running(store, "Hel", "lo")
    conversation = store.new_conversation()
    live = replies.send(conversation, "Hi")
    ended(replies, conversation)
    user, reply = store.history(conversation)
    assert (user.content, reply.content, reply.status, reply.version) == ("Hi", "Hello", "complete", 0)
    facts = store.reply_facts(live.message_id)
    assert facts["prompt"] == [{"message": user.id}]
    assert (facts["prompt_tokens"], facts["completion_tokens"]) == (1, 2)
    assert facts["sampling"]["max_new_tokens"] == 512
    assert 0 <= facts["first_token_s"] <= facts["duration_s"]


def test_the_row_is_there_before_the_first_token(store: Store) -> None:
    replies, engine = running(store, "late", gated=True)
    conversation = store.new_conversation()
    live = replies.send(conversation, "Hi")
    assert store.history(conversation)[1].status == "running"
    engine.gates[-1].release()
    wait_for(lambda: not live.running)


def test_the_model_is_given_the_path_but_no_failed_reply(store: Store) -> None:
    replies, engine = running(store, "!")
    conversation = store.new_conversation()
    replies.send(conversation, "one")
    ended(replies, conversation)
    engine.pieces = ["yes"]
    replies.send(conversation, "two")
    ended(replies, conversation)
    replies.send(conversation, "three")
    assert engine.asked[-1] == [("user", "one"), ("user", "two"), ("assistant", "yes"), ("user", "three")]


def test_an_engines_error_is_kept_as_an_error_never_as_a_message(store: Store) -> None:
    replies, _ = running(store, "so far", "!")
    conversation = store.new_conversation()
    live = replies.send(conversation, "Hi")
    wait_for(lambda: not live.running)
    reply = store.history(conversation)[1]
    assert (reply.status, reply.error, reply.content) == ("error", "The model broke.", "so far")
    assert store.stats()["replies"] == 0


def test_stop_ends_this_conversations_reply_and_no_other(store: Store) -> None:
    replies, engine = running(store, "a", "b", "c", gated=True)
    one, other = store.new_conversation(), store.new_conversation()
    first, second = replies.send(one, "Hi"), replies.send(other, "Hi")
    for gate in engine.gates:
        gate.release()
    wait_for(lambda: (first.text, second.text) == ("a", "a"))
    assert replies.stop(one)
    wait_for(lambda: not first.running)
    assert second.running
    engine.gates[1].release(9)
    wait_for(lambda: not second.running)
    assert store.history(one)[1].status == "stopped"
    assert (store.history(other)[1].status, store.history(other)[1].content) == ("complete", "abc")
    assert not replies.stop(one)


def test_a_reply_is_written_at_the_pace_of_its_readers_who_are_told_of_each_text(store: Store) -> None:
    replies, engine = running(store, "a", "b", gated=True)
    first = replies.send(store.new_conversation(), "Hi")
    assert first.generation.pace() == pause(1)
    others = [replies.send(store.new_conversation(), "Hi") for _ in range(7)]
    assert first.generation.pace() == others[0].generation.pace() == pause(8) > pause(1)

    async def followed() -> float:
        began = time.monotonic()
        for text in ("a", "ab"):
            wait = asyncio.create_task(first.news(60))
            await asyncio.sleep(0)
            engine.gates[0].release()
            await wait
            assert first.text == text
        return time.monotonic() - began

    assert asyncio.run(followed()) < 30
    replies.close()


def test_a_second_message_waits_for_the_first_reply(store: Store) -> None:
    replies, engine = running(store, "a", gated=True)
    conversation = store.new_conversation()
    replies.send(conversation, "Hi")
    with pytest.raises(Busy):
        replies.send(conversation, "Hello?")
    assert len(store.history(conversation)) == 2
    engine.gates[-1].release()


def test_the_text_so_far_is_on_disk_while_it_is_written(store: Store) -> None:
    replies, engine = running(store, "half ", "whole", gated=True)
    conversation = store.new_conversation()
    replies.send(conversation, "Hi")
    engine.gates[-1].release()
    wait_for(lambda: store.history(conversation)[1].content == "half ")
    assert store.history(conversation)[1].status == "running"
    engine.gates[-1].release()


def test_closing_ends_every_reply_with_its_text(store: Store) -> None:
    replies, engine = running(store, "a", "b", gated=True)
    conversation = store.new_conversation()
    live = replies.send(conversation, "Hi")
    engine.gates[-1].release()
    wait_for(lambda: live.text == "a")
    replies.close()
    assert (store.history(conversation)[1].status, store.history(conversation)[1].content) == ("stopped", "a")


@pytest.mark.parametrize("text", ["", "  \n", "half \ud800"])
def test_what_cannot_be_said_is_refused_and_nothing_is_stored(store: Store, text: str) -> None:
    replies, _ = running(store, "a")
    conversation = store.new_conversation()
    with pytest.raises(BadInput):
        replies.send(conversation, text)
    assert store.history(conversation) == []


def test_an_unknown_conversation_is_named(store: Store) -> None:
    replies, _ = running(store, "a")
    with pytest.raises(NotFound, match="nowhere"):
        replies.send("nowhere", "Hi")


def test_a_conversation_asks_to_stay_with_its_version(store: Store) -> None:
    replies, engine = running(store, "a")
    conversation = store.new_conversation()
    for _ in range(2):
        replies.send(conversation, "Hi")
        ended(replies, conversation)
    assert engine.stayed == [None, 0]


def test_another_first_reply_and_another_first_question_stay_with_its_version_too(store: Store) -> None:
    replies, engine = running(store, "a")
    conversation = store.new_conversation()
    replies.send(conversation, "Hi")
    ended(replies, conversation)
    user, reply = store.history(conversation)
    replies.regenerate(reply.id)
    ended(replies, conversation)
    replies.edit(user.id, "Hello")
    ended(replies, conversation)
    assert engine.stayed == [None, 0, 0]


def test_a_promotion_is_followed_once_and_a_failure_leaves_a_notice(store: Store) -> None:
    store.add_base("tiny")
    engine = ScriptedEngine(["a"])
    watch = ServingWatch(store, engine)
    watch.look()
    run = store.open_run({})
    store.add_version(1, "adapter", "versions/001", run, "promoted", "Better.", {})
    watch.look()
    assert engine.version == 1
    store.add_version(2, "adapter", "versions/002", run, "promoted", "Better.", {})

    def refuse(shares) -> None:
        raise EngineError("Version 2 cannot serve: it is broken")

    engine.serve = refuse
    watch.look()
    assert (engine.version, watch.notice) == (1, "Version 2 cannot serve: it is broken")


class Starting(ScriptedEngine):
    """An engine that serves nothing yet, and cannot load some versions; keeps what it was asked to serve."""

    def __init__(self, *broken: int):
        super().__init__(["a"])
        self.broken, self.tried, self.said = set(broken), [], EngineState("loading", "")

    def state(self) -> EngineState:
        return self.said

    def announce(self, phase: str, message: str) -> None:
        self.said = EngineState(phase, message)

    def serve(self, shares) -> None:
        self.tried.append(dict(shares))
        for number in self.broken & set(shares):
            raise EngineError(f"Version {number} cannot serve: it is broken")
        self.said = EngineState("ready", "", tuple(shares))


def promoted(store: Store, most: int) -> None:
    """Fill a record with version 0 and others, each of which replaced the one before."""
    store.add_base("tiny")
    for number in range(1, most + 1):
        path = f"versions/{number:03d}"
        store.add_version(number, "adapter", path, store.open_run({}), "promoted", "Better.", {})


def test_what_served_before_serves_at_a_start_where_the_promotion_in_force_cannot(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_AGAIN_S", 0)
    promoted(store, 2)
    engine = Starting(2)
    watch = ServingWatch(store, engine)
    watch.look()
    assert engine.state() == EngineState("ready", "", (1,))
    assert watch.notice == "Version 2 cannot serve: it is broken"
    engine.broken.clear()  # it is tried again, and serves as the record says
    watch.look()
    assert (engine.state().versions, watch.notice) == ((2,), "")
    assert engine.tried == [{2: 1.0}, {1: 1.0}, {2: 1.0}]


def test_a_server_without_adapters_serves_version_0_at_a_start(store: Store) -> None:
    promoted(store, 2)
    engine = Starting(1, 2)
    ServingWatch(store, engine).look()
    assert engine.state().versions == (0,)


def test_a_candidate_on_trial_that_cannot_be_loaded_does_not_stop_the_proven_version(store: Store) -> None:
    promoted(store, 1)
    store.add_version(2, "adapter", "versions/002", store.open_run({}), "promoted", "Better.", {}, (0.2, {}))
    engine = Starting(2)
    ServingWatch(store, engine).look()
    assert engine.tried == [{1: 0.8, 2: 0.2}, {1: 1.0}]


def test_where_nothing_can_serve_the_reason_is_that_of_the_promotion_in_force(store: Store) -> None:
    promoted(store, 1)
    engine = Starting(0, 1)
    ServingWatch(store, engine).look()
    assert engine.state() == EngineState("failed", "Version 1 cannot serve: it is broken")


def test_the_engine_is_told_whether_a_run_computes_beside_it(store: Store) -> None:
    store.add_base("tiny")
    told: list[bool] = []
    watch = ServingWatch(store, ScriptedEngine(["a"]), told.append)
    watch.look()
    run = store.open_run({})
    watch.look()
    store.update_run(run, status="failed", reason="")
    watch.look()
    assert told == [False, True, False]


def whole(replies: Replies, live) -> str:
    """Wait for a reply's end and return its id."""
    wait_for(lambda: not live.running)
    return live.message_id


def test_regenerating_adds_a_sibling_and_overwrites_nothing(store: Store) -> None:
    replies, engine = running(store, "one")
    conversation = store.new_conversation()
    first = whole(replies, replies.send(conversation, "Hi"))
    engine.pieces = ["two"]
    second = whole(replies, replies.regenerate(first))
    user, shown = store.history(conversation)
    assert (shown.id, shown.content, shown.siblings) == (second, "two", (first, second))
    assert store.message(first).content == "one"
    assert engine.asked[-1] == [("user", "Hi")]
    assert signals_of(store, first) == ["regenerated"]
    store.show(first)
    assert store.history(conversation)[1].id == first
    assert store.history(conversation)[0].id == user.id


def test_editing_a_message_begins_a_branch_with_a_reply_of_its_own(store: Store) -> None:
    replies, engine = running(store, "yes")
    conversation = store.new_conversation()
    whole(replies, replies.send(conversation, "one"))
    whole(replies, replies.send(conversation, "two"))
    second = store.history(conversation)[2]
    whole(replies, replies.edit(second.id, "two, but other"))
    assert [m.content for m in store.history(conversation)] == ["one", "yes", "two, but other", "yes"]
    assert engine.asked[-1] == [("user", "one"), ("assistant", "yes"), ("user", "two, but other")]
    store.show(second.id)
    assert [m.content for m in store.history(conversation)] == ["one", "yes", "two", "yes"]
    assert signals_of(store, second.id) == ["edited"]


def test_the_first_message_can_be_edited_too(store: Store) -> None:
    replies, _ = running(store, "yes")
    conversation = store.new_conversation()
    whole(replies, replies.send(conversation, "one"))
    first = store.history(conversation)[0]
    whole(replies, replies.edit(first.id, "other"))
    shown = store.history(conversation)[0]
    assert (shown.content, shown.siblings) == ("other", (first.id, shown.id))


def test_going_on_begins_with_what_was_said_and_is_its_own_reply(store: Store) -> None:
    replies, engine = running(store, "Once upon ", "a time", gated=True)
    conversation = store.new_conversation()
    live = replies.send(conversation, "A story.")
    engine.gates[-1].release()
    wait_for(lambda: live.text == "Once upon ")
    replies.stop(conversation)
    cut = whole(replies, live)
    engine.gated, engine.pieces = False, ["a hill"]
    more = whole(replies, replies.go_on(cut))
    assert store.history(conversation)[1].content == "Once upon a hill"
    assert store.message(cut).content == "Once upon "
    assert store.reply_facts(more)["continues_id"] == cut
    with pytest.raises(BadInput, match="not cut short"):
        replies.go_on(more)


@pytest.mark.parametrize("verb", ["edit", "go_on"])
def test_what_makes_no_sense_is_one_sentence_and_changes_nothing(store: Store, verb: str) -> None:
    replies, _ = running(store, "yes")
    conversation = store.new_conversation()
    reply = whole(replies, replies.send(conversation, "one"))
    before = store.history(conversation)
    with pytest.raises(BadInput):
        replies.edit(reply, "x") if verb == "edit" else replies.go_on(before[0].id)
    assert store.history(conversation) == before


def test_nothing_is_regenerated_while_a_reply_runs(store: Store) -> None:
    replies, engine = running(store, "a", gated=True)
    conversation = store.new_conversation()
    live = replies.send(conversation, "Hi")
    with pytest.raises(Busy):
        replies.regenerate(live.user_message_id)
    engine.gates[0].release()


def test_a_reply_that_nobody_follows_is_stopped_with_its_text(store: Store) -> None:
    store.add_base("tiny")
    engine = ScriptedEngine(["a", "b"], gated=True)
    replies = Replies(store, engine, Sampling())
    conversation = store.new_conversation()
    live = replies.send(conversation, "Hi")
    engine.gates[0].release()
    wait_for(lambda: live.text == "a")
    replies._unfollowed_s = 0.0  # only now: a heartbeat may come before the text
    wait_for(lambda: not live.running)
    assert (store.history(conversation)[1].status, store.history(conversation)[1].content) == ("stopped", "a")


def test_the_model_is_given_the_correction_where_that_is_shown(store: Store) -> None:
    replies, engine = running(store, "wrong")
    conversation = store.new_conversation()
    first = whole(replies, replies.send(conversation, "one"))
    with pytest.raises(BadInput, match="no correction to show"):
        store.show_correction(first, True)
    store.correct(first, "right")
    store.show_correction(first, True)
    second = whole(replies, replies.send(conversation, "two"))
    assert engine.asked[-1] == [("user", "one"), ("assistant", "right"), ("user", "two")]
    user, reply, said, _ = store.history(conversation)
    assert (reply.shown, reply.content) == ("right", "wrong")
    facts = store.reply_facts(second)
    assert facts["prompt"] == [
        {"message": user.id},
        {"message": first, "correction": reply.correction_id},
        {"message": said.id},
    ]
    store.rate(second, 1)
    served = next(f.prompt for f in store.feedback() if f.message_id == second)
    assert served == (("user", "one"), ("assistant", "right"), ("user", "two"))
    store.show_correction(first, False)
    assert store.history(conversation)[1].shown == "wrong"


def test_a_reply_ends_with_its_text_though_its_conversation_was_deleted(store: Store) -> None:
    replies, engine = running(store, "a", "b", gated=True)
    conversation = store.new_conversation()
    live = replies.send(conversation, "Hi")
    engine.gates[0].release()
    wait_for(lambda: live.text == "a")
    store.delete(conversation)
    replies.stop(conversation)
    wait_for(lambda: not live.running)
    assert live.error is None
    store.undelete(conversation)
    assert (store.history(conversation)[1].status, store.history(conversation)[1].content) == ("stopped", "a")


def test_the_prompt_on_record_is_what_was_given_in_the_end(store: Store) -> None:
    """A server elsewhere may find less room than was meant, after the row was opened."""
    replies, engine = running(store, "Hello")
    conversation = store.new_conversation()
    for text in ("one", "two"):
        replies.send(conversation, text)
        ended(replies, conversation)
    whole, begin = store.history(conversation), engine.begin

    def smaller(*args, **kwargs):
        generation = begin(*args, **kwargs)
        write = generation.__class__.__iter__

        class Smaller(generation.__class__):
            def __iter__(self):
                self.kept = self.kept[2:]
                yield from write(self)

        generation.__class__ = Smaller
        return generation

    engine.begin = smaller
    live = replies.send(conversation, "three")
    ended(replies, conversation)
    prompt = [ref["message"] for ref in store.reply_facts(live.message_id)["prompt"]]
    assert prompt == [whole[2].id, whole[3].id, live.user_message_id]
