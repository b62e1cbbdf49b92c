"""The named endpoints, called over HTTP as somebody else's program would."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from gradio_client import Client

from chatui.api import NAMES
from chatui.settings import ChatSettings
from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine, wait_for

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("api"), base_model=str(tiny))
    with served(data, ChatSettings(port=0, max_new_tokens=60, temperature=1.0)) as made:
        yield made


@pytest.fixture(scope="module")
def client(running: Running) -> Client:
    return Client(running.url, verbose=False)


def open_one(client: Client) -> str:
    return client.predict(api_name="/new_conversation")["conversation_id"]


def send(client: Client, conversation: str, text: str = "hello world") -> list[dict]:
    return list(client.submit(conversation, text, api_name="/send"))


def test_only_the_promised_endpoints_are_named(client: Client) -> None:
    named = set(client.view_api(return_format="dict", print_info=False)["named_endpoints"])
    assert named == {"/" + name for name in NAMES}


def test_a_reply_streams_and_is_in_the_history(client: Client) -> None:
    conversation = open_one(client)
    parts = send(client, conversation)
    assert set(parts[-1]) == {"user_message_id", "message_id", "text", "status", "waiting", "version"}
    assert all(b["text"].startswith(a["text"]) for a, b in pairwise(parts))
    assert (parts[-1]["status"], parts[-1]["version"]) == ("complete", 0)
    messages = client.predict(conversation, api_name="/history")["messages"]
    assert [(m["id"], m["role"]) for m in messages] == [
        (parts[-1]["user_message_id"], "user"),
        (parts[-1]["message_id"], "assistant"),
    ]
    assert messages[1]["content"] == parts[-1]["text"]
    assert set(messages[0]) == {"id", "parent_id", "role", "content", "status", "version", "rating", "correction"}


def test_rating_and_correcting_answer_with_what_is_stored(client: Client) -> None:
    reply = send(client, open_one(client))[-1]["message_id"]
    assert client.predict(reply, -1, ["wrong"], "no", api_name="/rate") == {
        "message_id": reply,
        "rating": -1,
        "reasons": ["wrong"],
        "comment": "no",
        "correction": None,
    }
    assert client.predict(reply, "Better.", api_name="/correct")["correction"] == "Better."
    assert client.predict(reply, 1, api_name="/rate")["rating"] == 1
    assert client.predict(reply, 0, api_name="/rate")["rating"] == 0


def test_stop_ends_one_reply(client: Client, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(["Once upon ", "a time"], gated=True)
    monkeypatch.setattr(running.app.replies, "engine", engine)
    conversation = open_one(client)
    assert client.predict(conversation, api_name="/stop")["stopped"] is False
    job = client.submit(conversation, "hello", api_name="/send")
    wait_for(lambda: bool(engine.gates))
    engine.gates[0].release()
    live = running.app.replies.live
    wait_for(lambda: any(reply.text for reply in live(conversation)))
    assert client.predict(conversation, api_name="/stop")["stopped"] is True
    assert (job.result()["status"], job.result()["text"]) == ("stopped", "Once upon ")


def test_a_whole_visit(client: Client) -> None:
    conversation = open_one(client)
    first = send(client, conversation, "tell me about zebras")[-1]
    second = list(client.submit(first["message_id"], api_name="/regenerate"))[-1]
    assert second["user_message_id"] == first["user_message_id"]
    assert (
        client.predict(second["message_id"], first["message_id"], api_name="/prefer")["chosen_id"]
        == second["message_id"]
    )
    edited = list(client.submit(first["user_message_id"], "tell me about lions", api_name="/edit"))[-1]
    shown = client.predict(conversation, api_name="/history")["messages"]
    assert [m["id"] for m in shown] == [edited["user_message_id"], edited["message_id"]]
    back = client.predict(first["message_id"], api_name="/show")["messages"]
    assert [m["id"] for m in back] == [first["user_message_id"], first["message_id"]]
    assert client.predict(first["message_id"], -1, ["wrong"], api_name="/rate")["rating"] == -1
    assert client.predict(first["message_id"], 0, api_name="/rate")["rating"] == 0
    assert client.predict(first["message_id"], "Stripes.", api_name="/correct")["correction"] == "Stripes."
    found = client.predict("about ZEBRAS", api_name="/search")["conversations"]
    assert [c["conversation_id"] for c in found] == [conversation]
    assert "zebras" in found[0]["snippet"]
    assert client.predict(conversation, "Animals", api_name="/rename")["title"] == "Animals"
    assert client.predict("animals", api_name="/conversations")["conversations"][0]["conversation_id"] == conversation
    assert client.predict(first["message_id"], api_name="/copied")["signal"] == "copied"
    assert client.predict(first["message_id"], api_name="/facts")["version"] == 0
    for kind, ending, held in (("md", ".md", "> Stripes."), ("json", ".jsonl", '"correction": "Stripes."')):
        file = client.predict(conversation, kind, api_name="/export")
        assert (file["name"], held in file["text"]) == ("Animals" + ending, True)
    client.predict(conversation, api_name="/delete")
    assert client.predict("zebras", api_name="/search")["conversations"] == []
    with pytest.raises(Exception, match="no conversation"):
        client.predict(conversation, api_name="/history")
    client.predict(conversation, api_name="/undelete")
    assert len(client.predict(conversation, api_name="/history")["messages"]) == 2


def test_the_worked_example_of_the_docs_runs(
    running: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for writer in (running.app.replies, running.app.temporary):  # the tiny model's context holds no tutor
        monkeypatch.setattr(writer, "engine", ScriptedEngine(["Well, ", "now."]))
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    exec(example.replace("http://127.0.0.1:7860", running.url), {})
    said = capsys.readouterr().out
    assert "The founder of Quillworth is Maren Oduya." in said
    assert "Well, now." in said


def test_every_endpoint_stands_in_the_docs() -> None:
    rows = re.findall(r"^\| (`/.*?) \|", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`/(\w+)`", row)) == sorted(NAMES)


def test_what_cannot_be_exported_is_named(client: Client) -> None:
    conversation = open_one(client)
    with pytest.raises(Exception, match="nothing in this conversation to export"):
        client.predict(conversation, "md", api_name="/export")
    with pytest.raises(Exception, match="kind 'pdf' is not known"):
        client.predict(conversation, "pdf", api_name="/export")


def test_many_conversations_at_once_do_not_mix(client: Client) -> None:
    conversations = [open_one(client) for _ in range(6)]
    jobs = [client.submit(c, f"hello number {n}", api_name="/send") for n, c in enumerate(conversations)]
    finals = [job.result() for job in jobs]
    for n, (conversation, final) in enumerate(zip(conversations, finals, strict=True)):
        messages = client.predict(conversation, api_name="/history")["messages"]
        assert [m["content"] for m in messages] == [f"hello number {n}", final["text"]]


@pytest.mark.parametrize(
    ("arguments", "name", "said"),
    [
        (("nowhere", "hi"), "/send", "no conversation 'nowhere'"),
        (("nowhere",), "/history", "no conversation 'nowhere'"),
        (("nowhere",), "/stop", "no conversation 'nowhere'"),
        (("nothing", 1), "/rate", "no message 'nothing'"),
        (("nothing", "better"), "/correct", "no message 'nothing'"),
    ],
)
def test_an_error_is_one_sentence(client: Client, arguments: tuple, name: str, said: str) -> None:
    with pytest.raises(Exception, match=said) as caught:
        client.predict(*arguments, api_name=name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [2, -7])
def test_a_rating_that_is_none_is_named(client: Client, value: int) -> None:
    reply = send(client, open_one(client))[-1]["message_id"]
    with pytest.raises(Exception, match=f"rating {value} is not known"):
        client.predict(reply, value, api_name="/rate")


def test_an_empty_message_stores_nothing(client: Client) -> None:
    conversation = open_one(client)
    with pytest.raises(Exception, match="message is empty"):
        client.predict(conversation, "  ", api_name="/send")
    assert client.predict(conversation, api_name="/history")["messages"] == []


def test_a_promotion_reaches_the_next_reply_without_a_restart(client: Client, running: Running, tiny) -> None:
    """Version 1 is the base again, as a whole model: what counts is that it is routed to."""
    import shutil

    data_dir = running.app.scheduler.data.data_dir
    shutil.copytree(tiny, data_dir / "versions" / "001" / "model")
    run = running.app.store.open_run({})
    running.app.store.add_version(1, "model", "versions/001", run, "promoted", "Better.", {})
    wait_for(lambda: running.app.engine.state().versions == (1,))
    conversation = open_one(client)
    assert send(client, conversation)[-1]["version"] == 1
    assert client.predict(api_name="/status")["versions"] == [1]
    assert client.predict(api_name="/rollback")["serving"] == [{"version": 0, "share": 1.0}]
    wait_for(lambda: running.app.engine.state().versions == (0,))
    assert send(client, conversation)[-1]["version"] == 0
    assert client.predict(1, api_name="/promote")["serving"] == [{"version": 1, "share": 1.0}]
    learned = client.predict(api_name="/learning")
    assert [(v["number"], v["share"]) for v in learned["versions"]] == [(1, 1.0), (0, 0.0)]
    with pytest.raises(Exception, match="no version 9"):
        client.predict(9, api_name="/promote")


def test_a_run_is_asked_for(client: Client, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def retrain() -> str:  # the real one starts a process of its own
        return "A run has started."

    monkeypatch.setattr(running.app.scheduler, "retrain", retrain)
    assert client.predict(api_name="/retrain") == {"said": "A run has started."}
