"""How long the page's numbers, a trace and a run's pairs take on a record of a million messages.

`make bench-record`, or `bench/record.py [--messages 1000000] [--ratings 200000] [--new 10000] [--folder DIR] [--json
FILE]`. The record is made up (big_record.py) in a folder that is deleted afterwards; where one is named it is kept, and
measured again if it is there. Every step has a process of its own, so that its peak of memory is its own. Exits 1 if a
target is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.targets import Figure, report
from feedback.schema import TrainingPair
from feedback.settings import DataSettings
from feedback.store import Store

_MOST_S, _MOST_MIB, _QUERY_S = 60.0, 1024.0, 1.0
_REPEATS = 3
_CONTEXT = 4096  # tokens of the tiny model, whose tokens are letters


def queries(store: Store) -> dict[str, Callable[[], Any]]:
    """Name what the page asks of the record."""
    from feedback.reviews import KINDS
    from finetune.schedule import record_now

    newest = store.conversations()[0].id
    common = _common_word(store)
    reply = next(said.id for said in store.history(newest) if said.role == "assistant")
    with store.reading() as session:
        learned = session.query(TrainingPair).order_by(TrainingPair.id.desc()).first()
        assert learned is not None
    return {
        "stats": store.stats,
        "runs": lambda: store.runs(limit=8),
        "versions": store.versions,
        "conversations": store.conversations,
        "history of one": lambda: store.history(newest),
        "message": lambda: store.message(reply),
        "search, a common word": lambda: store.search(common),
        "search, words that are never together": lambda: store.search(f"{common} zzxqj {common}"),
        "search, two letters": lambda: store.search(common[:2]),
        "search, nothing found": lambda: store.search("zzxqj"),
        "search, two letters not found": lambda: store.search("zq"),
        **{f"review queue, {kind}": (lambda kind=kind: store.review_queue(kind)) for kind in KINDS},
        "review counts": store.review_counts,
        "review choices": store.review_choices,
        "record_now": lambda: record_now(store),
        "trace of a message": lambda: store.trace(message=learned.message_id),
        "trace of a conversation": lambda: store.trace(conversation=store.conversation_of(learned.message_id)),
        "revoked": store.revoked,
    }


def _common_word(store: Store) -> str:
    lines = store.conversations(limit=30)
    said = " ".join(m.content.lower() for line in lines for m in store.history(line.id))
    return Counter(word for word in said.split() if len(word) > 3).most_common(1)[0][0]


def measured(store: Store) -> dict[str, float]:
    """Return the median seconds of every query."""
    found = {}
    for name, ask in queries(store).items():
        times = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            ask()
            times.append(time.perf_counter() - began)
            if sum(times) > 10:
                break
        found[name] = statistics.median(times)
    return found


def make(folder: Path, messages: int, ratings: int) -> dict[str, float]:
    """Make the record, and the ratings that come later as a file of their own."""
    from bench.big_record import BigRecord
    from tests.tiny import make_tiny

    make_tiny(folder / "tiny", context=_CONTEXT)
    store = Store.open(DataSettings(data_dir=folder).database)
    began = time.perf_counter()
    record = BigRecord(store, messages, ratings)
    record.make()
    store.close()
    return {"made in, s": time.perf_counter() - began}


def rate_more(folder: Path, number: int) -> dict[str, float]:
    """Let people rate so many replies more, of which no run knows."""
    from bench.big_record import newer_ratings

    store = Store.open(DataSettings(data_dir=folder).database)
    newer_ratings(store, number)
    store.close()
    return {}


def ask(folder: Path) -> dict[str, float]:
    """Measure what the page asks."""
    store = Store.open(DataSettings(data_dir=folder).database)
    return measured(store)


def pairs(folder: Path) -> dict[str, float]:
    """Build a run's dataset, with the cache, and remember its split."""
    from finetune.dataset import build, remember
    from finetune.model import load_template
    from finetune.settings import PairSettings

    data = DataSettings(data_dir=folder)
    store, template = Store.open(data.database), load_template(folder / "tiny")
    began = time.perf_counter()
    built = build(store, data, template, PairSettings(), writes=True)
    took = time.perf_counter() - began
    remember(store, built)
    sizes = {side: float(len(part)) for side, part in vars(built.sides).items()}
    return {"build, s": took, "remember, s": time.perf_counter() - began - took, **sizes}


def _peak_mib() -> float:
    """Return this process's own peak: what the kernel tells of children counts their parent in."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def step(name: str, folder: Path, *numbers: int) -> dict[str, float]:
    """Do one step in a process of its own; return its figures with its peak of memory."""
    command = [sys.executable, __file__, "--step", name, "--folder", str(folder)]
    command += ["--numbers", *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


_STEPS: dict[str, Callable[..., dict[str, float]]] = {"make": make, "more": rate_more, "ask": ask, "pairs": pairs}


def figures(folder: Path, messages: int, ratings: int, new: int) -> list[Figure]:
    """Make the record unless it is there, and measure everything."""
    found: list[Figure] = []
    if not (folder / "chat.db").exists():
        found.append(Figure("record made, s", step("make", folder, messages, ratings)["made in, s"]))
    asked = step("ask", folder)
    first = step("pairs", folder)
    step("more", folder, new)
    again, later = step("pairs", folder), step("ask", folder)
    for name, took in asked.items():
        if name == "peak, MiB":
            continue
        found.append(Figure(f"{name}, s", took, f"under {_QUERY_S:g} wanted", took < _QUERY_S))
    now = later["record_now"]
    found.append(Figure(f"record_now with {new:,} new ratings, s", now, f"under {_QUERY_S:g} wanted", now < _QUERY_S))
    found.append(Figure("first pairs, s", first["build, s"]))
    found.append(Figure("first pairs, peak MiB", first["peak, MiB"]))
    took, peak = again["build, s"], again["peak, MiB"]
    found.append(Figure(f"pairs with {new:,} new ratings, s", took, f"under {_MOST_S:g} wanted", took < _MOST_S))
    found.append(Figure("its peak, MiB", peak, f"under {_MOST_MIB:g} wanted", peak < _MOST_MIB))
    found.append(Figure("its split remembered in, s", again["remember, s"]))
    found += [Figure(f"pairs, {side}", again[side]) for side in ("train", "validation", "held_out")]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and report, or do one step."""
    parser = argparse.ArgumentParser(description="How long things take on a big record.")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--ratings", type=int, default=200_000)
    parser.add_argument("--new", type=int, default=10_000, help="ratings that come after the newest run")
    parser.add_argument("--folder", type=Path, help="where the record is made, and kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", choices=_STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--numbers", type=int, nargs="*", default=[], help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        found = _STEPS[given.step](given.folder, *given.numbers)
        print(json.dumps({**found, "peak, MiB": _peak_mib()}))
        return 0
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
        return report(figures(given.folder, given.messages, given.ratings, given.new), given.json)
    with tempfile.TemporaryDirectory(prefix="data-record-", dir=Path(__file__).parent.parent) as scratch:
        return report(figures(Path(scratch), given.messages, given.ratings, given.new), given.json)


if __name__ == "__main__":
    sys.exit(main())
