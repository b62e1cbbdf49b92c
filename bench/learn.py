"""What is learned from feedback, and what is forgotten over it, by Rapport and by others: one table.

`make bench-learn`, or `bench/learn.py [--contest facts,tastes,thumbs] [--who rapport,plain,...] [--seeds 1,2,3]
[--part short,...] [--json FILE]`. Each contestant is given the same feedback and learns in a process of its own; one
scorer asks them all. With --json every row is written as soon as it is known, and a row that is in the file already is
not measured again on the same device. `--retrain "--epochs 3"` gives Rapport other settings; its rows then bear them.
`--gpu` lets all learn on the GPU: what they learn is known in minutes, and minutes and memory say nothing of a CPU's.
docs/bench.md describes the method.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

if "--gpu" not in sys.argv:  # before torch looks for one
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # all learn on the CPU, where memory is one thing
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from transformers.utils import logging as quiet

from bench import exam, lessons
from bench.companies import FACTS, company
from bench.general_answers import GENERAL
from bench.learners import LEARNERS
from bench.lessons import Told
from bench.rows import Rows, measured, reason, sentence
from bench.samples import Sample, Samples
from bench.scorer import Scorer
from bench.streams import Failed, Missing
from bench.subject import ROOT, starter_folder
from bench.tastes import TASTES, THUMBS
from bench.watched import Ended, watched
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.model import load_version

CONTESTS = ("facts", "tastes", "thumbs")
BASE, RAPPORT = "base", "rapport"
WHO = (RAPPORT, *LEARNERS)
FILES = ("coffee_thumbs", "kto_en_demo")
PARTS = ("company", *TASTES, *FILES)
_OWN_TOKENS = 64  # of the base model's own answers to general prompts
_DRAWN = 3  # replies to each prompt from which thumbs are drawn
_LONGEST = 1600  # characters of a conversation that is trained on: about 400 tokens, for the sake of two cores
_LONGEST_UNSEEN = 2 * _LONGEST
Figures = dict[str, Any]


@dataclass(frozen=True)
class Lesson:
    """One thing to learn: feedback, and the exam on it. `part` names the company, the taste or the file."""

    contest: str
    part: str
    seed: int
    told: Sequence[Told]
    ask: Callable[[Scorer, Figures], Figures]  # second: the base model's figures, empty for the base model itself


@dataclass(frozen=True)
class Setup:
    """What is the same for all: the model, threads, and how Rapport and the others are told to train."""

    base: Path
    threads: int
    retrain: Sequence[str] = ()
    epochs: int | None = None
    facts: int = FACTS
    thumbs: int = THUMBS
    parts: Sequence[str] = PARTS

    @property
    def environment(self) -> dict[str, str]:
        """What a contestant's process finds around it; no setting of Rapport's but its defaults."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAPPORT_")}
        threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        return {**own, **threads}

    def name_of(self, who: str) -> str:
        """Name a contestant's row."""
        return f"{who} {shlex.join(self.retrain)}" if who == RAPPORT and self.retrain else who


def lessons_of(contest: str, seed: int, setup: Setup) -> Iterator[Lesson]:
    """Yield the lessons of a contest. Raises Missing where its data is not there."""
    samples = Samples(setup.base)
    if contest == "facts":
        firm = company(seed, setup.facts)
        told = lessons.of_company(firm, samples)
        yield Lesson(contest, "company", seed, told, lambda scorer, _: exam.facts(scorer, firm))
    elif contest == "tastes":
        for name, taste in TASTES.items():
            told = lessons.of_taste(taste, samples.sampled(taste.thumbed, _DRAWN, 0), seed, setup.thumbs)
            yield Lesson(contest, name, seed, told, partial(_ask_taste, name, seed))
    else:
        for name in FILES:
            file = lessons.DATA / f"{name}.jsonl"
            if not file.is_file():
                raise Missing(f"needs {file.name} in {str(lessons.DATA)!r}")
            seen, unseen = lessons.split(lessons.of_file(file), seed)
            short = [each for each in seen if lessons.length(each) <= _LONGEST]
            yield Lesson(
                contest,
                name,
                seed,
                short,
                partial(_ask_rated, [e for e in unseen if lessons.length(e) <= _LONGEST_UNSEEN]),
            )


def _ask_taste(name: str, seed: int, scorer: Scorer, _: Figures) -> Figures:
    return exam.taste(scorer, TASTES[name], seed)


