"""How fast replies are written, by Rapport and by others, for one reader and for many: one table.

`make bench-serve`, or `bench/serve.py [--only generate,rapport] [--streams 1,8,32] [--shape 135M|1B|8B] [--json FILE]`.
Every engine is given the same prompts, writes the same number of tokens greedily, and has the same threads. They take
turns over the repeats, first to last and then last to first; each figure is the median of the repeats. The ratio is to
plain `generate` at one stream in the same run. docs/bench.md describes the method.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from transformers.utils import logging as quiet

from bench import engines, machine, ours, peers
from bench.engines import Open, Write
from bench.prompts import PROMPTS
from bench.streams import Missing, figures
from bench.subject import SHAPES, STARTER_SHAPE, Subject, starter_folder

ENGINES: dict[str, Open] = {
    "generate": engines.generate,
    "generate-batch": engines.generate_batch,
    "generate-batch-bf16": partial(engines.generate_batch, dtype=torch.bfloat16),
    "transformers-cb": engines.continuous_batching,
    "transformers-serve": peers.transformers_serve,
    "llama.cpp": peers.llama_cpp,
    "rapport": ours.engine,
    "rapport-page": ours.page,
}
_YARDSTICK = ("generate", 1)
_WARM_UP = 16  # tokens; the page takes no fewer
Key = tuple[str, int]  # engine, streams


class Bench:
    """One run: what was measured, skipped or went wrong so far, for each engine and number of streams."""

    def __init__(self, subject: Subject, streams: Sequence[int], new_tokens: int):
        self.subject, self.streams, self.new_tokens = subject, streams, new_tokens
        self.taken: dict[Key, list[dict[str, float]]] = {}
        self.unmeasured: dict[Key, dict[str, str]] = {}

    def turn(self, name: str) -> None:
        """Measure an engine once at every number of streams, in a process of its own.

        What another engine has left in a process (threads of OpenMP above all) slows down the next one.
        """
        wanted = [n for n in self.streams if (name, n) not in self.unmeasured]
        if not wanted:
            return
        print(f"{name} ...", file=sys.stderr, flush=True)
        turn = Turn(self.subject, name, wanted, max(self.streams), self.new_tokens)
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                found = alone.submit(turn.take).result()
        except BrokenProcessPool:
            found = {n: {"error": "its process died; is there enough memory?"} for n in wanted}
        for n, figures_or_reason in found.items():
            if "tokens_per_s" in figures_or_reason:
                self.taken.setdefault((name, n), []).append(figures_or_reason)
            else:
                self.unmeasured[name, n] = figures_or_reason

    def rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return a row per engine and number of streams: medians, or why there are none."""
        medians = {key: _medians(taken) for key, taken in self.taken.items() if key not in self.unmeasured}
        yardstick = medians.get(_YARDSTICK, {}).get("tokens_per_s")
        rows = []
        for name in names:
            for streams in self.streams:
                row: dict[str, Any] = {"engine": name, "streams": streams}
                row |= medians.get((name, streams), {}) or self.unmeasured[name, streams]
                if yardstick and "tokens_per_s" in row:
                    row["ratio"] = row["tokens_per_s"] / yardstick
                rows.append(row)
        return rows


@dataclass(frozen=True)
class Turn:
    """One engine's turn, as it is sent to a process of its own."""

    subject: Subject
    name: str
    streams: Sequence[int]
    most: int
    new_tokens: int

    def take(self) -> dict[int, Any]:
        """Open the engine, warm it up, measure it; return figures, or why there are none, by number of streams."""
        quiet.set_verbosity_error()
        torch.set_num_threads(self.subject.threads)
        found: dict[int, Any] = {}
        try:
            with ENGINES[self.name](self.subject, self.most) as write:
                write(["Hello."] * min(2, max(self.streams)), _WARM_UP)
                for streams, prompts in _shares(self.streams):
                    found[streams] = self._measure(prompts, write)
        except Missing as missing:
            found |= {n: {"skipped": str(missing)} for n in self.streams if n not in found}
        # One engine that fails is a row of the table, whatever it raised.
        except Exception as error:  # noqa: BLE001
            found |= {n: {"error": _sentence(error)} for n in self.streams if n not in found}
        return found

    def _measure(self, prompts: Sequence[str], write: Write) -> dict[str, Any]:
        try:
            return figures(write(prompts, self.new_tokens), self.new_tokens)
        # As above: the engine may still serve another number of streams.
        except Exception as error:  # noqa: BLE001
            return {"error": _sentence(error)}


