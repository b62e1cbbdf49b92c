"""`GET /metrics`: figures in Prometheus' text format, for whatever watches the app from outside.

Open to whoever reaches the page, as `/health` is: figures of the whole app, none of a person, no text.
"""

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chatui.engine.protocol import Engine
from chatui.meter import Meter
from feedback.schema import now
from feedback.store import Store
from feedback.tally import Tally

log = logging.getLogger("rapport.metrics")
_GOOD_FOR_S = 5.0  # asked more often, the record's last figures are given again


class Watched(Collector):
    """Figures that are read when they are asked for: the queue, the engine, the record, the disk."""

    def __init__(self, store: Store, engine: Engine, meter: Meter, data_dir: Path):
        """Read `store`, `engine` and `meter`, and how full the disk of `data_dir` is."""
        self._store, self._engine, self._meter, self._data_dir = store, engine, meter, data_dir
        self._lock = threading.Lock()
        self._last: tuple[float, Tally | None, dict[int, float]] = (float("-inf"), None, {})

    def describe(self) -> list[Metric]:
        """Name nothing beforehand, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every figure; those of the record only where it can be read."""
        waiting, running = self._meter.queue()
        yield _gauge("rapport_replies_waiting", "Replies that wait for their turn.", waiting)
        yield _gauge("rapport_replies_running", "Replies being written.", running)
        ready = self._engine.state().phase == "ready"
        yield _gauge("rapport_engine_ready", "1 if replies can be written, else 0.", int(ready))
        tally, shares = self._read()
        yield _gauge("rapport_record_up", "1 if the record can be read, else 0.", int(tally is not None))
        if tally is not None:
            yield from _of_feedback(tally)
            yield from _of_runs(tally)
            yield from _of_versions(tally, shares)
            yield _gauge("rapport_conversations", "Conversations of the record.", tally.size.conversations)
            yield _gauge("rapport_messages", "Messages of the record.", tally.size.messages)
            yield _gauge("rapport_record_bytes", "Size of the record's database.", tally.size.bytes)
        if self._data_dir.exists():
            free = shutil.disk_usage(self._data_dir).free
            yield _gauge("rapport_disk_free_bytes", "Free space on the disk of the data dir.", free)

    def _read(self) -> tuple[Tally | None, dict[int, float]]:
        with self._lock:
            at, tally, shares = self._last
            if time.monotonic() - at > _GOOD_FOR_S:
                try:
                    serving = self._store.serving()
                    tally, shares = self._store.tally(), serving.shares if serving else {}
                # Whatever keeps the record from being read, the figures that say so must still be told.
                except Exception:
                    log.exception("The record could not be counted.")
                    tally, shares = None, {}
                self._last = time.monotonic(), tally, shares
            return tally, shares


class Metrics:
    """Answers `/metrics` itself; all else goes through."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry):
        """Wrap an application; `registry` holds what is told."""
        self.app, self._registry = app, registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http" or scope["path"].rstrip("/") != "/metrics":
            await self.app(scope, receive, send)
            return
        text = await run_in_threadpool(generate_latest, self._registry)
        await Response(text, media_type=CONTENT_TYPE_LATEST)(scope, receive, send)


def middleware(registry: CollectorRegistry) -> list[Middleware]:
    """Return what is handed to the server at launch."""
    return [Middleware(Metrics, registry=registry)]


def watch(store: Store, engine: Engine, meter: Meter, data_dir: Path) -> CollectorRegistry:
    """Add what is read at scrape time to the meter's counters; return all of it."""
    meter.registry.register(Watched(store, engine, meter, data_dir))
    return meter.registry


def _of_feedback(tally: Tally) -> Iterator[Metric]:
    ratings = GaugeMetricFamily("rapport_ratings", "Thumbs in force, by value.", labels=["value"])
    ratings.add_metric(["up"], tally.thumbs_up)
    ratings.add_metric(["down"], tally.thumbs_down)
    yield ratings
    changes = "Ratings given, changed or taken back, reasons and comments too."
    yield CounterMetricFamily("rapport_rating_changes", changes, value=tally.rating_changes)
    yield CounterMetricFamily("rapport_corrections", "Corrections made or taken back.", value=tally.corrections)


def _of_runs(tally: Tally) -> Iterator[Metric]:
    runs = GaugeMetricFamily("rapport_runs", "Runs, by status.", labels=["status"])
    for status, count in tally.runs.items():
        runs.add_metric([status], count)
    yield runs
    run = tally.open_run
    if run is not None:
        age = max(0.0, (now() - run.heartbeat_at).total_seconds())
        yield _gauge("rapport_run_step", "Step of the run that goes on.", run.step)
        yield _gauge("rapport_run_steps", "Steps that the run that goes on will take; 0: not known yet.", run.total)
        yield _gauge("rapport_run_heartbeat_age_seconds", "Seconds since the run that goes on was heard of.", age)


def _of_versions(tally: Tally, shares: dict[int, float]) -> Iterator[Metric]:
    share = GaugeMetricFamily("rapport_version_share", "Share of new conversations, by version.", labels=["version"])
    for version, part in sorted(shares.items()):
        share.add_metric([str(version)], part)
    yield share
    if tally.newest_version is not None:
        yield _gauge("rapport_newest_version", "Number of the newest version.", tally.newest_version)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=value)
