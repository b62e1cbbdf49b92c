"""How long the page's numbers, a trace and a run's pairs take on a record of a million messages.

`make bench-record`, or `bench/record.py [--messages 1000000] [--ratings 200000] [--new 10000] [--folder DIR] [--json
FILE]`. The record is made up (big_record.py, big_history.py) in a folder that is deleted afterwards; where one is named
it is kept, and measured again if it is there. Every step has a process of its own, so that its peak of memory is its
own. Exits 1 if a target is missed; targets are about the clock, so a machine that does something else may miss one.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.targets import Figure, report
from feedback.asking import Asking
from feedback.reviews import KINDS, ReviewFilter
from feedback.schema import Rating, TrainingPair, now
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.tally import Tallies

Found = dict[str, dict[str, float]]  # what was measured, with its figures

_MOST_S, _MOST_MIB, _QUERY_S = 60.0, 1024.0, 1.0
_REPEATS = 3
_CONTEXT = 4096  # tokens of the tiny model, whose tokens are letters


def queries(store: Store) -> dict[str, Callable[[], Any]]:
    """Name what the page asks of the record, views and timers both."""
    from bench.big_record import VERSIONS
    from finetune.schedule import record_now

    newest = store.conversations()[0].id
    common = _common_word(store)
    reply = next(said.id for said in store.history(newest) if said.role == "assistant")
    with store.reading() as session:
        learned = session.query(TrainingPair).order_by(TrainingPair.id.desc()).limit(1).one()
        rated = session.query(Rating).where(Rating.value != 0).order_by(Rating.id).limit(1).one()  # every run read it
    return {
        "stats": store.stats,
        "tally, its size counted anew": lambda: Tallies(store._database).tally(),
        "tally": store.tally,
        "conversations": store.conversations,
        "history of one": lambda: store.history(newest),
        "message": lambda: store.message(reply),
        "search, a common word": lambda: store.search(common),
        "search, words that are never together": lambda: store.search(f"{common} zzxqj {common}"),
        "search, two letters": lambda: store.search(common[:2]),
        "search, nothing found": lambda: store.search("zzxqj"),
        "search, two letters not found": lambda: store.search("zq"),
        "survey, all": store.survey,
        "survey, a quarter": lambda: store.survey(now() - timedelta(days=91)),
        "survey, a month by days": lambda: store.survey(now() - timedelta(days=30), "day"),
        "runs": lambda: store.runs(limit=30),
        "run_diary": lambda: store.run_diary(VERSIONS),
        "record_now": lambda: record_now(store),
        "versions": store.versions,
        "version_thumbs": store.version_thumbs,
        "card": lambda: store.card(VERSIONS),
        "served, every version": store.served_when,
        "promotions": store.promotions,
        "can_roll_back": store.can_roll_back,
        "trials": store.trials,
        "trial_thumbs": lambda: store.trial_thumbs(1),
        "what a version saw": lambda: store.version_saw(VERSIONS),
        **{f"review queue, {kind}": (lambda kind=kind: store.review_queue(kind)) for kind in KINDS},
        "review queue, unrated of one version": lambda: store.review_queue("unrated", ReviewFilter(version=3)),
        "review queue, corrected by nobody": lambda: store.review_queue("corrected", ReviewFilter(rater="nobody")),
        "review counts": store.review_counts,
        "review counts, one reason": lambda: store.review_counts(ReviewFilter(reason="rude")),
        "review choices": store.review_choices,
        "choose_asked, learnt anew": lambda: Asking(store._database).choose_asked(),
        "choose_asked": store.choose_asked,
        "random_rate": store.random_rate,
        "trace of a message": lambda: store.trace(message=learned.message_id),
        "trace of a rating": lambda: store.trace(rating=rated.id),
        "trace of a conversation": lambda: store.trace(conversation=store.conversation_of(learned.message_id)),
        "revoked": store.revoked,
    }


def _common_word(store: Store) -> str:
    lines = store.conversations(limit=30)
    said = " ".join(m.content.lower() for line in lines for m in store.history(line.id))
    return Counter(word for word in said.split() if len(word) > 3).most_common(1)[0][0]


def timed(ask: Callable[[], Any], most: int = _REPEATS) -> dict[str, float]:
    """Return the median seconds of a query, by the clock and of CPU."""
    walls, cpus = [], []
    for _ in range(most):
        clock, cpu = time.perf_counter(), time.process_time()
        ask()
        walls.append(time.perf_counter() - clock)
        cpus.append(time.process_time() - cpu)
        if sum(walls) > 10:
            break
    return {"s": statistics.median(walls), "CPU s": statistics.median(cpus)}


def make(folder: Path, messages: int, ratings: int) -> Found:
    """Make the record, without what runs learned of it."""
    from bench.big_record import BigRecord
    from tests.tiny import make_tiny

    make_tiny(folder / "tiny", context=_CONTEXT)
    store = _store(folder)
    BigRecord(store, messages, ratings).make()
    store.close()
    return {}


def history(folder: Path) -> Found:
    """Write down what the runs learned, as the kept checks let it be chosen again, and take some of it back."""
    from bench.big_history import take_back, write_history

    store = _store(folder)
    built = _build(folder, store)
    write_history(store, built)
    take_back(store)
    store.close()
    return {}


def rate_more(folder: Path, number: int) -> Found:
    """Let people rate so many replies more, of which no run knows."""
    from bench.big_record import newer_ratings

    store = _store(folder)
    newer_ratings(store, number)
    store.close()
    return {}


def ask(folder: Path) -> Found:
    """Measure what the page asks."""
    return {name: timed(query) for name, query in queries(_store(folder)).items()}


def due(folder: Path) -> Found:
    """Measure what the schedule asks."""
    from finetune.schedule import record_now

    store = _store(folder)
    return {"record_now": timed(lambda: record_now(store))}


def version_traced(folder: Path) -> Found:
    """Measure a whole version traced back, which the command line alone does."""
    from bench.big_record import VERSIONS

    store = _store(folder)
    return {"trace of a version": timed(lambda: store.trace(version=VERSIONS), 1)}


def pairs(folder: Path) -> Found:
    """Build a run's dataset, with the cache, and remember its split."""
    from finetune.dataset import remember

    store = _store(folder)
    clock, cpu = time.perf_counter(), time.process_time()
    built = _build(folder, store)
    remember(store, built)
    took = {"s": time.perf_counter() - clock, "CPU s": time.process_time() - cpu}
    return {"pairs": took, "sizes": {side: float(len(part)) for side, part in vars(built.sides).items()}}


