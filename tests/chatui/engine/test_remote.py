"""Replies written by a server elsewhere: a stand-in that answers as vLLM does, and all that can go wrong with one."""

import random
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from chatui.engine.protocol import EngineBusy, EngineError, Sampling
from chatui.engine.remote import RemoteEngine
from chatui.engine.remote_reply import RemoteGeneration
from chatui.engine.server import Patience
from finetune.model import load_template
from tests.chatui.scripted import wait_for
from tests.chatui.standin import StandIn, listening
from tests.processes import ROOT, free_port

HELLO = [("user", "hello world")]
SAMPLING = Sampling(max_new_tokens=24)
IMPATIENT = Patience(connect_s=2, token_s=0.3, again_s=0)
PATIENT = Patience(connect_s=2, token_s=20, again_s=0)


@pytest.fixture
def make() -> Iterator:
    """Make an engine that serves version 0 with stand-ins, and close it all in the end."""
    with ExitStack() as stack:

        def made(
            *stand_ins: StandIn, patience: Patience = PATIENT, also: tuple[str, ...] = (), **kwargs
        ) -> RemoteEngine:
            for stand_in in stand_ins:
                stack.enter_context(listening(stand_in))
            urls = [*(stand_in.url for stand_in in stand_ins), *also]
            engine = RemoteEngine(
                urls, "/versions/{}/adapter".format, patience=patience, dice=random.Random(0), **kwargs
            )
            stack.callback(engine.close)
            engine.serve({0: 1.0})
            return engine

        yield made


def written(
    engine: RemoteEngine, messages=HELLO, sampling: Sampling = SAMPLING, **kwargs
) -> tuple[str, RemoteGeneration]:
    generation = engine.begin(messages, sampling, **kwargs)
    return ["", *generation][-1], generation


# -- what is asked, and what comes of it ---------------------------------------------------------------------------


def test_text_grows_as_it_comes_and_the_figures_are_the_servers(make) -> None:
    stand_in = StandIn()
    generation = make(stand_in).begin(HELLO, SAMPLING)
    texts = list(generation)
    assert texts == ["Hel", "Hello ", "Hello you"]
    assert all(after.startswith(before) for before, after in pairwise(texts))
    assert (generation.finish, generation.prompt_tokens, generation.completion_tokens) == ("end", 17, 40)
    assert (generation.version, generation.kept, generation.waiting) == (0, [0], 0)
    (body,) = stand_in.chats()
    assert body["messages"] == [{"role": "user", "content": "hello world"}]
    assert (body["model"], body["max_tokens"], body["stream"]) == ("base-model", 24, True)


def test_a_reply_that_reached_its_length_says_so_and_deltas_count_where_no_usage_is_told(make) -> None:
    stand_in = StandIn(finish="length", knows={"model", "messages", "stream", "max_tokens", "temperature", "top_p"})
    _, generation = written(make(stand_in))
    assert (generation.finish, generation.completion_tokens, generation.prompt_tokens) == ("length", 3, 0)


def test_separators_of_unicode_inside_a_token_do_not_end_an_event(make) -> None:
    assert written(make(StandIn(pieces=["a\u2028b", "\x85c 你", "好🙂"])))[0] == "a\u2028b\x85c 你好🙂"


@pytest.mark.parametrize(
    ("owner", "sent"),
    [
        ("vllm", {"top_k": 7, "repetition_penalty": 1.3}),
        ("sglang", {"top_k": 7, "repetition_penalty": 1.3}),
        ("llamacpp", {"top_k": 7, "repeat_penalty": 1.3}),
        ("somebody", {}),
    ],
)
def test_every_setting_travels_by_the_name_that_the_server_knows_or_is_named_as_unheeded(make, owner, sent) -> None:
    stand_in = StandIn(owner=owner)
    sampling = Sampling(0.5, 0.8, 7, 1.3, 24, seed=5, stop=("END",))
    _, generation = written(make(stand_in), sampling=sampling)
    (body,) = stand_in.chats()
    standard = {"temperature": 0.5, "top_p": 0.8, "max_tokens": 24, "seed": 5, "stop": ["END"]}
    extras = {name: body[name] for name in ("top_k", "repetition_penalty", "repeat_penalty") if name in body}
    assert {name: body[name] for name in standard} == standard
    assert extras == sent
    assert generation.unheeded == (() if sent else ("top_k", "repetition_penalty"))


