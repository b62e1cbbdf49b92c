"""A whole app in this process, served on a free port of 127.0.0.1, as `app.main` wires it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import app as rapport
from chatui.page import launch_options, queued
from chatui.settings import ChatSettings
from feedback.settings import DataSettings
from finetune.settings import ScheduleSettings, TrainSettings
from tests.chatui.scripted import wait_for


@dataclass
class Running:
    """An app and where it listens."""

    app: rapport.App
    url: str


@contextmanager
def served(data: DataSettings, chat: ChatSettings | None = None) -> Iterator[Running]:
    """Serve an app on this data dir until the block ends."""
    chat = chat or ChatSettings(port=0, max_new_tokens=24)
    made = rapport.build(data, chat, TrainSettings(epochs=1), ScheduleSettings(retrain_every="off"))
    rapport.warm_up(made, data)
    wait_for(lambda: made.engine.state().phase == "ready")
    try:
        options = launch_options(chat, made.engine.check, made.figures)
        queued(made.page).launch(**options, prevent_thread_lock=True)
        yield Running(made, f"http://127.0.0.1:{made.page.server_port}")
    finally:
        made.page.close(verbose=False)
        made.close()
