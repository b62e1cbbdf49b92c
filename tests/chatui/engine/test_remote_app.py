"""The app with its replies written by a server elsewhere, as `app.main` wires it, and the settings for that."""

import argparse
from collections.abc import Iterator

import pytest

import app as rapport
from chatui.engine.protocol import Sampling
from chatui.settings import ChatSettings
from chatui.views import Views
from feedback.errors import BadInput
from feedback.settings import DataSettings
from finetune.settings import ScheduleSettings, TrainSettings
from tests.chatui.scripted import wait_for
from tests.chatui.standin import StandIn, listening
from tests.processes import free_port


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with listening(StandIn()) as listens:
        yield listens


@pytest.fixture
def running(data: DataSettings, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[rapport.App]:
    """An app whose replies the stand-in writes; loading the model into this process would fail the test."""
    monkeypatch.setattr(rapport, "load_version", None)
    chat = ChatSettings.given(engine_url=stand_in.url + "/v1/", engine_versions_dir="/mnt/rapport/versions")
    made = rapport.build(data, chat, TrainSettings(), ScheduleSettings(retrain_every="off"))
    rapport.warm_up(made, data)
    wait_for(lambda: made.engine.state().phase == "ready")
    yield made
    made.close()


def add_version(app: rapport.App, number: int, kind: str) -> None:
    """Add a version and promote it."""
    (app.scheduler.data.versions_dir / f"{number:03}" / kind).mkdir(parents=True)
    run = app.store.open_run({})
    app.store.add_version(number, kind, f"versions/{number:03}", run, "promoted", "Better.", {})


def test_a_reply_is_the_servers_and_its_version_is_found_where_the_server_sees_it(running, stand_in) -> None:
    add_version(running, 1, "adapter")
    wait_for(lambda: running.engine.state().versions == (1,))
    assert stand_in.adapters == {"rapport-v1": "/mnt/rapport/versions/001/adapter"}
    conversation = running.store.new_conversation()
    live = running.replies.send(conversation, "hello")
    wait_for(lambda: not live.running)
    said = running.store.history(conversation)[-1]
    assert (said.content, said.version, said.status) == ("Hello you", 1, "complete")


def test_a_version_that_cannot_serve_leaves_what_served_with_a_notice(running) -> None:
    add_version(running, 1, "model")
    wait_for(lambda: running.watch.notice)
    assert running.watch.notice == ("Version 1 cannot serve: it is no PEFT adapter, and servers are given those only.")
    assert running.engine.state().versions == (0,)


def test_a_page_that_starts_with_a_server_down_replies_and_names_it(data: DataSettings, stand_in: StandIn) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    chat = ChatSettings.given(engine_url=f"{down},{stand_in.url}")
    made = rapport.build(data, chat, TrainSettings(), ScheduleSettings(retrain_every="off"))
    try:
        rapport.warm_up(made, data)
        wait_for(lambda: made.engine.state().phase == "ready")
        views = Views(made.store, made.replies, made.engine, made.watch, made.scheduler, made.temporary)
        assert f"No replies go to {down} until it has what serves now: " in views.pill()["notice"]
        assert list(made.engine.begin([("user", "hello")], Sampling()))[-1] == "Hello you"
    finally:
        made.close()


def test_a_reply_cut_short_by_the_server_keeps_its_text_and_shows_why(running, stand_in) -> None:
    stand_in.raw = b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'
    conversation = running.store.new_conversation()
    live = running.replies.send(conversation, "hello")
    wait_for(lambda: not live.running)
    said = running.store.history(conversation)[-1]
    assert (said.content, said.status) == ("Hel", "error")
    assert live.error == f"The connection to the server at {stand_in.url} broke."


def test_tokens_are_counted_with_the_base_models_tokenizer(running) -> None:
    assert running.engine.tokens_in("hello world") > 0


def test_servers_come_between_commas_and_each_once() -> None:
    given = ChatSettings.given(argparse.Namespace(engine_url="http://a:8000/v1, https://b/x/ ,http://a:8000"))
    assert given.engine_url == ["http://a:8000", "https://b/x"]
    assert ChatSettings.given().engine_url == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("gpu:8000", "give http:// or https:// addresses between commas"),
        ("ftp://gpu", "give http:// or https:// addresses between commas"),
        ("http://", "give http:// or https:// addresses between commas"),
        ("http://me:secret@gpu", "the key is read from RAPPORT_ENGINE_KEY"),
        ("http://gpu/v1?key=secret", "ends before any"),
        ("http://gpu:99999", "Port out of range"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence(url: str, reason: str) -> None:
    with pytest.raises(BadInput, match=f"--engine-url .*{reason}") as caught:
        ChatSettings.given(engine_url=url)
    assert "\n" not in str(caught.value)


def test_the_key_is_read_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_ENGINE_KEY", " sesame-7\n")
    parser = argparse.ArgumentParser()
    ChatSettings.add_to(parser)
    assert "--engine-key" not in parser.format_help()
    settings = ChatSettings.given()
    assert settings.engine_key == "sesame-7"
    assert "sesame" not in repr(settings)
    monkeypatch.setenv("RAPPORT_ENGINE_KEY", "two words")
    with pytest.raises(BadInput, match="RAPPORT_ENGINE_KEY cannot be used") as caught:
        _ = settings.engine_key
    assert "two words" not in str(caught.value)


def test_waits_are_seconds_or_for_ever() -> None:
    patience = ChatSettings.given(engine_connect_timeout="30s", engine_token_timeout="off").patience
    assert (patience.connect_s, patience.token_s) == (30, float("inf"))