def test_what_is_switched_off_is_not_called_unheeded_and_vllm_is_told_in_its_way(make) -> None:
    off = Sampling(0.5, 1.0, 0, 1.0, 24)
    assert make(StandIn(owner="somebody")).begin(HELLO, off).unheeded == ()
    stand_in = StandIn()
    written(make(stand_in), sampling=off)
    assert stand_in.chats()[0]["top_k"] == -1  # 0 is an error in older ones, and leaving it out means the model's own


def test_a_field_that_the_server_refuses_is_left_out_named_and_not_sent_again(make) -> None:
    stand_in = StandIn(knows={"model", "messages", "stream", "stream_options", "max_tokens", "temperature", "top_p"})
    engine = make(stand_in)
    seeded = replace(SAMPLING, seed=3, top_k=5)
    text, generation = written(engine, sampling=seeded)
    assert (text, generation.unheeded) == ("Hello you", ("top_k", "seed"))
    asked = len(stand_in.chats())
    assert engine.begin(HELLO, seeded).unheeded == ("top_k", "seed")
    assert written(engine, sampling=seeded)[0] == "Hello you"
    assert len(stand_in.chats()) == asked + 1


@pytest.mark.parametrize(
    ("pieces", "stop", "texts"),
    [
        (["one ", "two EN", "D three"], ("END",), ["one ", "one two ", "one two "]),
        (["one ENORMOUS", " thing"], ("END",), ["one ENORMOUS", "one ENORMOUS thing"]),
        (["one E", "N"], ("END",), ["one ", "one EN"]),
    ],
)
def test_a_reply_ends_before_a_stop_text_even_if_the_server_writes_on(make, pieces, stop, texts) -> None:
    generation = make(StandIn(pieces=pieces)).begin(HELLO, replace(SAMPLING, stop=stop))
    assert list(generation) == list(dict.fromkeys(texts))
    assert generation.finish == "end"


def test_going_on_sends_the_beginning_as_the_open_last_message(make) -> None:
    stand_in = StandIn()
    text, _ = written(make(stand_in), begun="Well, ")
    assert text == "Well, Hello you"
    (body,) = stand_in.chats()
    assert body["messages"][-1] == {"role": "assistant", "content": "Well, "}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def test_going_on_where_the_server_cannot_is_one_sentence(make) -> None:
    with pytest.raises(EngineError, match="cannot go on"):
        make(StandIn(owner="llamacpp")).begin(HELLO, SAMPLING, begun="Well, ")


def test_neighbours_of_one_role_are_joined_only_for_a_server_that_wants_turns(make) -> None:
    twice = [("user", "one"), ("user", "two")]
    for stand_in, sent in ((StandIn(), ["one", "two"]), (StandIn(alternates=True), ["one\n\ntwo"])):
        assert written(make(stand_in), twice)[0] == "Hello you"
        assert [message["content"] for message in stand_in.chats()[-1]["messages"]] == sent


# -- what does not fit ---------------------------------------------------------------------------------------------

LONG = [("system", "be kind"), *[(role, f"{n} " + "word " * 8) for n in range(6) for role in ("user", "assistant")]]
LONG.append(("user", "the last"))


@pytest.mark.parametrize("tells", [True, False])
def test_without_a_template_the_oldest_are_left_out_until_the_server_takes_the_rest(make, tells: bool) -> None:
    stand_in = StandIn(context=80, tells_context=tells)
    text, generation = written(make(stand_in), LONG)
    assert text == "Hello you"
    assert generation.kept[0] == 0
    assert generation.kept[1:] == list(range(len(LONG) - len(generation.kept) + 1, len(LONG)))
    assert 1 < len(generation.kept) < len(LONG)
    assert {body["messages"][1]["role"] for body in stand_in.chats()} == {"user"}  # none began with a reply
    sent = [message["content"] for message in stand_in.chats()[-1]["messages"]]
    assert sent == [LONG[place][1] for place in generation.kept]


def test_a_count_of_messages_that_were_left_out_in_the_end_is_not_told(make, tiny: Path) -> None:
    """A server that reads less than it tells, and that counts nothing itself."""
    fields = {"model", "messages", "stream", "max_tokens", "temperature", "top_p", "top_k", "repetition_penalty"}
    stand_in = StandIn(context=60, tells_context=False, knows=fields)
    generation = make(stand_in, read_template=lambda: load_template(tiny)).begin(LONG, SAMPLING)
    meant, counted = len(generation.kept), generation.prompt_tokens
    assert list(generation)[-1] == "Hello you"
    assert len(generation.kept) < meant
    assert (counted > 0, generation.prompt_tokens) == (True, 0)


