"""The whole loop on the starter model: 24 made-up facts, corrected for two ways of asking, asked a third way.

The app runs all along; what it says comes over its API, as a browser would get it.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gradio_client import Client

from tests.facts import FACTS, Fact
from tests.processes import AppProcess, finetune

AT_LEAST = 14


def ask(client: Client, question: str) -> dict:
    conversation = client.predict(api_name="/new_conversation")["conversation_id"]
    return client.submit(conversation, question, api_name="/send").result()


def right(client: Client) -> list[Fact]:
    """Ask every fact the third way; return those that were known."""
    with ThreadPoolExecutor(4) as pool:
        replies = pool.map(lambda fact: ask(client, fact.asked[2])["text"], FACTS)
    return [fact for fact, text in zip(FACTS, replies, strict=True) if fact.key.lower() in text.lower()]


def correct_all(client: Client) -> None:
    def correct(pair: tuple[Fact, str]) -> None:
        """Stop the reply once its first words are wrong, as an impatient person would, and say what is right."""
        conversation = client.predict(api_name="/new_conversation")["conversation_id"]
        job = client.submit(conversation, pair[1], api_name="/send")
        if next(part for part in job if part["text"] or part["status"] != "running")["status"] == "running":
            client.predict(conversation, api_name="/stop")
        reply = job.result()
        client.predict(reply["message_id"], -1, ["wrong"], api_name="/rate")
        client.predict(reply["message_id"], pair[0].answer, api_name="/correct")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(correct, [(fact, question) for fact in FACTS for question in fact.asked[:2]]))


@pytest.mark.loop
@pytest.mark.timeout(900)
def test_what_was_corrected_is_known_after_a_retrain(tmp_path: Path) -> None:
    where = f"--data-dir={tmp_path / 'data'}"
    app = AppProcess(where, "--max-new-tokens=24")
    try:
        client = Client(app.url, verbose=False)
        known = right(client)
        correct_all(client)
        began = time.monotonic()
        run = finetune("retrain", where)
        took = time.monotonic() - began
        last = json.loads(run.stdout.splitlines()[-1])
        assert (run.returncode, last["verdict"]) == (0, "promoted"), run.stdout + run.stderr
        promoted = time.monotonic()
        while ask(client, "Hello.")["version"] != last["version"]:
            assert time.monotonic() - promoted < 10, "the running app did not serve the new version"
        learned = right(client)
    finally:
        app.stop()
    print(f"\npage after {app.answered_after_s:.0f} s; before: {len(known)} of 24 right; after: {len(learned)} of 24; ")
    print(f"retrain {took:.0f} s: {last['reason']}")
    assert known == []
    assert len(learned) >= AT_LEAST
