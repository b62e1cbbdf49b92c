"""What a reader is told of the engine: their place in the line, what it cannot honour, whether it is well."""

import threading
from collections.abc import Iterator

import httpx
import pytest
from gradio_client import Client

from chatui.engine.protocol import EngineBusy, EngineError
from chatui.words import words
from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine, wait_for
from tests.chatui.visit import IN_BROWSER, REPLY, begin, composed

pytestmark = IN_BROWSER


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("line"), base_model=str(tiny))
    with served(data) as made:
        yield made


class Crowded(ScriptedEngine):
    """An engine whose replies wait, and which cannot honour top_k."""

    def begin(self, *args, **kwargs):
        generation = super().begin(*args, **kwargs)
        generation.waiting, generation.unheeded = 3, ("top_k",)
        self.generation = generation
        return generation


@pytest.fixture
def engine(running: Running, monkeypatch: pytest.MonkeyPatch) -> Crowded:
    crowded = Crowded(["Here ", "it is."], gated=True)
    monkeypatch.setattr(running.app.replies, "engine", crowded)
    return crowded


def test_the_place_in_the_line_is_shown_while_it_moves(page, engine: Crowded) -> None:
    begin(page, "is anybody there")
    note = page.locator(f"{REPLY} .rp-note", has_text="number 3 in line")
    note.wait_for()
    engine.generation.waiting = 1
    page.locator(f"{REPLY} .rp-note", has_text="number 1 in line").wait_for()
    engine.generation.waiting = 0
    page.locator(f"{REPLY} .rp-note").wait_for(state="detached")
    wait_for(lambda: bool(engine.gates))
    engine.gates[-1].release(2)
    page.locator(f"{REPLY} .message", has_text="Here it is.").wait_for()
    page.locator(f"{REPLY} .rp-b[data-act=facts]").click()
    facts = page.locator(".rp-facts")
    facts.wait_for()
    assert "Not honoured" in facts.inner_text()
    assert words()["sampling_top_k"] in facts.inner_text()


def test_a_full_engine_gives_the_text_back_above_what_was_written_since(page, engine: Crowded, monkeypatch) -> None:
    written = threading.Event()

    def full(*_: object, **__: object) -> None:
        assert written.wait(15)
        raise EngineBusy("96 replies are being written or waiting already; try again in a moment.")

    monkeypatch.setattr(engine, "begin", full)
    for since, held in (("", "may I come in"), ("or not", "may I come in\nor not")):
        written.clear()
        begin(page, "may I come in")
        composed(page, "")
        page.fill("#rp-ask textarea", since)
        written.set()
        page.locator(".rp-tell", has_text="try again in a moment").click()
        composed(page, held)


def test_callers_are_told_their_place_too(running: Running, engine: Crowded) -> None:
    client = Client(running.url, verbose=False)
    conversation = client.predict(api_name="/new_conversation")["conversation_id"]
    job = client.submit(conversation, "hello", api_name="/send")
    places = []
    for part in job:
        places.append(part["waiting"])
        if part["status"] == "running" and part["waiting"]:
            engine.generation.waiting = 0
            engine.gates[-1].release(2)
    assert (places[0], places[-1]) == (3, 0)
    assert client.predict(part["message_id"], api_name="/facts")["unheeded"] == ["top_k"]


def test_health_is_a_token(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = httpx.get(f"{running.url}/health")
    assert (answer.status_code, set(answer.json())) == (200, {"seconds"})
    found = Client(running.url, verbose=False).predict(api_name="/health")
    assert found["seconds"] > 0
    assert found["versions"] == [0]


def test_health_without_a_token_is_503_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from chatui.health import middleware

    monkeypatch.setattr("chatui.health._GOOD_FOR_S", 3600.0)
    asked = []

    def check() -> float:
        asked.append(1)
        raise EngineError("No token came.")

    with TestClient(Starlette(middleware=middleware(check))) as client:
        answers = [client.get("/health") for _ in range(3)]
        assert [(a.status_code, a.json()) for a in answers] == [(503, {"error": "No token came."})] * 3
        assert client.get("/healthy").status_code == 404
    assert len(asked) == 1  # asked often, it costs no more
