"""Starts runs beside the app or without it: when one is due, when somebody asks, and again when one was cut off."""

import json
import logging
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

from feedback.errors import Busy
from feedback.records import RunLine
from feedback.schema import LOCAL, now
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import side_by_side, trials
from finetune.lock import dead_run
from finetune.log_file import tail
from finetune.machine import machine_now
from finetune.process import start_retrain
from finetune.schedule import Due, due, hindrance, record_now, require_feedback
from finetune.settings import ScheduleSettings, TrainSettings

log = logging.getLogger("rapport.schedule")
_LOOK_S = 10.0
_FRESH_S = 2.0
_AGAIN_S = 60.0  # a process that ends at once must not be started again and again


class Scheduler:
    """Asks every few seconds whether a run is due, and does what the page asks of learning (its `needs.Learner`)."""

    def __init__(self, store: Store, data: DataSettings, train: TrainSettings, schedule: ScheduleSettings):
        """Look at `store`; runs get `train`."""
        self.store, self.data, self.train, self.schedule = store, data, train, schedule
        self._process: subprocess.Popen[bytes] | None = None
        self._outlook, self._looked_at = "", float("-inf")
        self._before: RunLine | None = None  # the newest run before the one that was started here
        self._again_at = float("-inf")
        self._closing = threading.Event()
        self._starting = threading.Lock()

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        threading.Thread(target=self.run, name="schedule", daemon=True).start()

    def close(self) -> None:
        """Look no more; a run under way goes on."""
        self._closing.set()

    def retrain(self) -> str:
        """Start a run now, or go on with one that was cut off.

        Raises Busy while one is under way, NotEnough with nothing to learn from.
        """
        with self._starting:
            dead = None if self.alive() else dead_run(self.store, self.data)
            runs = self.store.runs(limit=1)
            if self.alive() or (dead is None and runs and runs[0].finished_at is None):
                raise Busy("A run is under way; wait for its end.")
            if dead is None:
                require_feedback(self.store, None)
            self._before = runs[0] if runs else None
            self._again_at = time.monotonic() + _AGAIN_S
            self._process = start_retrain(self.data, self.train, self.schedule)
            self._looked_at = float("-inf")
        return _taken_up(dead) if dead else "A run starts."

    def cancel(self, run_id: int, person: str = LOCAL) -> str:
        """Ask for a run's end; return one sentence about it. Raises NotFound, BadInput once it has ended."""
        self.store.ask_cancel(run_id, person)
        if not self.alive():
            dead_run(self.store, self.data)  # which ends it at once if no process is at it
        ended = self.store.run_diary(run_id).line.finished_at is not None
        return f"Run {run_id} is cancelled." if ended else f"Run {run_id} ends within seconds, as soon as it looks."

    def log_tail(self, run_id: int, lines: int = 50) -> list[str]:
        """Return the last lines of a run's log, none while it has none. Raises NotFound."""
        self.store.run_diary(run_id)
        return tail(self.data.runs_dir / str(run_id) / "log.txt", lines)

    def outlook(self) -> str:
        """Say why no run is under way, or when the next one comes; at most two seconds old."""
        if self.alive() and self._nothing_new() and (self._before is None or self._before.finished_at):
            return "A run starts."
        if time.monotonic() - self._looked_at > _FRESH_S:
            self._outlook, self._looked_at = self._answer().reason, time.monotonic()
        return self._outlook

    def trial_rule(self) -> dict[str, Any]:
        """Return the rule of a trial that begins now."""
        return trials.trial_rule(self.train)

    def compare_versions(self, one: int, other: int, prompts: Sequence[str]) -> str:
        """Let two versions reply to the same prompts, in a process of its own; return the comparison's id.

        Raises NotFound, BadInput, and Busy during another.
        """
        return side_by_side.start(self.store, self.data, (one, other), prompts, side_by_side.Manner())

    def comparison(self) -> dict[str, Any] | None:
        """Return the newest comparison as far as it is, None before the first."""
        newest = side_by_side.newest(self.data)
        return side_by_side.result(self.data, newest) if newest else None

    def look(self) -> str:
        """Look once: go on with a run that was cut off, start one that is due; say why (not). Decide a trial, too."""
        try:
            trials.look(self.store, now())
        # Whatever is wrong with a trial, runs go on: nobody may be there to end it.
        except Exception:
            log.exception("The trial could not be looked at.")
        answer = self._answer()
        if answer.due:
            log.info("%s", answer.reason)
            self.retrain()
        return answer.reason

    def run(self) -> None:
        """Look every few seconds until it is closed."""
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

    def wait(self) -> int:
        """Wait for the run that was started here, if any; return its exit code, 0 if there is none."""
        return self._process.wait() if self._process else 0

    def alive(self) -> bool:
        """Tell whether a run that was started here is still under way."""
        return self._process is not None and self._process.poll() is None

    def _answer(self) -> Due:
        """Decide whether a run is to be started, or taken up, now; what came to nothing a moment ago waits a little."""
        machine = machine_now(self.data, self.schedule)
        dead = None if self.alive() else dead_run(self.store, self.data)
        if dead is not None:
            answer = _again(dead, hindrance(now(), self.schedule, machine))
        else:
            answer = due(now(), record_now(self.store, self.schedule.retrain_min_ratings), self.schedule, machine)
        trouble = self._trouble()
        rests = bool(dead or trouble) and time.monotonic() < self._again_at
        return Due(answer.due and not rests, f"{trouble} {answer.reason}".lstrip())

    def _trouble(self) -> str:
        """Say why the process that was started here ended before it had a run; empty if it has one, or goes on."""
        if self.alive() or not self.wait() or not self._nothing_new():
            return ""
        lines = tail(self.data.data_dir / "retrain.log", 1)
        return f"A run ended before it began: {_reason_in(lines[0]) if lines else 'see retrain.log.'}"

    def _nothing_new(self) -> bool:
        """Tell whether no run was begun or taken up since one was started here."""
        newest, before = self.store.runs(limit=1), self._before
        if before is None or not newest:
            return not newest
        return all(getattr(newest[0], name) == getattr(before, name) for name in ("id", "attempts", "finished_at"))


def _taken_up(dead: RunLine) -> str:
    return f"Run {dead.id} was cut off; it is taken up again."


def _again(dead: RunLine, wait: str) -> Due:
    return Due(not wait, f"Run {dead.id} was cut off. {wait}" if wait else _taken_up(dead))


def _reason_in(line: str) -> str:
    """Return the reason in a run's last line, which is one object of JSON unless the process broke off earlier."""
    try:
        told = json.loads(line)
    except ValueError:
        told = None
    reason = str(told.get("reason") if isinstance(told, dict) else line).strip()
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."