def _build(folder: Path, store: Store) -> Any:
    from finetune.dataset import build
    from finetune.model import load_template
    from finetune.settings import PairSettings

    return build(store, DataSettings(data_dir=folder), load_template(folder / "tiny"), PairSettings(), writes=True)


def _store(folder: Path) -> Store:
    return Store.open(DataSettings(data_dir=folder).database)


def _peak_mib() -> float:
    """Return this process's own peak: what the kernel tells of children counts their parent in."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def step(name: str, folder: Path, *numbers: int) -> Found:
    """Do one step in a process of its own; return its figures with those of the whole process."""
    command = [sys.executable, __file__, "--step", name, "--folder", str(folder)]
    command += ["--numbers", *map(str, numbers)]
    clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found["process"] |= {"s": time.perf_counter() - clock, "CPU s": cpu}
    print(f"# {name}: {found['process']}", file=sys.stderr, flush=True)
    return found


_STEPS: dict[str, Callable[..., Found]] = {
    "make": make,
    "pairs": pairs,
    "history": history,
    "more": rate_more,
    "ask": ask,
    "due": due,
    "version": version_traced,
}


def figures(folder: Path, messages: int, ratings: int, new: int) -> list[Figure]:
    """Make the record unless it is there, and measure everything."""
    found: list[Figure] = []
    if not (folder / "made").exists():
        found += _both("record made", step("make", folder, messages, ratings)["process"])
        found += _both("record_now before the first version", step("due", folder)["record_now"], _QUERY_S)
        first = step("pairs", folder)
        found += _pairs("first pairs", first)
        step("history", folder)
        (folder / "made").touch()
    for name, took in step("ask", folder).items():
        if name != "process":
            found += _both(name, took, _QUERY_S)
    traced = step("version", folder)
    found += _both("trace of a version (command line)", traced["trace of a version"])
    found.append(Figure("its peak, MiB", traced["process"]["peak, MiB"]))
    step("more", folder, new)
    found += _both(f"record_now with {new:,} new ratings", step("due", folder)["record_now"], _QUERY_S)
    return found + _pairs(f"pairs with {new:,} new ratings", step("pairs", folder), _MOST_S, _MOST_MIB)


def _both(name: str, took: dict[str, float], most: float | None = None) -> list[Figure]:
    """Return the seconds by the clock, which the target is about, and those of CPU."""
    wanted = (f"under {most:g} wanted", took["s"] < most) if most else ()
    return [Figure(f"{name}, s", took["s"], *wanted), Figure(f"{name}, CPU s", took["CPU s"])]


def _pairs(name: str, found: Found, most_s: float | None = None, most_mib: float | None = None) -> list[Figure]:
    """Return the figures of a whole process that chose pairs."""
    peak = found["process"]["peak, MiB"]
    wanted = (f"under {most_mib:g} wanted", peak < most_mib) if most_mib else ()
    return [
        *_both(name, found["process"], most_s),
        *_both(f"{name}, without what it imports", found["pairs"]),
        Figure(f"{name}, peak MiB", peak, *wanted),
        *(Figure(f"{name}: {side}", number) for side, number in found["sizes"].items()),
    ]


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
        print(json.dumps({**found, "process": {"peak, MiB": _peak_mib()}}))
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
