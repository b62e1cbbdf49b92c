"""A run's pulse: each second it beats in the record, hears whether it is to end, and takes its share of the cores."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch

from feedback.diary import Point
from feedback.errors import RapportError, TakenOver
from feedback.runs import cancelled_by
from feedback.store import Store
from finetune.checkpoints import State
from finetune.train import Trained

log = logging.getLogger("rapport.retrain")
BEAT_S = 1.0  # least time between two beats
POINTS = 200  # most points of a run's loss that are kept
_SPAN = 30  # beats over which speed is measured

Model = TypeVar("Model")


class Cancelled(RapportError):
    """Somebody asked for the run's end."""


class Pulse:
    """Beats for one run; whoever computes for it calls `beat` as often as it likes."""

    def __init__(self, store: Store, run_id: int, threads: int = 0, clock: Callable[[], float] = time.monotonic):
        """`threads` are the most that the run takes, 0: as many as torch has."""
        self._store, self._id, self._clock = store, run_id, clock
        self._threads = threads or torch.get_num_threads()
        self._beaten_at = float("-inf")
        self._speeds: deque[tuple[float, int, int]] = deque(maxlen=_SPAN)  # when, step, tokens
        self._drawn = -1  # the newest stretch of steps with a point on the loss curve
        self._epochs = 0  # whose figures are on the curves

    def watch(self, loaded: Model) -> Model:
        """Beat whenever a loaded model computes."""
        model: Any = getattr(loaded, "model", None)
        model.register_forward_pre_hook(lambda *_: self.beat())
        return loaded

    def beat(self, at_once: bool = False) -> None:
        """Beat if it is time. Raises Cancelled, TakenOver."""
        if at_once or self._clock() - self._beaten_at >= BEAT_S:
            self._write((), {})

    def progress(self, step: int, total: int, loss: float, state: State) -> None:
        """Tell how far training is, with speed, time left and curves. Raises Cancelled."""
        if step < total and self._clock() - self._beaten_at < BEAT_S:
            return
        self._speeds.append((self._clock(), step, state.tokens))
        metrics = {"loss": loss, **self._pace(total)}
        stretch = step * POINTS // max(total, POINTS)
        points = [Point("loss", step, loss)] if stretch > self._drawn else []
        self._drawn = max(self._drawn, stretch)
        self._write(
            [*points, *self._of_epochs(state, state.step // max(1, state.epoch))],
            {"step": step, "total": total, "metrics": metrics},
        )

    def trained(self, trained: Trained) -> None:
        """Put the figures of the last epoch on the curves. Raises Cancelled."""
        epochs = max(len(trained.validation), len(trained.general))
        self._write(self._of_epochs(trained, trained.steps // max(1, epochs)), {})

    def _pace(self, total: int) -> dict[str, float]:
        (then, begun, read), (now, step, tokens) = self._speeds[0], self._speeds[-1]
        if now <= then or step <= begun:
            return {}
        return {
            "tokens_per_s": (tokens - read) / (now - then),
            "seconds_left": (total - step) * (now - then) / (step - begun),
        }

    def _of_epochs(self, measured: State | Trained, per_epoch: int) -> list[Point]:
        found = []
        for name in ("validation", "general"):
            values: list[float] = getattr(measured, name)
            new = enumerate(values[self._epochs :], self._epochs + 1)
            found += [Point(name, epoch * per_epoch, value) for epoch, value in new]
        self._epochs = max(self._epochs, len(measured.validation), len(measured.general))
        return found

    def _write(self, points: Iterable[Point], columns: dict[str, Any]) -> None:
        self._beaten_at = self._clock()
        try:
            wanted_by = self._store.beat_run(self._id, points, **columns)
            self._share()
        except TakenOver:
            raise
        # A database that is locked or being started anew is no reason to lose hours of training.
        except Exception:
            log.exception("A beat could not be written.")
            return
        if wanted_by:
            raise Cancelled(cancelled_by(wanted_by))

    def _share(self) -> None:
        """Leave half of the cores to replies while any are being written.

        Threads of a parallel sum wait for the slowest at the end of each; where two processes want every core, each
        waits for threads that have none, and both may take ten times as long.
        """
        half = max(1, min(self._threads, cores() // 2))
        wanted = half if self._store.replies_running() else self._threads
        if torch.get_num_threads() != wanted:
            torch.set_num_threads(wanted)


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
