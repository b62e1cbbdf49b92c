"""Hostile requests among honest streams: do the honest ones end as they would alone?

`make proof-hostile`, or `bench/hostile.py [--requests 1000] [--streams 8] [--new-tokens 48] [--json FILE]`; `--tiny`
takes the tiny model of the tests instead of the starter. Exits 1 if a target is missed. A request may be refused with
one sentence, be told that the engine is busy, or be written; nothing else, and what cannot be meant must be refused.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.fed_back import Reply, ask, evenly, near_best, spelled
from bench.hostile_requests import MUST_BE_REFUSED, Request, requests
from bench.prompts import PROMPTS
from bench.subject import starter_folder
from bench.targets import Figure, none_of, report, share
from chatui.engine.local import LocalEngine
from chatui.engine.protocol import Engine, EngineBusy, EngineError, Sampling
from finetune.model import load_base
from tests.tiny import make_tiny

_ATTACKERS = 8  # threads that send hostile requests
_HANGS_S = 600.0


def send(engine: Engine, request: Request) -> str:
    """Send one hostile request; say in a word or two how it ended."""
    try:
        generation = engine.begin(request.messages, request.sampling)
        if request.manner == "forget":
            return "forgotten"
        if request.manner == "cancel":
            generation.cancel()
        for count, _ in enumerate(generation, 1):
            if request.manner == "abandon" and count == 2:
                return "abandoned"
            if request.manner == "cut" and count == 4:
                generation.cancel()
        return "written"
    except EngineBusy:
        return "busy"
    except EngineError as error:
        return "refused" if _is_one_sentence(str(error)) else f"refused by no sentence: {str(error)[:80]!r}"
    # What an attacker makes an engine raise is what this measures.
    except Exception as error:  # noqa: BLE001
        return f"broke: {type(error).__name__}: {str(error)[:80]}"


def _is_one_sentence(text: str) -> bool:
    return 0 < len(text) <= 400 and "\n" not in text and text.rstrip().endswith((".", "!", "?"))


class Crowd:
    """Honest streams that ask on and on until they are sent home."""

    def __init__(self, engine: Engine, streams: int, sampling: Sampling):
        self.replies: list[Reply] = []
        self._engine, self._sampling = engine, sampling
        self._home = threading.Event()
        self._threads = [threading.Thread(target=self._chat, args=(place,), daemon=True) for place in range(streams)]
        for thread in self._threads:
            thread.start()

    def _chat(self, place: int) -> None:
        while True:
            messages = [("user", PROMPTS[place % len(PROMPTS)])]
            self.replies.append(ask(self._engine, messages, self._sampling))
            place += len(self._threads)
            if self._home.is_set():
                return

    def go_home(self) -> int:
        """Let every stream end its reply; return how many hang."""
        self._home.set()
        return _waited_for(self._threads)


def _waited_for(threads: Sequence[threading.Thread]) -> int:
    for thread in threads:
        thread.join(_HANGS_S)
    return sum(thread.is_alive() for thread in threads)


def attack(engine: Engine, hostile: Sequence[Request]) -> tuple[Counter[tuple[str, str]], int]:
    """Send hostile requests from several threads; return how often each kind ended how, and how many threads hang."""
    ends: Counter[tuple[str, str]] = Counter()
    waiting: Iterator[Request] = iter(hostile)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                return
            end = send(engine, request)
            with lock:
                ends[request.kind, end] += 1

    threads = [threading.Thread(target=work, daemon=True) for _ in range(_ATTACKERS)]
    for thread in threads:
        thread.start()
    return ends, _waited_for(threads)


def judge(base: Path, alone: Sequence[Reply], beside: Sequence[Reply], ends: Counter[tuple[str, str]]) -> list[Figure]:
    """Judge honest replies, each fed back through the model alone in float32, and how the hostile ones ended."""
    loaded = load_base(base)
    loaded.model.float()
    by_end: Counter[str] = Counter()
    for (_, end), times in ends.items():
        by_end[end.partition(":")[0]] += times
    unsaid, broke = by_end.pop("refused by no sentence", 0), by_end.pop("broke", 0)
    accepted = sum(n for (kind, end), n in ends.items() if kind in MUST_BE_REFUSED and end not in ("refused", "busy"))
    dropped = sum(bool(reply.dropped) for reply in beside)
    of_alone, of_beside = near_best(loaded, evenly(alone)), near_best(loaded, evenly(beside))
    return [
        Figure("honest replies", len(beside)),
        none_of("honest replies dropped", dropped),
        share("tokens within 0.1 nat of the best, written alone", *of_alone, 0.0),
        share("tokens within 0.1 nat of the best, written among hostile ones", *of_beside, 0.99),
        *(Figure(f"hostile requests {end}", times) for end, times in sorted(by_end.items())),
        none_of("hostile requests that cannot be meant and were not refused", accepted),
        none_of("hostile requests refused by no sentence", unsaid),
        none_of("hostile requests that broke something", broke),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Attack, and report."""
    parser = argparse.ArgumentParser(description="Hostile requests among honest streams.")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--tiny", action="store_true", help="the tiny model of the tests instead of the starter")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    honest = Sampling(0.0, 1.0, 0, max_new_tokens=given.new_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        base = make_tiny(Path(scratch) / "tiny", context=1024) if given.tiny else starter_folder()
        engine = LocalEngine(lambda _: spelled(load_base(base)), max_streams=given.streams + _ATTACKERS)
        try:
            engine.serve({0: 1.0})
            alone = [ask(engine, [("user", prompt)], honest) for prompt in PROMPTS[: given.streams]]
            crowd = Crowd(engine, given.streams, honest)
            ends, hang = attack(engine, requests(random.Random(0), given.requests))
            hang += crowd.go_home()
            after = ask(engine, [("user", PROMPTS[0])], honest)
        finally:
            engine.close()
        for (kind, end), times in sorted(ends.items()):
            print(f"  {kind}: {end} x {times}")
        for why in sorted({reply.dropped for reply in [*crowd.replies, after] if reply.dropped}):
            print(f"Dropped: {why}", file=sys.stderr)
        figures = judge(base, alone, [*crowd.replies, after], ends)
        return report([*figures, none_of("threads that hang", hang)], given.json)


if __name__ == "__main__":
    sys.exit(main())