def test_a_long_history_fits_after_few_refusals(make) -> None:
    stand_in = StandIn(context=80, tells_context=False)
    history = [(role, f"{n} word") for n in range(500) for role in ("user", "assistant")]
    text, generation = written(make(stand_in), [*history, ("user", "the last")])
    assert (text, generation.kept[-1]) == ("Hello you", 1000)
    assert generation.kept == list(range(generation.kept[0], 1001))
    assert len(stand_in.chats()) < 40


def test_a_last_message_that_is_too_long_by_itself_is_one_sentence(make) -> None:
    with pytest.raises(EngineError, match="longer than the server .* reads; shorten it"):
        written(make(StandIn(context=40, tells_context=False)), [("user", "word " * 100)])


def test_with_a_template_what_fits_is_known_before_anything_is_sent(make, tiny: Path) -> None:
    stand_in = StandIn(context=60)
    engine = make(stand_in, read_template=lambda: load_template(tiny))
    template = load_template(tiny)
    generation = engine.begin(LONG, SAMPLING)
    assert 0 in generation.kept and len(generation.kept) < len(LONG)
    assert generation.prompt_tokens == len(template.prompt([LONG[place] for place in generation.kept])) <= 60 - 24
    assert not stand_in.chats()
    assert engine.tokens_in("hello world") == len(template.encode("hello world"))
    with pytest.raises(EngineError, match="tokens with its frame; the model reads at most 36: shorten it"):
        engine.begin([("user", "word " * 100)], SAMPLING)


def test_a_server_is_given_what_it_reads_though_less_would_be_read_here(make, tiny: Path) -> None:
    template = load_template(tiny)
    template.context = 40
    generation = make(StandIn(context=200), read_template=lambda: template).begin(LONG[:6], SAMPLING)
    assert (generation.kept, generation.prompt_tokens > template.context) == (list(range(6)), True)


@pytest.mark.parametrize("owner", ["vllm", "llamacpp"])
def test_a_reply_is_never_asked_to_be_longer_than_half_of_what_the_server_reads(make, owner: str) -> None:
    stand_in = StandIn(context=60, owner=owner)
    written(make(stand_in), sampling=Sampling(max_new_tokens=500))
    assert [body["max_tokens"] for body in stand_in.chats()] == [30]


def test_a_template_that_cannot_be_read_is_said(make) -> None:
    def broken():
        raise ValueError("The tokenizer cannot be loaded.")

    with pytest.raises(EngineError, match="tokenizer cannot be loaded"):
        make(StandIn(), read_template=broken)


def test_a_reader_that_sleeps_long_is_shown_the_first_piece_and_then_all_of_it_at_its_end(make) -> None:
    stand_in = StandIn(pieces=[f"{n} " for n in range(8)], gated=True)
    generation = make(stand_in).begin(HELLO, SAMPLING)
    generation.pace = lambda: 60.0
    texts: list[str] = []
    reader = threading.Thread(target=lambda: [texts.append(text) for text in generation])
    reader.start()
    stand_in.release()
    wait_for(lambda: texts)
    for n in range(1, 8):
        stand_in.release()
        wait_for(lambda: len(generation._shown) > 2 * n or not reader.is_alive())  # noqa: B023
    stand_in.release(9)
    reader.join(30)
    assert texts == ["0 ", "".join(stand_in.pieces)]
    assert generation.finish == "end"


# -- ending early --------------------------------------------------------------------------------------------------


def test_cancelling_ends_the_reply_at_once_and_closes_the_stream(make) -> None:
    stand_in = StandIn(gated=True)
    generation = make(stand_in).begin(HELLO, SAMPLING)
    texts: list[str] = []
    thread = threading.Thread(target=lambda: [texts.append(text) for text in generation])
    thread.start()
    stand_in.release()
    wait_for(lambda: texts)
    generation.cancel()
    thread.join(5)
    assert not thread.is_alive()
    assert stand_in.hung_up.wait(5)
    assert (generation.finish, texts) == ("stopped", ["Hel"])


