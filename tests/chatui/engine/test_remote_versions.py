"""Versions on servers elsewhere: loaded on every server or on none, tried, routed to, unloaded after the last reply.

For servers that are down meanwhile see `test_lagging`.
"""

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from starlette.responses import JSONResponse, Response

from chatui.engine.protocol import EngineError, Sampling
from chatui.engine.remote import RemoteEngine
from chatui.engine.server import Patience
from tests.chatui.scripted import wait_for
from tests.chatui.standin import StandIn, listening

HELLO = [("user", "hello world")]
SAMPLING = Sampling(max_new_tokens=24)


def path_of(version: int) -> str:
    if version == 99:
        raise LookupError("There is no version 99.")
    return f"/shared/versions/{version:03}/adapter"


@pytest.fixture
def make() -> Iterator:
    """Make an engine with stand-ins; nothing serves yet."""
    with ExitStack() as stack:

        def made(*stand_ins: StandIn) -> RemoteEngine:
            urls = [stack.enter_context(listening(stand_in)).url for stand_in in stand_ins]
            engine = RemoteEngine(urls, path_of, patience=Patience(2, 20, 0), dice=random.Random(0))
            stack.callback(engine.close)
            return engine

        yield made


def written(engine: RemoteEngine, stay_with: int | None = None) -> int:
    generation = engine.begin(HELLO, SAMPLING, stay_with)
    assert list(generation)[-1] == "Hello you"
    return generation.version


def hold(engine: RemoteEngine, stay_with: int | None = None):
    """Begin a reply that waits at its server's gate; return it and the thread that follows it."""
    generation = engine.begin(HELLO, SAMPLING, stay_with)
    thread = threading.Thread(target=list, args=(generation,))
    thread.start()
    return generation, thread


@pytest.mark.parametrize(
    ("owner", "prefix", "model"), [("vllm", "/v1", "rapport-v17"), ("sglang", "", "base-model:rapport-v17")]
)
def test_a_promotion_loads_on_every_server_tries_it_there_then_routes(make, owner, prefix, model) -> None:
    stand_ins = StandIn(owner=owner), StandIn(owner=owner)
    engine = make(*stand_ins)
    engine.serve({0: 1.0})
    engine.serve({17: 1.0})
    asked = {"lora_name": "rapport-v17", "lora_path": "/shared/versions/017/adapter"}
    for stand_in in stand_ins:
        loads = [i for i, request in enumerate(stand_in.asked) if request == (f"{prefix}/load_lora_adapter", asked)]
        tries = [i for i, (_, body) in enumerate(stand_in.asked) if body.get("model") == model]
        assert len(loads) == len(tries) == 1
        assert loads < tries
    assert engine.state().versions == (17,)
    assert {written(engine) for _ in range(4)} == {17}
    assert [stand_in.chats()[-1]["model"] for stand_in in stand_ins] == [model, model]


@pytest.mark.parametrize("fault", ["broken", "mute"])
def test_if_one_server_refuses_what_was_loaded_is_unloaded_and_what_served_stays(make, fault: str) -> None:
    stand_ins = StandIn(), StandIn(), StandIn()
    engine = make(*stand_ins)
    engine.serve({1: 1.0})
    getattr(stand_ins[1], fault).add("rapport-v2")
    with pytest.raises(EngineError, match=f"Version 2 cannot serve: The server at {stand_ins[1].url} ") as caught:
        engine.serve({1: 0.5, 2: 0.5})
    assert ("No adapter found for /shared" if fault == "broken" else "illegal memory access") in str(caught.value)
    assert [list(stand_in.adapters) for stand_in in stand_ins] == [["rapport-v1"]] * 3
    assert engine.state().versions == (1,)
    assert {written(engine) for _ in range(6)} == {1}
    getattr(stand_ins[1], fault).clear()
    engine.serve({1: 0.5, 2: 0.5})
    assert {written(engine) for _ in range(20)} == {1, 2}


