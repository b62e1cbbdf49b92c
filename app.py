"""Rapport: the one place that knows every part. Settings, store, engine, page, launch."""

import argparse
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

# Before Gradio is imported: no look-ups at start, nothing reported anywhere.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gradio as gr
from prometheus_client import CollectorRegistry

from chatui.api import Api
from chatui.engine.local import LocalEngine
from chatui.engine.remote import RemoteEngine
from chatui.handlers import Handlers
from chatui.meter import Meter
from chatui.metrics import watch as watch_figures
from chatui.page import build_page, launch_options, queued
from chatui.replies import Replies
from chatui.serving import ServingWatch
from chatui.settings import ChatSettings
from chatui.temporary import TemporaryChats
from chatui.views import Views
from feedback.errors import BadInput, RapportError
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.base import check_base, check_record, ensure_base
from finetune.lock import dead_run
from finetune.model import Loaded, LoadError, attach_version, load_template, load_version
from finetune.scheduler import Scheduler
from finetune.settings import ScheduleSettings, TrainSettings
from finetune.tracking import check_trackers


@dataclass
class App:
    """The parts of one running app, wired."""

    store: Store
    engine: LocalEngine | RemoteEngine
    replies: Replies
    temporary: TemporaryChats
    watch: ServingWatch
    scheduler: Scheduler
    page: gr.Blocks
    figures: CollectorRegistry

    def close(self) -> None:
        """End replies and threads; a run under way goes on by itself."""
        self.scheduler.close()
        self.watch.close()
        self.temporary.close()
        self.replies.close()
        self.engine.close()
        self.store.close()


def build(data: DataSettings, chat: ChatSettings, train: TrainSettings, schedule: ScheduleSettings) -> App:
    """Wire the parts together; nothing is loaded or launched yet. Raises RapportError."""
    check_trackers(train.report_to)
    check_base(data)
    store = Store.open(data.database)
    check_record(data, store)
    store.interrupt_dead_replies()
    dead_run(store, data)

    engine = remote_engine(store, data, chat) if chat.engine_url else local_engine(store, data, chat)
    meter = Meter()
    replies = Replies(store, engine, chat.sampling, chat.unfollowed_s, meter)
    share = [engine.share_cores] if isinstance(engine, LocalEngine) else []
    watch = ServingWatch(store, engine, *share)
    scheduler = Scheduler(store, data, train, schedule)
    temporary = TemporaryChats(engine, chat.sampling, chat.unfollowed_s, meter, replies.pause)
    views = Views(store, replies, engine, watch, scheduler, temporary)
    page = build_page(Handlers(store, replies, views, temporary), Api(store, replies, temporary, views))
    figures = watch_figures(store, engine, meter, data.data_dir)
    return App(store, engine, replies, temporary, watch, scheduler, page, figures)


def local_engine(store: Store, data: DataSettings, chat: ChatSettings) -> LocalEngine:
    """Write replies in this process."""

    def load(number: int, onto: Any = None) -> Loaded:
        folder = data.data_dir / store.version(number).path if number else None
        return attach_version(onto, folder) if onto and folder else load_version(data.base_dir, folder, today=True)

    return LocalEngine(load, chat.max_streams, chat.max_waiting, chat.engine_memory, chat.weights)


def remote_engine(store: Store, data: DataSettings, chat: ChatSettings) -> RemoteEngine:
    """Have replies written by servers; of the base model only the tokenizer is loaded here."""
    seen_as = PurePosixPath(chat.engine_versions_dir or data.versions_dir.resolve())

    def adapter_path(number: int) -> str:
        folder = data.data_dir / store.version(number).path
        if not (folder / "adapter").is_dir():
            raise LoadError("it is no PEFT adapter, and servers are given those only.")
        return str(seen_as / folder.name / "adapter")

    return RemoteEngine(
        chat.engine_url,
        adapter_path,
        key=chat.engine_key,
        model=chat.engine_model,
        read_template=lambda: load_template(data.base_dir, today=True),
        patience=chat.patience,
    )


def warm_up(app: App, data: DataSettings) -> None:
    """Make the base model ready, then serve what the record says; what goes wrong is shown on the page."""
    try:
        app.store.add_base(ensure_base(data))
    # Whatever it is, the page must say it: nobody looks at the terminal.
    except Exception as error:  # noqa: BLE001
        app.engine.announce("failed", str(error))
        print(error, file=sys.stderr, flush=True)
        return
    app.watch.start()
    app.scheduler.start()


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; return 2 with one sentence for what cannot be used."""
    try:
        data, chat, train, schedule = _settings(arguments)
        _require_port(chat)
        app = build(data, chat, train, schedule)
    except RapportError as error:
        print(error, file=sys.stderr)
        return 2
    threading.Thread(target=warm_up, args=(app, data), name="warm-up", daemon=True).start()
    try:
        _launch(app, chat)
        print(f"Rapport is at http://{chat.host}:{app.page.server_port} (Ctrl-C ends it).", flush=True)
        _until_asked_to_end()
        app.page.close(verbose=False)
    finally:
        app.close()
    return 0


def _launch(app: App, chat: ChatSettings) -> None:
    options = launch_options(chat, app.engine.check, app.figures)
    queued(app.page).launch(**options, prevent_thread_lock=True)


def _require_port(chat: ChatSettings) -> None:
    """Raise BadInput if the page cannot listen where it should, before anything else is begun."""
    try:
        with socket.create_server((chat.host, chat.port)):
            pass
    except OSError as error:
        where = f"{chat.host}:{chat.port}"
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise BadInput(f"The page cannot listen on {where}: {reason}; give another --port.") from error


def _until_asked_to_end() -> None:
    """Wait for Ctrl-C, or for the SIGTERM by which a service is stopped."""
    asked = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: asked.set())
    asked.wait()


def _settings(arguments: list[str] | None) -> tuple[DataSettings, ChatSettings, TrainSettings, ScheduleSettings]:
    groups: tuple[Any, ...] = (DataSettings, ChatSettings, TrainSettings, ScheduleSettings)
    parser = argparse.ArgumentParser(
        prog=Path(sys.argv[0]).name, description="A chat app that learns from its ratings."
    )
    for group in groups:
        group.add_to(parser)
    args = parser.parse_args(arguments)
    data, chat, train, schedule = (group.given(args) for group in groups)
    return data, chat, train, schedule


if __name__ == "__main__":
    sys.exit(main())