def test_cancelling_before_the_first_token_or_before_iterating_ends_it_too(make) -> None:
    stand_in = StandIn(gated=True)
    engine = make(stand_in)
    waiting = engine.begin(HELLO, SAMPLING)
    thread = threading.Thread(target=list, args=(waiting,))
    thread.start()
    wait_for(lambda: stand_in.writing == 1)
    waiting.cancel()
    thread.join(5)
    assert stand_in.hung_up.wait(5)
    never = engine.begin(HELLO, SAMPLING)
    never.cancel()
    assert (list(never), never.finish, waiting.finish) == ([], "stopped", "stopped")
    assert len(stand_in.chats()) == 1


def test_without_a_message_there_is_nothing_to_reply_to(make) -> None:
    with pytest.raises(EngineError, match="nothing to reply to"):
        make(StandIn()).begin([], SAMPLING)


def test_who_iterates_no_more_ends_the_reply(make) -> None:
    stand_in = StandIn(gated=True)
    stream = iter(make(stand_in).begin(HELLO, SAMPLING))
    stand_in.release()
    assert next(stream) == "Hel"
    stream.close()
    assert stand_in.hung_up.wait(5)


def test_closing_the_engine_ends_every_reply(make) -> None:
    stand_in = StandIn(gated=True)
    engine = make(stand_in)
    generation = engine.begin(HELLO, SAMPLING)
    thread = threading.Thread(target=list, args=(generation,))
    thread.start()
    wait_for(lambda: stand_in.writing == 1)
    engine.close()
    thread.join(5)
    assert not thread.is_alive()
    assert generation.finish == "stopped"
    with pytest.raises(EngineError, match="closed"):
        engine.begin(HELLO, SAMPLING)
    with pytest.raises(EngineError, match="closed"):
        engine.serve({0: 1.0})


# -- what goes wrong -----------------------------------------------------------------------------------------------


def event(text: str) -> bytes:
    return (
        f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{text}"}}, "finish_reason": null}}]}}\n\n'.encode()
    )


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (JSONResponse({"error": "Unauthorized"}, 401), "asks for a key; set RAPPORT_ENGINE_KEY"),
        (JSONResponse({"detail": "Not Found"}, 404), "does not have what was asked for: Not Found"),
        (JSONResponse({"error": {"message": "boom. ", "type": "X", "code": 500}}, 500), r"failed \(500\): boom\.$"),
        (HTMLResponse("<html>Bad gateway</html>", 502), r"failed \(502\)\.$"),
        (HTMLResponse("<html>Welcome</html>"), "answers a chat with 'text/html' instead of a stream"),
        (JSONResponse({"choices": []}), "answers a chat with 'application/json' instead of a stream"),
        (RedirectResponse("http://elsewhere.example/v1"), "redirects to 'http://elsewhere.example/v1', which is not"),
        (JSONResponse({"error": {"message": "tools are not supported"}}, 400), "refuses the request: tools are not"),
        (PlainTextResponse("x" * 100_000, 500), "failed \\(500\\): x+…"),
    ],
)
def test_what_a_server_answers_instead_of_a_reply_is_one_sentence(make, answer: Response, sentence: str) -> None:
    stand_in = StandIn(instead=deque([answer, answer]))
    engine = make(stand_in)
    with pytest.raises(EngineError, match=sentence) as caught:
        written(engine)
    assert stand_in.url in str(caught.value)
    assert len(str(caught.value)) < 400
    stand_in.instead.clear()
    assert written(engine)[0] == "Hello you"


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_has_too_much_to_do_is_busy(make, status: int) -> None:
    stand_in = StandIn()
    stand_in.instead.append(JSONResponse({"error": {"message": "overloaded"}}, status))
    with pytest.raises(EngineBusy, match="busy; try again in a moment"):
        written(make(stand_in))
    assert len(stand_in.chats()) == 1


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (event("Hel") + b"data: {half of", "connection to the server at .* broke"),
        (event("Hel") + b"data: {not json}\n\n", "sends what is no chat stream: '{not json}'"),
        (event("Hel") + b"data: [1, 2]\n\n", "sends what is no chat stream"),
        (event("Hel") + b'data: {"choices": [{"delta": {"content": 3}}]}\n\n', "sends what is no chat stream"),
        (event("Hel") + b'data: {"error": {"message": "CUDA out of memory"}}\n\n', "failed: CUDA out of memory"),
        (event("Hel") + b'data: {"error": "it broke"}\n\n', "failed: it broke"),
        (event("Hel") + b"data: " + b"x" * 5_000_000, "sends what is no chat stream"),
    ],
)
def test_a_stream_that_goes_wrong_leaves_the_text_so_far(make, raw: bytes, sentence: str) -> None:
    stand_in = StandIn(raw=raw)
    generation = make(stand_in).begin(HELLO, SAMPLING)
    texts = []
    with pytest.raises(EngineError, match=sentence) as caught:
        for text in generation:
            texts.append(text)
    assert texts == ["Hel"]
    assert stand_in.url in str(caught.value)
    assert generation.finish is None
    assert len(stand_in.chats()) == 1  # a reply that has begun is not asked for again