def test_what_left_is_unloaded_once_its_last_reply_has_ended(make) -> None:
    stand_in = StandIn()
    engine = make(stand_in)
    engine.serve({1: 1.0})
    stand_in.gated = True
    held = [hold(engine) for _ in range(2)]
    wait_for(lambda: stand_in.writing == 2)
    engine.serve({2: 1.0})
    first, second = held
    first[0].cancel()
    first[1].join(5)
    stand_in.gated = False
    assert written(engine, stay_with=1) == 2  # it has left: a conversation goes on with what serves
    assert set(stand_in.adapters) == {"rapport-v1", "rapport-v2"}
    stand_in.release(3)
    second[1].join(5)
    assert (second[0].version, second[0].finish) == (1, "end")
    wait_for(lambda: list(stand_in.adapters) == ["rapport-v2"])


def test_a_version_that_comes_back_before_its_last_reply_ended_stays_loaded(make) -> None:
    stand_in = StandIn()
    engine = make(stand_in)
    engine.serve({1: 1.0})
    stand_in.gated = True
    generation, thread = hold(engine)
    wait_for(lambda: stand_in.writing == 1)
    engine.serve({2: 1.0})
    engine.serve({1: 1.0})
    generation.cancel()
    thread.join(5)
    wait_for(lambda: list(stand_in.adapters) == ["rapport-v1"])
    engine.serve({0: 1.0})
    wait_for(lambda: not stand_in.adapters)
    assert stand_in.changes() == [
        ("load", "rapport-v1"), ("load", "rapport-v2"), ("load", "rapport-v1"), ("unload", "rapport-v2"),
        ("unload", "rapport-v1"),
    ]  # fmt: skip


def test_a_version_whose_last_reply_ends_while_it_is_being_brought_back_stays_loaded(make) -> None:
    stand_in = StandIn(slow={"rapport-v3"})
    engine = make(stand_in)
    engine.serve({1: 1.0})
    stand_in.gated = True
    generation, thread = hold(engine)
    wait_for(lambda: stand_in.writing == 1)
    engine.serve({2: 1.0})
    back = threading.Thread(target=engine.serve, args=({1: 0.5, 3: 0.5},))
    back.start()
    wait_for(lambda: ("load", "rapport-v3") in stand_in.changes())
    generation.cancel()
    thread.join(5)
    wait_for(lambda: stand_in.writing == 0)
    stand_in.release()
    back.join(10)
    wait_for(lambda: "rapport-v2" not in stand_in.adapters)
    assert set(stand_in.adapters) == {"rapport-v1", "rapport-v3"}
    assert ("unload", "rapport-v1") not in stand_in.changes()


def test_a_reply_begun_before_its_version_left_is_still_written_by_it(make) -> None:
    stand_in = StandIn()
    engine = make(stand_in)
    engine.serve({1: 1.0})
    begun = engine.begin(HELLO, SAMPLING)
    engine.serve({2: 1.0})
    wait_for(lambda: list(stand_in.adapters) == ["rapport-v2"])
    assert [*begun][-1] == "Hello you"
    assert (begun.version, stand_in.chats()[-1]["model"]) == (1, "rapport-v1")
    wait_for(lambda: list(stand_in.adapters) == ["rapport-v2"])


def test_a_page_that_starts_anew_takes_what_is_loaded_already(make) -> None:
    stand_in = StandIn(adapters={"rapport-v3": path_of(3)})
    engine = make(stand_in)
    engine.serve({3: 1.0})
    assert written(engine) == 3
    stand_in.mute.add("rapport-v4")
    with pytest.raises(EngineError):
        engine.serve({3: 0.5, 4: 0.5})
    assert list(stand_in.adapters) == ["rapport-v3"]  # not loaded by this attempt, so not unloaded by it


def test_another_folder_under_a_versions_name_is_never_taken_for_it(make) -> None:
    stand_in = StandIn(adapters={"rapport-v3": "/elsewhere/versions/003/adapter"})
    with pytest.raises(EngineError, match="has \"/elsewhere/versions/003/adapter\" loaded as 'rapport-v3', not"):
        make(stand_in).serve({3: 1.0})


