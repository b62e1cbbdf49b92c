"""How fast an adapter is trained, and in how much memory, by Rapport and by others: one table.

`make bench-train`, or `bench/train.py [--who rapport,plain,...] [--rows 200] [--epochs 2] [--repeats 3] [--json FILE]`.
All train on the same real replies for the same number of passes, each in a process of its own; they take turns over the
repeats, first to last and then last to first. Speed is tokens of the rows, no padding counted, over the seconds of
training; what the loss came to, on these rows and on unseen ones, is measured by one scorer. With --json every row is
written as soon as it is known, and a row that is in the file already is not measured again.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # all train on the CPU, where memory is one thing
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as quiet

from bench import exam, lessons
from bench.learners import encode
from bench.lessons import Told, pairs
from bench.rows import Row, Rows, measured, reason, sentence
from bench.scorer import Said, Scorer, mean
from bench.streams import Failed, Missing
from bench.subject import ROOT, starter_folder
from bench.watched import watched

FILES = ("kto_en_demo", "coffee_thumbs")
WHO = {
    "rapport": "bench/adapter.py",
    "rapport-recipe": "bench/adapter.py",
    "plain": "bench/learners.py",
    "trl-sft": "bench/learners.py",
    "trl-sft-tuned": "bench/learners.py",
}
_PEERS = ("trl-sft", "trl-sft-tuned")
_LONGEST = 2000  # characters of a conversation: about 500 tokens
_UNSEEN = 60


@dataclass(frozen=True)
class Field:
    """What all contestants are given."""

    base: Path
    train: Sequence[Told]
    unseen: Sequence[Told]
    epochs: int
    threads: int

    @property
    def useful_tokens(self) -> int:
        """Count the tokens of all rows in all passes, their prompts among them."""
        tokenizer = AutoTokenizer.from_pretrained(self.base, local_files_only=True)
        return self.epochs * sum(len(encode(tokenizer, pair)["input_ids"]) for pair in pairs(self.train))


def real_rows(number: int, unseen: int) -> tuple[list[Told], list[Told]]:
    """Return replies with a thumb up, of real lengths, half of each file if there are: to train on, and unseen.

    Raises Missing where the files are not.
    """
    good: list[list[Told]] = []
    for name in FILES:
        file = lessons.DATA / f"{name}.jsonl"
        if not file.is_file():
            raise Missing(f"needs {file.name} in {str(lessons.DATA)!r}")
        own = [each for each in lessons.of_file(file) if each.up and lessons.length(each) <= _LONGEST]
        random.Random(name).shuffle(own)
        good.append(own)
    half = (number + unseen) // 2
    first = good[0][:half]
    rows = first + good[1][: number + unseen - len(first)]
    random.Random("rows").shuffle(rows)
    return rows[unseen:], rows[:unseen]


def trained(who: str, field: Field, repeat: int) -> Row:
    """Have a contestant train; return its figures.

    Raises Missing for one that is not installed, Failed for one that failed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-train-") as scratch:
        lesson, out = Path(scratch) / "lesson.json", Path(scratch) / "out"
        lessons.keep(field.train, lesson)
        command = [sys.executable, WHO[who], who, f"--lesson={lesson}", f"--base={field.base}", f"--out={out}"]
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAPPORT_")}
        environment = {**own, "OMP_NUM_THREADS": str(field.threads), "MKL_NUM_THREADS": str(field.threads)}
        ended = watched([*command, f"--seed={repeat}", f"--epochs={field.epochs}"], environment, ROOT)
        if ended.code:
            raise Failed(ended.complaint)
        said = json.loads(ended.last_line)
        if "skipped" in said:
            raise Missing(said["skipped"])
        scorer = exam.opened(field.base, out)
        return {
            "tokens_per_s": field.useful_tokens / said["train_s"],
            "train_s": said["train_s"],
            "process_s": ended.seconds,
            "peak_bytes": ended.peak,
            "train_nll": nll(scorer, field.train),
            "unseen_nll": nll(scorer, field.unseen),
        }


def nll(scorer: Scorer, told: Sequence[Told]) -> float:
    """Return the mean over replies of nats a token."""
    return mean(scorer.losses([Said(each.messages, each.reply) for each in told]))


def measure(names: Sequence[str], field: Field, repeats: int, rows: Rows) -> None:
    """Measure every contestant as often as there are repeats."""
    for repeat in range(1, repeats + 1):
        for who in names if repeat % 2 else reversed(names):
            key = {"who": who, "repeat": repeat, "rows": len(field.train), "epochs": field.epochs}
            if rows.find(key):
                continue
            print(f"{who}, repeat {repeat} ...", file=sys.stderr, flush=True)
            try:
                found = trained(who, field, repeat)
            except Missing as missing:
                found = {"skipped": str(missing)}
            # One contestant that fails is a row of the table, whatever it raised.
            except Exception as error:  # noqa: BLE001
                found = {"error": sentence(error)}
            rows.add(key | found)


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out for a terminal: medians over repeats, and Rapport's speed and memory beside TRL's."""
    names = list(dict.fromkeys(row["who"] for row in rows))
    lines = [f"{'who':<16}{'repeats':>8}{'tokens/s':>10}{'peak':>12}{'train NLL':>11}{'unseen NLL':>12}{'process':>10}"]
    middle = {}
    for who in names:
        own = [row for row in rows if row["who"] == who]
        whole = [row for row in own if measured(row)]
        lines += [f"{who:<16}  {reason(row)}" for row in own if not measured(row)]
        if whole:
            figures = [name for name, value in whole[0].items() if isinstance(value, int | float)]
            one = {name: statistics.median(row[name] for row in whole) for name in figures}
            middle[who] = one
            lines.append(
                f"{who:<16}{len(whole):>8}{one['tokens_per_s']:>10.0f}{one['peak_bytes'] / 2**30:>8.2f} GiB"
                f"{one['train_nll']:>11.3f}{one['unseen_nll']:>12.3f}{one['process_s']:>8.0f} s"
            )
    peers = [who for who in _PEERS if who in middle]
    if "rapport" in middle and peers:
        ours = middle["rapport"]
        for who in peers:
            lines.append(f"rapport is {ours['tokens_per_s'] / middle[who]['tokens_per_s']:.2f} x {who}")
        least = min(middle[who]["peak_bytes"] for who in peers)
        lines.append(f"rapport's peak is {ours['peak_bytes'] / least:.2f} of the lowest of TRL's")
    return "\n".join(lines)


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="How fast an adapter is trained, by Rapport and by others.")
    parser.add_argument("--who", default=",".join(WHO), help="contestants between commas (default: all)")
    parser.add_argument("--rows", type=int, default=200, help="replies to train on (default: 200)")
    parser.add_argument("--epochs", type=int, default=2, help="passes over them (default: 2)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file of rows; those in it already are not measured again")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)  # another folder than the starter's, for tries
    given = parser.parse_args()
    names = given.who.split(",")
    if unknown := [name for name in names if name not in WHO]:
        print(f"--who {','.join(unknown)!r} is not known; {', '.join(WHO)} are.", file=sys.stderr)
        return 2
    try:
        train, unseen = real_rows(given.rows, _UNSEEN)
    except Missing as missing:
        print(f"Nothing was measured: this bench {missing}.", file=sys.stderr)
        return 0
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    torch.set_num_threads(given.threads)
    field = Field((given.model or starter_folder()).resolve(), train, unseen, given.epochs, given.threads)
    rows = Rows(given.json, given.threads)
    measure(names, field, given.repeats, rows)
    print(table(rows.here))
    return 0


if __name__ == "__main__":
    sys.exit(main())
