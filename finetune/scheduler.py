"""Starts runs beside the app: by itself when one is due, or at once when somebody asks."""

import logging
import subprocess
import threading
import time

from feedback.errors import Busy
from feedback.schema import now
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import trials
from finetune.lock import declare_dead_runs
from finetune.process import start_retrain
from finetune.schedule import due, record_now, require_feedback
from finetune.settings import ScheduleSettings, TrainSettings

log = logging.getLogger("rapport.schedule")
_LOOK_S = 10.0
_FRESH_S = 2.0


class Scheduler:
    """Asks every few seconds whether a run is due; `retrain` and `outlook` are what the page needs of it."""

    def __init__(self, store: Store, data: DataSettings, train: TrainSettings, schedule: ScheduleSettings):
        """Look at `store`; runs get `train`."""
        self.store, self.data, self.train, self.schedule = store, data, train, schedule
        self._process: subprocess.Popen[bytes] | None = None
        self._outlook, self._looked_at = "", float("-inf")
        self._after = 0  # the newest run before the one that was started here
        self._closing = threading.Event()
        self._starting = threading.Lock()

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        threading.Thread(target=self._run, name="schedule", daemon=True).start()

    def close(self) -> None:
        """Look no more; a run under way goes on."""
        self._closing.set()

    def retrain(self) -> str:
        """Start a run now. Raises Busy while one is under way, NotEnough with nothing to learn from."""
        with self._starting:
            runs = self.store.runs(limit=1)
            if self._alive() or (runs and runs[0].finished_at is None):
                raise Busy("A run is under way; wait for its end.")
            require_feedback(self.store, None)
            self._after = runs[0].id if runs else 0
            self._process = start_retrain(self.data, self.train)
            self._looked_at = 0.0
        return "A run starts."

    def outlook(self) -> str:
        """Say why no run is under way, or when the next one comes; at most two seconds old."""
        newest = self.store.runs(limit=1)
        if self._alive() and (newest[0].id if newest else 0) == self._after:
            return "A run starts."
        if time.monotonic() - self._looked_at > _FRESH_S:
            self._outlook = due(now(), record_now(self.store), self.schedule).reason
            self._looked_at = time.monotonic()
        return self._outlook

    def look(self) -> None:
        """Look once: decide a trial, declare dead runs failed, start a run that is due."""
        trials.look(self.store, now())
        if not self._alive():
            declare_dead_runs(self.store, self.data)
        answer = due(now(), record_now(self.store), self.schedule)
        if answer.due:
            log.info("%s", answer.reason)
            self.retrain()

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Busy:
                pass  # somebody asked for one just now
            # A locked or vanished database must not end the schedule: the next look may succeed.
            except Exception:
                log.exception("The schedule could not look.")
            if self._closing.wait(_LOOK_S):
                return