def _shares(streams: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    """Yield each number of streams with prompts of its own, so that no cached prompt is met again."""
    start = 0
    for n in streams:
        yield n, [PROMPTS[(start + place) % len(PROMPTS)] for place in range(n)]
        start += n


def _medians(taken: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in taken) for name in taken[0]}


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def share_of_bandwidth(subject: Subject, rows: Sequence[dict[str, Any]]) -> float:
    """Add to one-stream rows the share of what memory allows, every weight read once a token; return bytes a second."""
    rate = machine.bandwidth(subject.device)
    size = weight_bytes(subject)
    for row in rows:
        if row["streams"] == 1 and "tokens_per_s" in row:
            row["of_bandwidth"] = row["tokens_per_s"] * size / rate
    return rate


def weight_bytes(subject: Subject) -> int:
    """Return the bytes of weights that one token takes: all but an embedding of its own, of which it takes a row."""
    model = subject.load().model
    size: int = sum(each.numel() * each.element_size() for each in model.parameters())
    read = model.get_input_embeddings().weight
    tied = read is model.get_output_embeddings().weight
    return size if tied else size - int(read.numel() * read.element_size())


def bench(subject: Subject, names: Sequence[str], streams: Sequence[int], repeats: int, new_tokens: int) -> Any:
    """Measure and return {"machine": ..., "rows": [...]}."""
    run = Bench(subject, streams, new_tokens)
    for repeat in range(repeats):
        for name in names if repeat % 2 == 0 else reversed(names):
            run.turn(name)
    rows = run.rows(names)
    about = machine.facts(subject.device, subject.threads)
    about |= {"shape": subject.shape, "generate_dtype": str(subject.plain_dtype).removeprefix("torch.")}
    about |= {"new_tokens": new_tokens, "repeats": repeats}
    if subject.shape == "8B" and 1 in streams:
        about["memory_bytes_per_s"] = share_of_bandwidth(subject, rows)
    return {"machine": about, "rows": rows}


def table(result: dict[str, Any]) -> str:
    """Lay the result out for a terminal."""
    about = result["machine"]
    lines = [
        f"{about['shape']} on {about['device']}, {about['cpu']} ({' '.join(about['cpu_flags'])}), "
        f"{about['threads']} threads, torch {about['torch']}, generate in {about['generate_dtype']}, "
        f"{about['new_tokens']} tokens a reply, medians of {about['repeats']}",
        f"{'engine':<20}{'streams':>8}{'tokens/s':>10}{'ratio':>7}{'ttft p50':>10}{'ttft max':>10}{'gap max':>9}",
    ]
    return "\n".join([*lines, *map(_line, result["rows"])])


def _line(row: dict[str, Any]) -> str:
    start = f"{row['engine']:<20}{row['streams']:>8}"
    if "tokens_per_s" not in row:
        return f"{start}  " + (f"skipped: {row['skipped']}" if "skipped" in row else f"failed: {row['error']}")
    ratio = f"{row['ratio']:>7.2f}" if "ratio" in row else f"{'':>7}"
    line = f"{start}{row['tokens_per_s']:>10.1f}{ratio}{row['ttft_p50']:>10.3f}{row['ttft_max']:>10.3f}"
    line += f"{row['gap_max']:>9.3f}"
    if row["engine"] == "rapport-page":
        line += f"  at least {row['updates_per_s']:.1f} updates/s a stream"
    if "of_bandwidth" in row:
        line += f"  {row['of_bandwidth']:.0%} of what memory allows"
    return line


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="How fast replies are written, by Rapport and by others.")
    parser.add_argument("--only", default=",".join(ENGINES), help="engines between commas (default: all)")
    parser.add_argument("--streams", default="1,8,32", help="numbers of readers at once (default: 1,8,32)")
    parser.add_argument(
        "--shape", choices=SHAPES, default=STARTER_SHAPE, help="the starter, or random weights of a size"
    )
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)  # another folder than the starter's, for tests
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [name for name in names if name not in ENGINES]:
        print(f"--only {','.join(unknown)!r} is not known; {', '.join(ENGINES)} are.", file=sys.stderr)
        return 2
    quiet.set_verbosity_error()
    subject = Subject(arguments.model or starter_folder(), arguments.shape, arguments.threads)
    streams = [int(n) for n in arguments.streams.split(",")]
    result = bench(subject, names, streams, arguments.repeats, arguments.new_tokens)
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