def test_a_stream_that_ends_without_having_finished_is_told_from_one_that_did(make) -> None:
    whole = event("Hi").replace(b"null", b'"stop"')
    stand_in = StandIn(raw=whole)  # the connection breaks after it, but the reply was over
    engine = make(stand_in)
    text, generation = written(engine)
    assert (text, generation.finish) == ("Hi", "end")


@pytest.mark.parametrize("pings", [False, True])
def test_a_stream_that_stalls_is_waited_for_so_long_and_comments_do_not_count(make, pings: bool) -> None:
    stand_in = StandIn(gated=True, pings=pings)
    engine = make(stand_in, patience=IMPATIENT)
    generation = engine.begin(HELLO, SAMPLING)
    stand_in.release()
    texts = []
    with pytest.raises(EngineError, match=r"sent nothing for 0\.3 s"):
        for text in generation:
            texts.append(text)
    assert texts == ["Hel"]
    assert stand_in.hung_up.wait(5)


def test_a_reply_that_has_not_begun_is_tried_once_more(make) -> None:
    stand_in = StandIn()
    engine = make(stand_in)
    stand_in.instead.append(JSONResponse({"error": "starting"}, 500))
    assert written(engine)[0] == "Hello you"
    assert len(stand_in.chats()) == 2


# -- several servers -----------------------------------------------------------------------------------------------


def test_replies_are_spread_over_the_servers(make) -> None:
    stand_ins = StandIn(gated=True), StandIn(gated=True), StandIn(gated=True)
    engine = make(*stand_ins)
    generations = [engine.begin(HELLO, SAMPLING) for _ in range(6)]
    threads = [threading.Thread(target=list, args=(generation,)) for generation in generations]
    for thread in threads:
        thread.start()
    wait_for(lambda: [stand_in.writing for stand_in in stand_ins] == [2, 2, 2])
    for generation in generations:
        generation.cancel()
    for thread in threads:
        thread.join(5)


@pytest.mark.parametrize("status", [500, 503, 401, 404])
def test_a_failing_server_is_skipped_before_the_first_token_and_asked_last_for_a_while(make, status: int) -> None:
    good, bad = StandIn(), StandIn(pieces=["never"])
    engine = make(good, bad)
    bad.instead.extend(JSONResponse({"error": "no"}, status) for _ in range(9))
    assert [written(engine)[0] for _ in range(6)] == ["Hello you"] * 6
    assert len(bad.chats()) <= 1
    assert len(good.chats()) == 6


def test_a_server_that_has_vanished_is_skipped(make) -> None:
    good = StandIn()
    with listening(StandIn()) as gone:
        engine = make(good, also=(gone.url,))
    assert [written(engine)[0] for _ in range(4)] == ["Hello you"] * 4


def test_a_request_that_one_server_refuses_is_not_carried_to_the_next(make) -> None:
    stand_ins = StandIn(), StandIn()
    engine = make(*stand_ins)
    for stand_in in stand_ins:
        stand_in.instead.append(JSONResponse({"error": {"message": "tools are not supported"}}, 400))
    with pytest.raises(EngineError, match="tools are not supported"):
        written(engine)
    assert sum(len(stand_in.chats()) for stand_in in stand_ins) == 1


# -- starting, checking, secrets -----------------------------------------------------------------------------------


def test_before_anything_serves_it_says_so() -> None:
    engine = RemoteEngine(["http://127.0.0.1:1"], str)
    with pytest.raises(EngineError, match="being asked"):
        engine.begin(HELLO, SAMPLING)
    with pytest.raises(EngineError, match="being asked"):
        engine.check()
    assert (engine.state().phase, engine.tokens_in("hello")) == ("loading", None)
    engine.close()
    engine.close()


