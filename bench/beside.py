"""Chat and a run on one machine: how much each keeps of its speed.

`make proof-beside`, or `bench/beside.py [--streams 4] [--new-tokens 64] [--json FILE]`; `--tiny` takes the tiny model
of the tests instead of the starter. A run alone; then the app's streams alone; then both, the run as the app starts it.
Exits 1 if a target is missed.
"""

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from gradio_client import Client

from bench.machine import facts
from bench.targets import Figure, report
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.base import ensure_base
from finetune.process import start_retrain
from finetune.settings import DiskSettings, TrainSettings
from tests.facts import FACTS
from tests.processes import AppProcess
from tests.tiny import LOOSE, make_tiny

_KEPT, _SLOWER = 0.5, 3.0  # of the streams' tokens a second at least; of the run's time alone at most
_ALONE_S = 60.0


@dataclass
class Streams:
    """People who ask on and on over the API of a running app, until they are sent home."""

    url: str
    streams: int
    ended: list[tuple[float, str]] = field(default_factory=list)  # when, and the reply's id

    def __post_init__(self) -> None:
        """Let them begin."""
        self._home = threading.Event()
        self._threads = [threading.Thread(target=self._chat, args=(n,), daemon=True) for n in range(self.streams)]
        for thread in self._threads:
            thread.start()

    def _chat(self, place: int) -> None:
        client = Client(self.url, verbose=False)
        while not self._home.is_set():
            conversation = client.predict(api_name="/new_conversation")["conversation_id"]
            *_, told = client.submit(conversation, f"Tell me story number {place}.", api_name="/send")
            self.ended.append((time.monotonic(), told["message_id"]))
            place += self.streams

    def go_home(self) -> None:
        """Let everybody wait for the reply being written, and leave."""
        self._home.set()
        for thread in self._threads:
            thread.join()

    def tokens_per_s(self, store: Store, began: float, until: float) -> float:
        """Return the tokens a second of the replies that ended in a stretch of time, all streams together."""
        ids = [reply for at, reply in self.ended if began <= at <= until]
        return sum(store.reply_facts(reply)["completion_tokens"] for reply in ids) / (until - began)


def prepare(data: DataSettings) -> None:
    """Make a record with something to learn."""
    ensure_base(data)
    store = Store.open(data.database)
    store.take_in(
        [
            Incoming(
                f"{n}-{way}",
                (
                    IncomingMessage("user", asked),
                    IncomingMessage("assistant", "I do not know.", rating=-1, correction=fact.answer),
                ),
            )
            for n, fact in enumerate(FACTS)
            for way, asked in enumerate(fact.asked[:2])
        ]
    )
    store.close()


def run_once(data: DataSettings, settings: TrainSettings) -> float:
    """Make a run as the app does; return the seconds it took."""
    began = time.monotonic()
    code = start_retrain(data, settings, DiskSettings()).wait()
    if code not in (0, 3):
        raise RuntimeError(f"the run ended with {code}; see {data.data_dir / 'retrain.log'}")
    return time.monotonic() - began


def measured(base: Path | None, scratch: Path, streams: int, new_tokens: int, alone_s: float) -> list[Figure]:
    """Measure the run alone, the streams alone, and both."""
    settings = TrainSettings(**({"epochs": 2, **LOOSE} if base else {}))
    data = DataSettings(data_dir=scratch / "alone", base_model=str(base or ""))
    prepare(data)
    both = data.model_copy(update={"data_dir": scratch / "both"})
    shutil.copytree(data.data_dir, both.data_dir, symlinks=True)
    run_alone = run_once(data, settings)
    app = AppProcess(
        f"--data-dir={both.data_dir}", "--retrain-every=off", f"--max-new-tokens={new_tokens}", "--temperature=0"
    )
    store = Store.open(both.database)
    try:
        people = Streams(app.url, streams)
        _until(lambda: len(people.ended) >= 2 * streams)
        began = time.monotonic()
        time.sleep(alone_s)
        chat_alone = people.tokens_per_s(store, began, time.monotonic())
        began = time.monotonic()
        run_beside = run_once(both, settings)
        chat_beside = people.tokens_per_s(store, began, began + run_beside)
        people.go_home()
    finally:
        app.stop()
        store.close()
    kept, slower = chat_beside / chat_alone, run_beside / run_alone
    return [
        Figure("run alone, s", run_alone),
        Figure("run beside the streams, s", run_beside),
        Figure(f"{streams} streams alone, tokens a second", chat_alone),
        Figure(f"{streams} streams beside the run, tokens a second", chat_beside),
        Figure("share of their speed that streams keep", kept, f"at least {_KEPT} wanted", kept >= _KEPT),
        Figure("times that the run takes", slower, f"at most {_SLOWER:g} wanted", slower <= _SLOWER),
    ]


def _until(true: Any, patience_s: float = 300.0) -> None:
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > patience_s:
            raise TimeoutError(f"the streams ended no reply within {patience_s:.0f} s")
        time.sleep(0.05)


def main(arguments: list[str] | None = None) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Chat and a run on one machine.")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--tiny", action="store_true", help="the tiny model of the tests instead of the starter")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    print(facts(torch.device("cpu"), torch.get_num_threads()))
    with tempfile.TemporaryDirectory() as scratch:
        base = make_tiny(Path(scratch) / "tiny", context=1024) if given.tiny else None
        alone_s = 5.0 if given.tiny else _ALONE_S
        return report(measured(base, Path(scratch), given.streams, given.new_tokens, alone_s), given.json)


if __name__ == "__main__":
    sys.exit(main())
