"""Rapport's engine alone, and the whole app with its page."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import app as rapport
from bench.engines import Write
from bench.streams import Failed, Stream, together
from bench.subject import ROOT, Subject
from chatui.engine.local import LocalEngine
from chatui.engine.protocol import Sampling
from chatui.settings import ChatSettings
from feedback.settings import DataSettings
from tests.chatui.running import Running, served


@contextmanager
def engine(subject: Subject, streams: int) -> Iterator[Write]:
    """Rapport's engine alone, a thread per stream."""
    made = LocalEngine(lambda _: subject.endless(), max_streams=streams)
    try:
        made.serve({0: 1.0})
        yield lambda prompts, new_tokens: together([partial(_one, made, prompt, new_tokens) for prompt in prompts])
    finally:
        made.close()


def _one(made: Any, prompt: str, new_tokens: int) -> Stream:
    stream = Stream(time.monotonic())
    generation = made.begin([("user", prompt)], Sampling(0.0, 1.0, 0, max_new_tokens=new_tokens))
    stream.at = [time.monotonic() for _ in generation]
    stream.tokens = generation.completion_tokens
    return stream


@contextmanager
def page(subject: Subject, streams: int) -> Iterator[Write]:
    """The whole app on a free port, its streams followed by a `gradio_client` each, all in a process of their own.

    What the page says in a conversation is asked for, written, kept in the record and sent, as for a person.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(rapport, "load_version", lambda *_, **__: subject.endless()),
    ):
        data = DataSettings.given(data_dir=Path(folder), base_model=str(subject.folder))
        chat = ChatSettings.given(port=0, temperature=0, top_p=1, top_k=0, max_streams=streams)
        with served(data, chat) as running:
            yield partial(_over_the_page, running)


def _over_the_page(running: Running, prompts: Sequence[str], new_tokens: int) -> list[Stream]:
    asked = json.dumps({"url": running.url, "prompts": prompts, "new_tokens": new_tokens})
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("clients.py"))],
        input=asked,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=3600,
    )
    if done.returncode:
        raise Failed(f"the clients failed: {done.stderr.strip().splitlines()[-1:]}")
    streams = []
    for reply in json.loads(done.stdout.splitlines()[-1]):
        # A reply that was cut by its length has all its tokens, and no other has.
        kept = running.app.store.message(reply["message_id"])
        streams.append(Stream(reply["began"], reply["at"], new_tokens if kept.finish == "length" else 0))
    return streams