@pytest.fixture(params=["vllm", "sglang"])
def owner(request) -> str:
    return request.param


def test_a_server_that_lost_its_adapters_is_given_the_version_again(make, owner: str) -> None:
    stand_in = StandIn(owner=owner)
    engine = make(stand_in)
    engine.serve({1: 1.0})
    stand_in.adapters.clear()  # as after a restart
    assert written(engine) == 1
    assert list(stand_in.adapters) == ["rapport-v1"]


@pytest.mark.parametrize("status", [400, 422, 200])
def test_sglang_says_in_several_ways_that_it_lost_an_adapter(make, status: int) -> None:
    message = "The following requested LoRA adapters are not loaded: rapport-v1\nLoaded adapters: dict_keys([])."
    stand_in = StandIn(owner="sglang")
    engine = make(stand_in)
    engine.serve({1: 1.0})
    stand_in.adapters.clear()
    error = {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}
    event = f"data: {json.dumps({'error': error})}\n\ndata: [DONE]\n\n"  # older ones tell it within the stream
    in_stream = Response(event, media_type="text/event-stream")
    stand_in.instead.append(in_stream if status == 200 else JSONResponse(error, status))
    assert written(engine) == 1
    assert list(stand_in.adapters) == ["rapport-v1"]


def test_a_server_that_cannot_take_its_version_back_is_skipped_and_asked_last(make, owner: str) -> None:
    lost, good = StandIn(owner=owner), StandIn(owner=owner)
    engine = make(lost, good)
    engine.serve({1: 1.0})
    lost.adapters.clear()
    lost.broken.add("rapport-v1")
    assert [written(engine) for _ in range(6)] == [1] * 6
    assert len(lost.chats()) == 1
    assert len(good.chats()) == 6


def test_where_every_server_lost_its_version_each_is_given_it_until_one_takes_it(make) -> None:
    stand_ins = StandIn(), StandIn()
    engine = make(*stand_ins)
    engine.serve({1: 1.0})
    for stand_in in stand_ins:
        stand_in.adapters.clear()
    engine._servers[0].failed()  # so that the other is asked first
    stand_ins[1].broken.add("rapport-v1")
    assert written(engine) == 1
    assert [list(stand_in.adapters) for stand_in in stand_ins] == [["rapport-v1"], []]


def test_where_no_server_takes_its_version_back_the_reason_is_said(make, owner: str) -> None:
    stand_ins = StandIn(owner=owner), StandIn(owner=owner)
    engine = make(*stand_ins)
    engine.serve({1: 1.0})
    for stand_in in stand_ins:
        stand_in.adapters.clear()
        stand_in.broken.add("rapport-v1")
    with pytest.raises(EngineError, match="Version 1 cannot serve: .*No adapter found for /shared"):
        written(engine)
    assert all(server.failing for server in engine._servers)


@pytest.mark.parametrize(
    ("stand_in", "sentence"),
    [
        (StandIn(owner="llamacpp"), r"\(llama.cpp\) loads no adapters, so it serves version 0 only"),
        (StandIn(owner="somebody"), "loads no adapters, so it serves version 0 only"),
        (StandIn(loads=False), "Not Found. To load adapters, start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME"),
    ],
)
def test_a_server_without_adapters_serves_version_0_only_and_says_so(make, stand_in: StandIn, sentence: str) -> None:
    engine = make(stand_in)
    engine.serve({0: 1.0})
    with pytest.raises(EngineError, match=f"Version 5 cannot serve: .*{sentence}"):
        engine.serve({5: 1.0})
    assert written(engine) == 0


def test_a_version_without_an_adapter_is_refused_with_its_reason(make) -> None:
    engine = make(StandIn())
    engine.serve({0: 1.0})
    with pytest.raises(EngineError, match=r"Version 99 cannot serve: There is no version 99\."):
        engine.serve({99: 1.0})
    assert written(engine) == 0


