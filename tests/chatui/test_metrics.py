"""`/metrics`: that its text is Prometheus', that figures move with what happens, and that no text is told."""

import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from gradio_client import Client
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from chatui.engine.protocol import EngineBusy, Sampling
from chatui.meter import Meter
from chatui.metrics import watch
from chatui.replies import Replies
from chatui.temporary import TemporaryChats
from feedback import tally
from feedback.records import Opening
from feedback.schema import Run, now
from feedback.settings import DataSettings
from feedback.store import Store
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine, wait_for

Figures = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("metrics"), base_model=str(tiny))
    with served(data) as made:
        yield made


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every scrape count anew."""
    monkeypatch.setattr("chatui.metrics._GOOD_FOR_S", -1.0)
    monkeypatch.setattr(tally, "_LARGE_FOR_S", -1.0)


def read(text: str) -> Figures:
    """Map (name, label values...) to the value of every sample."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def scraped(url: str) -> Figures:
    answer = httpx.get(f"{url}/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=")
    return read(answer.text)


def test_figures_move_when_a_reply_is_written_and_a_thumb_is_given(running: Running) -> None:
    client, store = Client(running.url, verbose=False), running.app.store
    before = scraped(running.url)
    conversation = client.predict(api_name="/new_conversation")["conversation_id"]
    reply = client.submit(conversation, "a secret word", api_name="/send").result()["message_id"]
    wait_for(lambda: store.message(reply).status != "running")
    client.predict(reply, 1, ["clear"], api_name="/rate")
    client.predict(reply, "Another secret.", api_name="/correct")
    after = scraped(running.url)
    moved = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
    facts, finish = store.reply_facts(reply), str(store.message(reply).finish)
    assert moved["rapport_replies_begun_total",] == moved["rapport_replies_ended_total", finish] == 1
    assert moved["rapport_tokens_total", "prompt"] == facts["prompt_tokens"]
    assert moved["rapport_tokens_total", "completion"] == facts["completion_tokens"]
    assert moved["rapport_first_token_seconds_count",] == moved["rapport_reply_duration_seconds_count",] == 1
    assert moved["rapport_ratings", "up"] == moved["rapport_rating_changes_total",] == 1
    assert moved["rapport_corrections_total",] == 1
    assert (moved["rapport_conversations",], moved["rapport_messages",]) == (1, 2)
    assert ("rapport_replies_ended_total", "error") not in moved
    assert (after["rapport_engine_ready",], after["rapport_record_up",], after["rapport_newest_version",]) == (1, 1, 0)
    assert after["rapport_version_share", "0"] == 1
    assert after["rapport_record_bytes",] > 10_000 and after["rapport_disk_free_bytes",] > 0
    assert "secret" not in httpx.get(f"{running.url}/metrics").text


def test_names_and_units_are_as_prometheus_wants_them(running: Running) -> None:
    text = httpx.get(f"{running.url}/metrics/").text
    families = list(text_string_to_metric_families(text))
    assert len(families) >= 20
    for family in families:
        assert re.fullmatch(r"rapport_[a-z_]+", family.name) and family.documentation.endswith("."), family.name
        assert not re.search(r"_(milliseconds|ms|minutes|kb|mb|percent|total|count)$", family.name), family.name
        assert {sample.name for sample in family.samples if family.type == "counter"} <= {f"{family.name}_total"}
    assert not any(name[0].endswith("_created") for name in read(text))
    assert {family.name for family in families if family.type == "histogram"} == {
        "rapport_first_token_seconds",
        "rapport_reply_duration_seconds",
    }


def test_what_is_not_its_path_goes_to_the_page(running: Running) -> None:
    assert httpx.get(f"{running.url}/metricsx").status_code == 404
    assert "rapport_" not in httpx.get(running.url).text.split("</head>")[0]


def test_the_queue_errors_refusals_and_temporary_chats_are_counted(store: Store, data: DataSettings) -> None:
    store.add_base("tiny")
    engine, meter = ScriptedEngine(["a", "b"], gated=True), Meter()
    registry = watch(store, engine, meter, data.data_dir)
    figures = lambda: read(generate_latest(registry).decode())  # noqa: E731
    replies, chats = Replies(store, engine, Sampling(), meter=meter), TemporaryChats(engine, Sampling(), 60.0, meter)
    live = replies.send(store.new_conversation(), "hi")
    live.generation.waiting = 2
    wait_for(lambda: figures()["rapport_replies_waiting",] == 1)
    live.generation.waiting = 0
    assert (figures()["rapport_replies_waiting",], figures()["rapport_replies_running",]) == (0, 1)
    engine.gates[0].release(2)
    wait_for(lambda: figures()["rapport_tokens_total", "completion"] == 2)  # counted last of all
    assert (figures()["rapport_replies_running",], figures()["rapport_replies_ended_total", "end"]) == (0, 1)

    engine.gated, engine.pieces = False, ["a", "!"]
    chats.send(chats.open(Opening()), "hi")
    wait_for(lambda: figures()["rapport_tokens_total", "completion"] == 3)
    assert figures()["rapport_replies_ended_total", "error"] == 1

    def busy(*_: object, **__: object) -> None:
        raise EngineBusy("Too many wait.")

    engine.begin = busy
    with pytest.raises(EngineBusy):
        replies.send(store.new_conversation(), "hi")
    assert figures()["rapport_replies_refused_total",] == 1
    replies.close()


def test_runs_are_told_by_status_and_the_one_that_goes_on_with_its_heartbeat(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = watch(store, ScriptedEngine([]), Meter(), data.data_dir)
    figures = lambda: read(generate_latest(registry).decode())  # noqa: E731
    assert ("rapport_run_step",) not in figures() and figures()["rapport_runs", "failed"] == 0
    store.update_run(store.open_run({}), status="failed")
    run = store.open_run({})
    store.update_run(run, status="training", step=7, total=40)
    with store.writing() as session:
        session.get_one(Run, run).heartbeat_at = now() - timedelta(seconds=90)
    told = figures()
    assert (told["rapport_run_step",], told["rapport_run_steps",]) == (7, 40)
    assert 90 <= told["rapport_run_heartbeat_age_seconds",] < 120
    assert (told["rapport_runs", "failed"], told["rapport_runs", "training"], told["rapport_runs", "queued"]) == (
        1,
        1,
        0,
    )


def test_a_record_that_cannot_be_read_is_told_and_the_rest_too(store: Store, data: DataSettings, monkeypatch) -> None:
    registry = watch(store, ScriptedEngine([]), Meter(), data.data_dir)
    monkeypatch.setattr(store, "tally", lambda: 1 / 0)
    told = read(generate_latest(registry).decode())
    assert told["rapport_record_up",] == 0 and ("rapport_messages",) not in told
    assert told["rapport_replies_begun_total",] == 0
