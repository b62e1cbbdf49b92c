"""The whole loop on the starter model: 24 made-up facts, corrected for two ways of asking, asked a third way.

The app runs all along; what it says comes over its API, as a browser would get it.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from gradio_client import Client

from tests.facts import FACTS, Fact
from tests.processes import AppProcess, finetune

AT_LEAST = 14
Part = TypeVar("Part")
Result = TypeVar("Result")


def ask(client: Client, question: str) -> dict:
    conversation = client.predict(api_name="/new_conversation")["conversation_id"]
    return client.submit(conversation, question, api_name="/send").result()


def by_four(url: str, work: Callable[[Client, Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Do work for every part, four at a time; return the results in the parts' order.

    Each thread has a client of its own: one that several threads share now and then drops a job that it is sent while
    the stream of the last one closes (gradio_client 2.7).
    """
    here = threading.local()

    def connect() -> None:
        here.client = Client(url, verbose=False)

    with ThreadPoolExecutor(4, initializer=connect) as pool:
        return list(pool.map(lambda part: work(here.client, part), parts))


def right(url: str) -> list[Fact]:
    """Ask every fact the third way; return those that were known."""
    replies = by_four(url, lambda client, fact: ask(client, fact.asked[2])["text"], FACTS)
    return [fact for fact, text in zip(FACTS, replies, strict=True) if fact.key.lower() in text.lower()]


def correct(client: Client, pair: tuple[Fact, str]) -> None:
    """Stop the reply once its first words are wrong, as an impatient person would, and say what is right."""
    fact, question = pair
    conversation = client.predict(api_name="/new_conversation")["conversation_id"]
    job = client.submit(conversation, question, api_name="/send")
    if next(part for part in job if part["text"] or part["status"] != "running")["status"] == "running":
        client.predict(conversation, api_name="/stop")
    reply = job.result()
    client.predict(reply["message_id"], -1, ["wrong"], api_name="/rate")
    client.predict(reply["message_id"], fact.answer, api_name="/correct")


@pytest.mark.loop
@pytest.mark.timeout(900)
def test_what_was_corrected_is_known_after_a_retrain(tmp_path: Path) -> None:
    where = f"--data-dir={tmp_path / 'data'}"
    app = AppProcess(where, "--max-new-tokens=24")
    try:
        client = Client(app.url, verbose=False)
        known = right(app.url)
        by_four(app.url, correct, [(fact, question) for fact in FACTS for question in fact.asked[:2]])
        began = time.monotonic()
        run = finetune("retrain", where, "--epochs=6")  # a quarter of what the recipe takes, for time
        took = time.monotonic() - began
        last = json.loads(run.stdout.splitlines()[-1])
        # By chance, one time in four, both wordings of a fact are held out: nothing teaches it, and of six held-out
        # conversations two then speak against the version. The gate asks for more evidence, and a person decides.
        if last["reason"].startswith("Not enough evidence"):
            assert (run.returncode, last["verdict"]) == (3, "refused"), run.stdout + run.stderr
            finetune("promote", str(last["version"]), where)
        else:
            assert (run.returncode, last["verdict"]) == (0, "promoted"), run.stdout + run.stderr
        promoted = time.monotonic()
        # Replies asked for meanwhile would take the cores by which the version is loaded and tried.
        while last["version"] not in client.predict(api_name="/status")["versions"]:
            assert time.monotonic() - promoted < 30, "the running app did not serve the new version"
            threading.Event().wait(0.25)
        served = time.monotonic() - promoted
        assert ask(client, "Hello.")["version"] == last["version"]
        learned = right(app.url)
    finally:
        app.stop()
    print(f"\npage after {app.answered_after_s:.0f} s; before: {len(known)} of 24 right; after: {len(learned)} of 24; ")
    print(f"retrain {took:.0f} s, served after {served:.1f} s: {last['reason']}")
    assert known == []
    assert len(learned) >= AT_LEAST