def test_a_server_that_is_not_there_is_named_and_found_once_it_is() -> None:
    port = free_port()
    engine = RemoteEngine([f"http://127.0.0.1:{port}"], str, patience=PATIENT)
    with pytest.raises(EngineError, match=f"The server at http://127.0.0.1:{port} cannot be reached"):
        engine.serve({0: 1.0})
    assert engine.state().phase == "failed"
    with pytest.raises(EngineError, match="cannot be reached"):
        engine.begin(HELLO, SAMPLING)
    with listening(StandIn(), port):
        engine.serve({0: 1.0})
        assert (engine.state().phase, written(engine)[0]) == ("ready", "Hello you")
        engine.close()


def test_a_page_that_is_no_chat_server_is_named(make) -> None:
    with pytest.raises(EngineError, match="something else than a list of models; is it OpenAI-compatible"):
        make(StandIn(page="<html>Welcome</html>"))


def test_the_base_model_can_be_named(make) -> None:
    stand_in = StandIn(base="second")
    assert written(make(stand_in, model="second"))[0] == "Hello you"
    with pytest.raises(EngineError, match="Version 0 cannot serve: .*`third` does not exist"):
        make(StandIn(), model="third")


def test_the_check_makes_a_token_on_every_server(make) -> None:
    stand_ins = StandIn(), StandIn()
    engine = make(*stand_ins)
    tried = [len(stand_in.asked) for stand_in in stand_ins]
    assert engine.check() < 5
    assert [len(stand_in.asked) for stand_in in stand_ins] == [before + 1 for before in tried]
    stand_ins[1].mute.add("base-model")  # it lists its models and answers 200 there, but writes nothing
    with pytest.raises(EngineError, match=f"Version 0 cannot serve: The server at {stand_ins[1].url} failed"):
        engine.check()


def test_a_check_waits_for_a_silent_server_no_longer_than_a_check_may_take(make, monkeypatch) -> None:
    async def silence(_scope, receive, _send) -> None:
        await receive()  # until the connection is closed

    stand_ins = StandIn(), StandIn()
    engine = make(*stand_ins)
    stand_ins[1].trials.append(silence)
    monkeypatch.setattr("chatui.engine.remote._CHECK_S", 0.3)
    told = f"Version 0 cannot serve: the server at {stand_ins[1].url} wrote no token in time"
    with pytest.raises(EngineError, match=told):
        engine.check()
    assert engine.check() < 5


def test_the_key_goes_to_the_servers_and_into_no_sentence(make, caplog: pytest.LogCaptureFixture) -> None:
    stand_in = StandIn(key="sesame-7")
    engine = make(stand_in, key="sesame-7")
    assert written(engine)[0] == "Hello you"
    assert {headers["authorization"] for headers in stand_in.headers} == {"Bearer sesame-7"}
    for answer in (
        JSONResponse({"error": {"message": "Incorrect API key provided: sesame-7"}}, 400),
        JSONResponse({"error": "sesame-7"}, 401),
        RedirectResponse("http://elsewhere.example/?key=sesame-7"),
    ):
        stand_in.instead.extend([answer, answer])
        with pytest.raises(EngineError) as caught:
            written(engine)
        stand_in.instead.clear()
        assert "sesame" not in str(caught.value)
    stand_in.raw = b"sesame-7 is your key\n\n"
    with pytest.raises(EngineError) as caught:
        written(engine)
    assert "sesame" not in str(caught.value) + caplog.text


def test_a_wrong_key_is_said_before_anything_serves(make) -> None:
    with pytest.raises(EngineError, match="refuses the key in RAPPORT_ENGINE_KEY"):
        make(StandIn(key="right"), key="wrong")


def test_proxies_of_the_environment_are_not_used(make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert written(make(StandIn()))[0] == "Hello you"


def test_waiting_for_ever_is_possible(make) -> None:
    assert written(make(StandIn(), patience=Patience(float("inf"), float("inf"))))[0] == "Hello you"


def test_it_needs_neither_torch_nor_the_page() -> None:
    unwanted = "{'torch', 'transformers', 'gradio', 'sqlalchemy'}"
    code = f"import sys, chatui.engine.remote; print(sorted({unwanted} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
