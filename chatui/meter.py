"""What this process counts of the replies it writes, temporary ones too: how many, how they ended, tokens, seconds.

Counts begin at 0 with the process, as Prometheus expects of counters. No text, no id and no person is counted.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram

from chatui.engine.protocol import EngineBusy, Generation

FINISHES = ("end", "length", "stopped", "error")
_FIRST_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
_WHOLE_S = (0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1200)


class Meter:
    """Counters of replies in a registry of their own, and the replies that are being written."""

    def __init__(self) -> None:
        """Begin to count at 0."""
        # Else every counter brings a second series, of when it began.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._begun = Counter("rapport_replies_begun", "Replies begun.", registry=self.registry)
        self._refused = Counter(
            "rapport_replies_refused", "Replies refused as too many waited.", registry=self.registry
        )
        self._ended = Counter("rapport_replies_ended", "Replies ended, by how.", ["finish"], registry=self.registry)
        self._tokens = Counter(
            "rapport_tokens", "Tokens read (prompt) and written (completion).", ["kind"], registry=self.registry
        )
        self._first = Histogram(
            "rapport_first_token_seconds",
            "Seconds from a reply's beginning to its first token, waiting too.",
            buckets=_FIRST_S,
            registry=self.registry,
        )
        self._whole = Histogram(
            "rapport_reply_duration_seconds",
            "Seconds from a reply's beginning to its end.",
            buckets=_WHOLE_S,
            registry=self.registry,
        )
        for finish in FINISHES:
            self._ended.labels(finish)  # a series that is there from the start has a rate at its first event
        for kind in ("prompt", "completion"):
            self._tokens.labels(kind)
        self._lock = threading.Lock()
        self._now: dict[int, Generation] = {}

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """Count a reply that the engine refuses to begin."""
        try:
            yield
        except EngineBusy:
            self._refused.inc()
            raise

    def follow(self, generation: Generation) -> Iterator[str]:
        """Yield what a reply yields, and count it. Raises what it raises."""
        began, first, finish = time.monotonic(), True, "error"
        self._begun.inc()
        with self._lock:
            self._now[id(generation)] = generation
        try:
            for text in generation:
                if first:
                    first = False
                    self._first.observe(time.monotonic() - began)
                yield text
            finish = generation.finish or "end"
        finally:
            with self._lock:
                self._now.pop(id(generation), None)
            self._end(generation, finish, time.monotonic() - began)

    def queue(self) -> tuple[int, int]:
        """Return how many replies wait, and how many are being written."""
        with self._lock:
            now = list(self._now.values())
        waiting = sum(generation.waiting > 0 for generation in now)
        return waiting, len(now) - waiting

    def _end(self, generation: Generation, finish: str, seconds: float) -> None:
        self._ended.labels(finish if finish in FINISHES else "error").inc()
        self._whole.observe(seconds)
        self._tokens.labels("prompt").inc(max(0, generation.prompt_tokens or 0))
        self._tokens.labels("completion").inc(max(0, generation.completion_tokens or 0))
