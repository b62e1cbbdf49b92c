"""What the next turn of a long conversation costs: is what was read before read again?

`make proof-turn`, or `bench/turn.py [--before 1000] [--adds 30] [--repeats 7] [--json FILE]`; `--tiny` takes the tiny
model of the tests. Time to the first token of a turn, with all before it read by the reply before, against the same
prompt where nothing of it was read. Cold and warm take turns; the figures are medians. Exits 1 if the target is missed.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.prompts import PROMPTS
from bench.subject import starter_folder
from bench.targets import Figure, report
from chatui.engine.local import LocalEngine
from chatui.engine.protocol import Sampling
from finetune.model import load_version
from tests.tiny import make_tiny

_MOST = 0.25  # share of the cold time


def text_of(tokens: int, engine: LocalEngine, mark: int) -> str:
    """Return a text of about so many tokens that begins unlike any with another mark."""
    words = f"{mark} {mark} {mark}: " + " ".join(PROMPTS) * 40
    while (engine.tokens_in(words) or 0) > tokens:
        words = words[: -max(1, len(words) // 50)]
    return words


def first_token(engine: LocalEngine, messages: list[tuple[str, str]]) -> float:
    """Return the seconds until a reply's first token."""
    began = time.perf_counter()
    steps = iter(engine.begin(messages, Sampling(0.0, max_new_tokens=2)))
    next(steps)
    took = time.perf_counter() - began
    list(steps)
    return took


def measure(engine: LocalEngine, before: int, adds: int, repeats: int) -> list[Figure]:
    """Return the figures; every repeat has texts of its own."""
    cold, warm = [], []
    added = ("user", text_of(adds, engine, 9))
    for repeat in range(repeats + 1):
        cold_one, warm_one = (("user", text_of(before, engine, 10 + 2 * repeat + n)) for n in (0, 1))
        took_cold = first_token(engine, [cold_one, ("assistant", "Yes."), added])
        first_token(engine, [warm_one])
        took_warm = first_token(engine, [warm_one, ("assistant", "Yes."), added])
        if repeat:  # the first warms up
            cold.append(took_cold)
            warm.append(took_warm)
    ratio = statistics.median(warm) / statistics.median(cold)
    return [
        Figure("time to first token, nothing read before, s", statistics.median(cold)),
        Figure("time to first token, all before it read, s", statistics.median(warm)),
        Figure("share", ratio, f"at most {_MOST} wanted", ratio <= _MOST),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="What the next turn of a long conversation costs.")
    parser.add_argument("--before", type=int, default=1000, help="tokens of the conversation so far")
    parser.add_argument("--adds", type=int, default=30, help="tokens that the turn adds")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tiny", action="store_true", help="the tiny model of the tests instead of the starter")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        base = make_tiny(Path(scratch) / "tiny", context=4096) if given.tiny else starter_folder()
        engine = LocalEngine(lambda number, onto=None: load_version(base, None))
        try:
            engine.serve({0: 1.0})
            found = measure(engine, given.before, given.adds, given.repeats)
        finally:
            engine.close()
    return report(found, given.json)


if __name__ == "__main__":
    sys.exit(main())
