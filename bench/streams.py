"""What a stream of a reply is to a reader: when it was asked for, when each piece of it came."""

import statistics
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


class Missing(Exception):
    """An engine is not there to be benched; the message says what it lacks."""


class Failed(Exception):
    """An engine did not do what it was asked for."""


@dataclass
class Stream:
    """One reply as it arrived; times are seconds of `time.monotonic`, the same clock in every process here."""

    began: float
    at: list[float] = field(default_factory=list)  # when each token came, or each update that showed more text
    tokens: int = 0


def together(jobs: Sequence[Callable[[], Stream]], timeout_s: float = 3600.0) -> list[Stream]:
    """Run jobs in a thread each, all let go at once; return their streams in order. Raises the first one's error."""
    results: list[Stream | Exception | None] = [None] * len(jobs)
    gate = threading.Barrier(len(jobs))

    def run(place: int) -> None:
        try:
            gate.wait()
            results[place] = jobs[place]()
        # It is raised again in the caller's thread.
        except Exception as error:  # noqa: BLE001
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    done = []
    for result in results:
        if isinstance(result, Exception):
            raise result
        if result is None:
            raise Failed(f"a stream did not end within {timeout_s:.0f} s")
        done.append(result)
    return done


def figures(streams: Sequence[Stream], new_tokens: int) -> dict[str, float]:
    """Return tokens a second of all together, and seconds to the first token and between two. Raises Failed."""
    short = [stream.tokens for stream in streams if stream.tokens != new_tokens or not stream.at]
    if short:
        raise Failed(
            f"{len(short)} of {len(streams)} streams wrote {min(short)} to {max(short)} tokens, not {new_tokens}"
        )
    took = max(stream.at[-1] for stream in streams) - min(stream.began for stream in streams)
    first = [stream.at[0] - stream.began for stream in streams]
    return {
        "tokens_per_s": sum(stream.tokens for stream in streams) / took,
        "ttft_p50": statistics.median(first),
        "ttft_max": max(first),
        "gap_max": max(longest_gap(stream.at) for stream in streams),
        "updates_per_s": min(_rate(stream.at) for stream in streams),
    }


def longest_gap(at: Sequence[float]) -> float:
    """Return the longest time between two that follow each other; 0 with fewer than two."""
    return max((after - before for before, after in pairwise(at)), default=0.0)


def _rate(at: Sequence[float]) -> float:
    return (len(at) - 1) / (at[-1] - at[0]) if len(at) > 1 and at[-1] > at[0] else 0.0
