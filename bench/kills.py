"""Runs killed at random moments and started again: does each end as one that nobody killed?

`make proof-kill`, or `bench/kills.py [--runs 50] [--seed 0] [--json FILE]`. Each run trains the tiny model of the tests
on a record of its own, in a process group of its own, and gets SIGKILL at a moment drawn evenly over the length of an
unbroken run. A moment is a state, a step and a time since, so that a slow machine is hit in the same places as a fast
one. Then the run is started again, as the next start would. Exits 1 if a target is missed.
"""

import argparse
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # processes are forked here, which threads of a parallel sum do not survive
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import datasets  # noqa: F401  # loaded once here, not by each of a hundred processes
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file

from bench.targets import Figure, none_of, report
from feedback.formats import Incoming, IncomingMessage
from feedback.schema import RUN_ENDED, RUN_OPEN
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import measures, pulse
from finetune.dataset import read
from finetune.pipeline import retrain
from finetune.settings import ScheduleSettings, TrainSettings
from tests.tiny import LOOSE, make_tiny

_SETTINGS = TrainSettings(epochs=3, learning_rate=2e-2, batch_size=8, keep_weight=0.1, **LOOSE)
_SCHEDULE = ScheduleSettings(min_free_disk=0)
_ROUNDING = 1e-5
_POLL_S = 0.002
_ORDER = (*RUN_OPEN, *RUN_ENDED)


@dataclass(frozen=True)
class Moment:
    """A place in the course of a run, and seconds since it got there."""

    status: str
    step: int
    after: float

    def passed(self, status: str, step: int) -> bool:
        """Tell whether a run is there, or further."""
        return (_ORDER.index(status), step) >= (_ORDER.index(self.status), self.step)


def forked(work: Callable[[], object]) -> int:
    """Do something in a process of its own, which leads a group of its own; return its id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def run_of(data: DataSettings) -> Callable[[], object]:
    """Return what a process does that makes a run, or goes on with one."""

    def work() -> None:
        for name in ("GENERAL_TOKENS", "OWN_TOKENS", "HARM_TOKENS"):
            setattr(measures, name, 4)
        pulse.BEAT_S = 0.0  # every step is seen
        retrain(Store.open(data.database), data, _SETTINGS, _SCHEDULE, force=True)

    return work


def prepare(folder: Path) -> DataSettings:
    """Make a record of corrections, and the tiny model for it."""
    data = DataSettings(data_dir=folder / "record", base_model=str(folder / "tiny"))

    def work() -> None:
        make_tiny(folder / "tiny")
        store = Store.open(data.database)
        turns = [IncomingMessage("assistant", "I do not know.", rating=-1, correction="the quick brown fox")]
        asked = [(IncomingMessage("user", f"question number {n}"), *turns) for n in range(32)]
        store.take_in([Incoming(f"c{n}", turns) for n, turns in enumerate(asked)])

    assert os.waitpid(forked(work), 0)[1] == 0, "the record could not be made"
    return data


def copy_of(data: DataSettings, folder: Path) -> DataSettings:
    """Copy a record to a folder."""
    shutil.copytree(data.data_dir, folder, symlinks=True)
    return data.model_copy(update={"data_dir": folder})


def course(data: DataSettings) -> tuple[list[tuple[str, int, float]], float]:
    """Let a run end by itself; return each (state, step, seconds) that was seen, and how long it took."""
    child, began, seen = forked(run_of(data)), time.monotonic(), [("queued", 0, 0.0)]
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        status, step = where(data) or ("queued", 0)
        if (status, step) != seen[-1][:2]:
            seen.append((status, step, time.monotonic() - began))
        time.sleep(_POLL_S)
    return seen, time.monotonic() - began


def moment_at(share: float, seen: list[tuple[str, int, float]], took: float) -> Moment:
    """Name the moment at a share of an unbroken run's length."""
    at = share * took
    status, step, reached = max((mark for mark in seen if mark[2] <= at), key=lambda mark: mark[2])
    return Moment(status, step, at - reached)


def where(data: DataSettings) -> tuple[str, int] | None:
    """Return state and step of the run, None before it has a row."""
    with sqlite3.connect(data.data_dir / "chat.db") as record:
        return record.execute("select status, step from runs order by id desc limit 1").fetchone()