def _ask_rated(unseen: Sequence[Told], scorer: Scorer, before: Figures) -> Figures:
    losses = exam.rated(scorer, unseen)
    return exam.told_apart(losses, before.get("losses", losses), unseen)


def examined(lesson: Lesson, scorer: Scorer, own: Sequence[Sample], before: Figures) -> Figures:
    """Ask about everything else, and about the lesson."""
    found = exam.general(scorer, own)
    return found | exam.rises(found, before) | lesson.ask(scorer, before)


def learned(who: str, lesson: Lesson, setup: Setup, scratch: Path) -> tuple[Scorer, Figures]:
    """Have a contestant learn; return its model and what it took.

    Raises Missing for one that is not installed, Failed for one that failed.
    """
    ended, scorer, more = (_rapport if who == RAPPORT else partial(_peer, who))(lesson, setup, scratch)
    return scorer(), {"minutes": ended.seconds / 60, "peak_bytes": ended.peak, **more}


Outcome = tuple[Ended, Callable[[], Scorer], Figures]


def _peer(who: str, lesson: Lesson, setup: Setup, scratch: Path) -> Outcome:
    lessons.keep(lesson.told, scratch / "lesson.json")
    out = scratch / "out"
    command = [sys.executable, "bench/learners.py", who, f"--lesson={scratch / 'lesson.json'}", f"--base={setup.base}"]
    command += [f"--out={out}", f"--seed={lesson.seed}", *([f"--epochs={setup.epochs}"] if setup.epochs else [])]
    ended = watched(command, setup.environment, ROOT)
    if ended.code:
        raise Failed(ended.complaint)
    said = json.loads(ended.last_line)
    if "skipped" in said:
        raise Missing(said["skipped"])
    return ended, lambda: exam.opened(setup.base, out), said


def _rapport(lesson: Lesson, setup: Setup, scratch: Path) -> Outcome:
    """Take the feedback in from a file, as anybody would, and retrain: pairs, training, gate and all."""
    lessons.write_record(lesson.told, scratch / "feedback.jsonl")
    data = DataSettings.given(data_dir=scratch / "data", base_model=str(setup.base))
    taken = watched(_command("feedback", "import", str(scratch / "feedback.jsonl"), data=data), setup.environment, ROOT)
    if taken.code:
        raise Failed(f"import: {taken.complaint}")
    options = [f"--seed={lesson.seed}", *([f"--epochs={setup.epochs}"] if setup.epochs else []), *setup.retrain]
    ended = watched(_command("finetune", "retrain", "--force", *options, data=data), setup.environment, ROOT)
    if ended.code not in (0, 3):
        raise Failed(f"retrain: {ended.last_line or ended.complaint}")
    said = json.loads(ended.last_line)
    version = data.data_dir / Store.open(data.database).version(said["version"]).path

    def opened() -> Scorer:
        loaded = load_version(data.base_dir, version)
        return Scorer(loaded.model.float(), loaded.template.tokenizer)

    return ended, opened, {"verdict": said["verdict"], "reason": said["reason"]}


def _command(package: str, *arguments: str, data: DataSettings) -> list[str]:
    where = [f"--data-dir={data.data_dir}", f"--base-model={data.base_model}"]
    return [sys.executable, "-m", package, *arguments, *where]


class Bench:
    """One run: who learns what, and the rows of it."""

    def __init__(self, setup: Setup, rows: Rows):
        self.setup, self.rows = setup, rows
        self.own = Samples(setup.base).greedy([prompt for prompt, _ in GENERAL], _OWN_TOKENS)

    def take(self, contest: str, seed: int, who: Sequence[str]) -> None:
        """Measure the base model and each contestant on each lesson of a contest."""
        try:
            for lesson in lessons_of(contest, seed, self.setup):
                if lesson.part not in self.setup.parts:
                    continue
                before = self.row(lesson, BASE, {})
                for name in who:
                    self.row(lesson, name, before)
        except Missing as missing:
            self.rows.add({"contest": contest, "seed": seed, "skipped": str(missing)})

    def row(self, lesson: Lesson, who: str, before: Figures) -> Figures:
        """Return a row, measured now unless it is there already."""
        key = {"contest": lesson.contest, "part": lesson.part, "seed": lesson.seed, "who": self.setup.name_of(who)}
        there = self.rows.find(key)
        if there is not None:
            return there
        print(" ".join(map(str, key.values())), "...", file=sys.stderr, flush=True)
        return self.rows.add(key | self._measured(lesson, who, before))

    def _measured(self, lesson: Lesson, who: str, before: Figures) -> Figures:
        if who != BASE and not measured(before):  # nothing to tell a rise from
            return {"skipped": "the base model was not measured"}
        try:
            if who == BASE:
                return examined(lesson, Scorer.of(self.setup.base), self.own, {})
            with tempfile.TemporaryDirectory(prefix="bench-learn-") as scratch:
                scorer, took = learned(who, lesson, self.setup, Path(scratch))
                return took | examined(lesson, scorer, self.own, before)
        except Missing as missing:
            return {"skipped": str(missing)}
        # One contestant that fails is a row of the table, whatever it raised.
        except Exception as error:  # noqa: BLE001
            return {"error": sentence(error)}