def test_shares_are_drawn_and_a_conversation_stays_with_its_version(make) -> None:
    engine = make(StandIn())
    engine.serve({0: 0.2, 1: 0.8})
    drawn = Counter(engine.begin(HELLO, SAMPLING).version for _ in range(500))
    assert 60 < drawn[0] < 140
    assert {engine.begin(HELLO, SAMPLING, stay_with=0).version for _ in range(20)} == {0}


def test_the_check_tries_every_version_on_every_server(make) -> None:
    stand_ins = StandIn(), StandIn()
    engine = make(*stand_ins)
    engine.serve({0: 0.5, 1: 0.5})
    engine.check()
    stand_ins[1].mute.add("rapport-v1")
    with pytest.raises(EngineError, match=f"Version 1 cannot serve: The server at {stand_ins[1].url} failed"):
        engine.check()


def test_the_check_gives_a_restarted_server_its_version_back(make, owner: str) -> None:
    stand_in, other = StandIn(owner=owner), StandIn(owner=owner)
    engine = make(stand_in, other)
    engine.serve({0: 0.5, 1: 0.5})
    stand_in.adapters.clear()
    engine.check()
    assert list(stand_in.adapters) == ["rapport-v1"]
    assert other.changes() == [("load", "rapport-v1")]


def test_the_check_says_why_a_restarted_server_does_not_take_its_version_back(make, owner: str) -> None:
    stand_in = StandIn(owner=owner)
    engine = make(stand_in)
    engine.serve({1: 1.0})
    stand_in.adapters.clear()
    stand_in.broken.add("rapport-v1")
    with pytest.raises(EngineError, match="Version 1 cannot serve: .*No adapter found for /shared"):
        engine.check()
    assert stand_in.changes() == [("load", "rapport-v1")] * 2  # once for each time that it is asked


def test_a_check_leaves_no_version_loaded_that_has_left_meanwhile(make) -> None:
    stand_in = StandIn(slow={"rapport-v1"})
    engine = make(stand_in)
    stand_in.release()
    engine.serve({1: 1.0})
    stand_in.adapters.clear()
    check = threading.Thread(target=engine.check)
    check.start()
    wait_for(lambda: stand_in.changes() == [("load", "rapport-v1")] * 2)
    engine.serve({2: 1.0})
    stand_in.release()
    check.join(10)
    wait_for(lambda: list(stand_in.adapters) == ["rapport-v2"])


def test_five_promotions_under_sixteen_replies_drop_none_and_mix_none(make) -> None:
    stand_ins = StandIn(), StandIn()
    engine = make(*stand_ins)
    engine.serve({0: 1.0})
    over, told = threading.Event(), []

    def talk() -> None:
        while not over.is_set():
            generation = engine.begin(HELLO, SAMPLING)
            told.append((generation.version, [*generation][-1], generation.finish))

    threads = [threading.Thread(target=talk) for _ in range(16)]
    for thread in threads:
        thread.start()
    for version in range(1, 6):
        engine.serve({version: 1.0})
        wait_for(lambda number=version: any(line[0] == number for line in told))
    over.set()
    for thread in threads:
        thread.join(10)
    assert {line[1:] for line in told} == {("Hello you", "end")}
    assert {line[0] for line in told} == set(range(6))
    wait_for(lambda: all(list(stand_in.adapters) == ["rapport-v5"] for stand_in in stand_ins))


def test_a_failed_unloading_is_noted_and_harms_nobody(make, caplog: pytest.LogCaptureFixture) -> None:
    stand_in = StandIn()
    engine = make(stand_in)
    engine.serve({1: 1.0})

    async def refuse(_):
        return JSONResponse({"error": {"message": "Failed to remove"}}, 500)

    refuse.__name__ = "_unload"
    stand_in._unload = refuse  # type: ignore[method-assign]
    engine.serve({2: 1.0})
    wait_for(lambda: "Version 1 stays loaded" in caplog.text)
    assert written(engine) == 2
