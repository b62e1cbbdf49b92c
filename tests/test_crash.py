"""SIGKILL in the middle of a reply: what was acknowledged is there afterwards, and nothing else changed."""

from pathlib import Path

from gradio_client import Client

from feedback.settings import DataSettings
from feedback.store import Store
from tests.chatui.scripted import wait_for
from tests.processes import AppProcess
from tests.tiny import make_tiny


def test_a_killed_app_leaves_the_message_and_an_interrupted_reply(tmp_path: Path) -> None:
    slow = make_tiny(tmp_path / "slow", context=32768)
    data = DataSettings(data_dir=tmp_path / "data")
    where = (f"--data-dir={data.data_dir}", f"--base-model={slow}", "--max-new-tokens=16000", "--temperature=2")
    app = AppProcess(*where)
    client = Client(app.url, verbose=False)
    first = client.predict(api_name="/new_conversation")["conversation_id"]
    # The template has no end-of-turn to speak of in random weights, so a reply goes on until it is stopped.
    client.submit(first, "the one that ends", api_name="/send")
    store = Store.open(data.database)
    wait_for(lambda: len(store.history(first)) == 2 and store.history(first)[1].content != "")
    client.predict(first, api_name="/stop")
    wait_for(lambda: store.history(first)[1].status == "stopped")
    reply = store.history(first)[1].id
    client.predict(reply, 1, ["clear"], "kept", api_name="/rate")
    before = (store.history(first), store.stats())

    second = client.predict(api_name="/new_conversation")["conversation_id"]
    client.submit(second, "the one that is cut off", api_name="/send")
    wait_for(lambda: len(store.history(second)) == 2 and store.history(second)[1].content != "")
    app.kill()

    assert store.history(second)[1].status == "running"
    again = AppProcess(f"--data-dir={data.data_dir}")
    try:
        user, cut = store.history(second)
        assert (user.content, user.status) == ("the one that is cut off", "complete")
        assert cut.status == "interrupted"
        assert cut.content != ""
        assert store.history(first) == before[0]
        assert store.stats() == {**before[1], "conversations": 2, "messages": 4, "replies": 2}
    finally:
        again.stop()


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path, capsys) -> None:
    import socket

    import app

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert app.main([f"--port={port}", f"--data-dir={tmp_path / 'data'}"]) == 2
    error = capsys.readouterr().err.strip()
    assert error == f"The page cannot listen on 127.0.0.1:{port}: Address already in use; give another --port."
    assert not (tmp_path / "data").exists()


def test_what_cannot_be_used_is_one_sentence_and_exit_two(tmp_path: Path, capsys) -> None:
    import app

    for arguments, said in (
        (["--base-model=/nowhere"], "--base-model '/nowhere' is neither a folder nor"),
        (["--retrain-every=soon"], "--retrain-every 'soon' cannot be used"),
        (["--port=99999999"], "--port '99999999' cannot be used"),
        (["--database-url=nonsense"], "nonsense"),
    ):
        assert app.main(["--port=0", *arguments, f"--data-dir={tmp_path}"]) == 2  # 7860 may be taken
        error = capsys.readouterr().err.strip()
        assert said in error
        assert "\n" not in error