_COLUMNS = {
    "facts": ("right", "right_near", "right_free"),
    "tastes": ("kept", "ended", "words", "distinct"),
    "thumbs": ("auc", "auc_low", "auc_high", "accuracy", "accuracy_low", "accuracy_high", "gain_auc"),
}
_COSTS = ("general_rise", "own_rise", "minutes", "peak_bytes")


def table(rows: Sequence[Figures]) -> str:
    """Lay the rows out for a terminal: medians over seeds."""
    lines = []
    for contest in CONTESTS:
        own = [row for row in rows if row["contest"] == contest]
        if not own:
            continue
        columns = (*_COLUMNS[contest], *_COSTS)
        lines += ["", f"{contest:<16}{'who':<24}{'seeds':>6}" + "".join(f"{name:>14}" for name in columns)]
        groups: dict[tuple[str, str], list[Figures]] = {}
        for row in own:
            groups.setdefault((row.get("part", ""), row.get("who", "")), []).append(row)
        for (part, who), group in groups.items():
            lines += _lines(part, who, group, columns)
    return "\n".join(lines)


def _lines(part: str, who: str, group: Sequence[Figures], columns: Sequence[str]) -> Iterator[str]:
    start = f"{part:<16}{who:<24}"
    whole = [row for row in group if measured(row)]
    yield from (f"{start}  {reason(row)}" for row in group if not measured(row))
    if whole:
        yield f"{start}{len(whole):>6}" + "".join(f"{_median(whole, name):>14}" for name in columns)


def _median(rows: Sequence[Figures], name: str) -> str:
    values = [row[name] for row in rows if name in row]
    if not values:
        return ""
    middle = statistics.median(values)
    return f"{middle / 2**30:.2f} GiB" if name == "peak_bytes" else f"{middle:.3f}"


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="What is learned from feedback, by Rapport and by others.")
    parser.add_argument("--contest", default=",".join(CONTESTS), help="contests between commas (default: all)")
    parser.add_argument("--who", default=",".join(WHO), help="contestants between commas (default: all)")
    parser.add_argument("--part", default=",".join(PARTS), help="companies, tastes, files between commas")
    parser.add_argument("--seeds", default="1,2,3", help="seeds between commas (default: 1,2,3)")
    parser.add_argument("--retrain", default="", help="options of `python -m finetune retrain` for Rapport's rows")
    parser.add_argument("--json", type=Path, help="file of rows; those in it already are not measured again")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--gpu", action="store_true", help="learn on the GPU; memory is the main memory's then")
    # For tests and tries: another folder than the starter's, fewer passes, facts and thumbs.
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    for name, default in (("epochs", None), ("facts", FACTS), ("thumbs", THUMBS)):
        parser.add_argument(f"--{name}", type=int, default=default, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    contests, who, parts = given.contest.split(","), given.who.split(","), given.part.split(",")
    for option, names, known in (("contest", contests, CONTESTS), ("who", who, WHO), ("part", parts, PARTS)):
        if unknown := [name for name in names if name not in known]:
            print(f"--{option} {','.join(unknown)!r} is not known; {', '.join(known)} are.", file=sys.stderr)
            return 2
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    torch.set_num_threads(given.threads)
    retrain = shlex.split(given.retrain)
    base = (given.model or starter_folder()).resolve()
    setup = Setup(base, given.threads, retrain, given.epochs, given.facts, given.thumbs, parts)
    bench = Bench(setup, Rows(given.json, given.threads))
    for seed in (int(seed) for seed in given.seeds.split(",")):
        for contest in contests:
            bench.take(contest, seed, who)
    print(table(bench.rows.here))
    return 0


if __name__ == "__main__":
    sys.exit(main())