def kill_at(moment: Moment, data: DataSettings) -> str:
    """Start a run and kill it at a moment; return the state it was in, empty if it was over before."""
    child = forked(run_of(data))
    while not moment.passed(*(where(data) or ("queued", 0))):
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return ""
        time.sleep(_POLL_S)
    time.sleep(moment.after)
    if os.waitpid(child, os.WNOHANG) != (0, 0):
        return ""
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    status, step = where(data) or ("no row", 0)
    return "" if status in RUN_ENDED else f"{status}{f' step {step}' if status == 'training' else ''}"


def faults(data: DataSettings, unbroken: DataSettings) -> list[str]:
    """Say what is not as the unbroken run left it."""
    found = []
    with sqlite3.connect(data.data_dir / "chat.db") as record, sqlite3.connect(unbroken.data_dir / "chat.db") as other:
        for what, query in _SAME.items():
            if record.execute(query).fetchall() != other.execute(query).fetchall():
                found.append(what)
        if (
            record.execute("pragma integrity_check").fetchall() != [("ok",)]
            or record.execute("pragma foreign_key_check").fetchall()
        ):
            found.append("the database is damaged")
    if read(data.runs_dir / "1" / "dataset") != read(unbroken.runs_dir / "1" / "dataset"):
        found.append("another dataset")
    if sorted(p.name for p in data.versions_dir.iterdir()) != ["001"]:
        found.append("half a version")
    if not _same_adapter(data, unbroken):
        found.append("another adapter")
    left = [p for p in data.data_dir.rglob("*") if "partial" in p.name or p.name in ("work", "tmp")]
    if left:
        found.append(f"a temporary name left: {left[0].name}")
    try:
        FileLock(data.lock_file, timeout=0).acquire().lock.release()
    except Timeout:
        found.append("a lock left")
    return found


_SAME = {
    "another verdict": "select status, reason, cancel_asked_by from runs",
    "another version": "select number, kind, path, run_id, verdict, reason from model_versions",
    "another promotion": "select id, restores_id, reason from promotions",
    "another lineage": "select run_id, message_id, correction_id, kind, weight, split from training_pairs "
    "join datasets on datasets.id = dataset_id order by training_pairs.id",
    "another split": "select conversation_id, split from splits order by conversation_id",
    "other rejections": "select message_id, rule from rejected_replies order by id",
}


def _same_adapter(data: DataSettings, unbroken: DataSettings) -> bool:
    file = Path("versions", "001", "adapter", "adapter_model.safetensors")
    ours, theirs = (load_file(each.data_dir / file) for each in (data, unbroken))
    return ours.keys() == theirs.keys() and all(
        torch.allclose(ours[name], theirs[name], rtol=0, atol=_ROUNDING) for name in ours
    )


def main(arguments: list[str] | None = None) -> int:
    """Kill, go on, look, and report."""
    parser = argparse.ArgumentParser(description="Runs killed at random moments and started again.")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    dice, at, wrong, lost, early = random.Random(given.seed), Counter[str](), 0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        record = prepare(Path(scratch))
        unbroken = copy_of(record, Path(scratch) / "unbroken")
        seen, took = course(unbroken)
        print(f"An unbroken run takes {took:.1f} s.", flush=True)
        done = 0
        while done < given.runs:
            moment = moment_at(dice.random(), seen, took)
            data = copy_of(record, Path(scratch) / "killed")
            status = kill_at(moment, data)
            if status:
                done += 1
                at[status.split()[0]] += 1
                code = os.waitpid(forked(run_of(data)), 0)[1]
                told = faults(data, unbroken) if code == 0 else ["it did not go on"]
                wrong += bool(told)
                lost += code != 0
                print(f"{done:>3}  killed {moment.after:.2f} s into {status}: {'; '.join(told) or 'whole'}", flush=True)
            else:
                early += 1  # it was over before it could be killed
            shutil.rmtree(data.data_dir)
    figures = [
        Figure("runs killed", given.runs),
        *(Figure(f"killed while {status}", count) for status, count in sorted(at.items())),
        Figure("over before they could be killed, not counted", early),
        none_of("runs that did not go on", lost),
        none_of("runs that ended otherwise than the unbroken one", wrong),
    ]
    return report(figures, given.json)


if __name__ == "__main__":
    sys.exit(main())
