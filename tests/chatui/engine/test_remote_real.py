"""Replies written by a real server process: `transformers serve` with the tiny model, from a local folder."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import torch

from chatui.engine.protocol import EngineError, Sampling
from chatui.engine.remote import RemoteEngine
from chatui.engine.server import Patience
from finetune.model import load_base, load_template
from tests.chatui.scripted import wait_for
from tests.processes import free_port

HELLO = [("system", "be kind"), ("user", "hello world")]
GREEDY = Sampling(temperature=0, top_k=0, max_new_tokens=24)


@dataclass
class Serving:
    """A server process and its address."""

    process: subprocess.Popen[bytes]
    url: str


@pytest.fixture(scope="module")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The server; its cache of downloads is an empty folder."""
    port, cache = free_port(), tmp_path_factory.mktemp("cache")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "HF_HUB_CACHE": str(cache)}
    command = [Path(sys.executable).with_name("transformers"), "serve", str(tiny), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--device", "cpu", "--dtype", "float32"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        assert process.poll() is None, "the server ended at its start"
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    try:
        wait_for(answers, 90)
        yield Serving(process, f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def engine(server: Serving, tiny: Path) -> Iterator[RemoteEngine]:
    """An engine that has met it."""
    made = RemoteEngine(
        [server.url], str, model=str(tiny), read_template=lambda: load_template(tiny), patience=Patience(5, 60, 0)
    )
    made.serve({0: 1.0})
    yield made
    made.close()


def test_greedy_writes_what_the_model_writes(engine: RemoteEngine, tiny: Path) -> None:
    generation = engine.begin(HELLO, GREEDY)
    texts = list(generation)
    loaded = load_base(tiny, torch.float32, torch.device("cpu"))
    ids = torch.tensor([loaded.template.prompt(HELLO)])
    with torch.inference_mode():
        out = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    assert texts[-1] == loaded.template.decode(out[0, ids.shape[1] :])
    assert generation.prompt_tokens == ids.shape[1]
    assert generation.completion_tokens == out.shape[1] - ids.shape[1]
    assert len(texts) > 1


def test_a_reply_ends_at_its_length(engine: RemoteEngine) -> None:
    generation = engine.begin(HELLO, replace(GREEDY, max_new_tokens=5))
    assert list(generation)
    assert (generation.finish, generation.completion_tokens) == ("length", 5)


def test_a_reply_ends_before_a_stop_text(engine: RemoteEngine) -> None:
    whole = [*engine.begin(HELLO, GREEDY)][-1]
    stop = whole[len(whole) // 2 :][:3]
    generation = engine.begin(HELLO, replace(GREEDY, stop=(stop,)))
    assert [*generation][-1] == whole[: whole.index(stop)]
    assert generation.finish == "end"


def test_what_it_does_not_know_is_named(engine: RemoteEngine) -> None:
    generation = engine.begin(HELLO, Sampling(top_k=5, repetition_penalty=1.2, max_new_tokens=8, seed=1))
    assert list(generation)
    assert generation.unheeded == ("top_k", "repetition_penalty")


def test_cancelling_leaves_the_server_to_others(engine: RemoteEngine) -> None:
    generation = engine.begin(HELLO, GREEDY)
    for _ in generation:
        generation.cancel()
    assert generation.finish == "stopped"
    assert engine.check() < 60


def test_several_at_once_do_not_mix(engine: RemoteEngine) -> None:
    prompts = [[("user", f"hello {n}")] for n in range(4)]
    alone = [[*engine.begin(prompt, GREEDY)][-1] for prompt in prompts]
    together = ["" for _ in prompts]

    def write(place: int) -> None:
        together[place] = [*engine.begin(prompts[place], GREEDY)][-1]

    threads = [threading.Thread(target=write, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == alone


def test_it_serves_version_0_only_and_cannot_go_on(engine: RemoteEngine) -> None:
    with pytest.raises(EngineError, match="loads no adapters, so it serves version 0 only"):
        engine.serve({1: 1.0})
    assert engine.state().versions == (0,)
    with pytest.raises(EngineError, match="cannot go on"):
        engine.begin(HELLO, GREEDY, begun="Well, ")


def test_a_server_killed_in_the_middle_of_a_reply_is_named(engine: RemoteEngine, server: Serving) -> None:
    """The last test of this file: it ends the server."""
    generation = engine.begin(HELLO, replace(GREEDY, max_new_tokens=120))
    with pytest.raises(EngineError, match=f"The connection to the server at {server.url} broke"):
        for _ in generation:
            server.process.kill()
    with pytest.raises(EngineError, match="cannot be reached"):
        list(engine.begin(HELLO, GREEDY))
