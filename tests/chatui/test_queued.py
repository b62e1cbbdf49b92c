"""How often Gradio's queue looks for work beside an engine that needs the cores."""

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest

from chatui.page import queued


def test_an_idle_queue_looks_a_hundred_times_a_second_not_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    with gr.Blocks() as page:
        gr.api(lambda: "", api_name="nothing")
    queue = queued(page)._queue
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        queue.stopped = len(asked) == 3

    # The queue's own alone: a server of another test may be ending still.
    monkeypatch.setattr("gradio.queueing.asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    queue.stopped = False
    asyncio.run(queue.start_processing())
    assert asked == [0.01] * 3


def test_events_do_not_wait_for_each_other() -> None:
    with gr.Blocks() as page:
        gr.api(lambda: "", api_name="nothing")
    assert queued(page)._queue.default_concurrency_limit is None
