"""What the Runs part is given to draw, and what the page's timer sends: plain values made of the record.

`learning_now` is what the timer asks for, and stays cheap; all else is asked for when it is looked at.
"""

import time
from datetime import datetime
from typing import Any

from chatui.charts import curves
from chatui.needs import Learner
from chatui.survey_views import SurveyViews
from chatui.version_views import VersionViews, figures_told, trial_told, version_told
from chatui.words import words
from feedback.records import RunLine
from feedback.store import Store

_RUNS = 30  # lines of the list
LOG_LINES = 200


class LearningViews(SurveyViews, VersionViews):
    """Draws what was learned, and what people think of it."""

    def __init__(self, store: Store, learner: Learner):
        """Draw `store`, with what `learner` knows of the next run."""
        super().__init__(store)
        self.learner = learner
        self._kept: tuple[float, dict[str, Any]] = (float("-inf"), {})

    def learning_now(self, fresh: bool = True) -> dict[str, Any]:
        """Return the runs and what serves; unless `fresh`, up to a second old."""
        at, kept = self._kept
        if not fresh and time.monotonic() - at < 1.0:
            return kept
        runs, versions = self.store.runs(limit=_RUNS), self.store.versions()
        found = {
            "outlook": self.learner.outlook(),
            "busy": bool(runs) and runs[0].finished_at is None,
            "runs": [run_told(run) for run in runs],
            "versions": [version_told(v) for v in reversed(versions)],
            "trial": trial_told(self.store.trial()),
            "can_roll_back": self.store.can_roll_back(),
        }
        self._kept = time.monotonic(), found
        return found

    def learning(self) -> dict[str, Any]:
        """Return all of that, and how much was said and rated."""
        return {**self.learning_now(), "counts": self.store.stats()}

    def run_told(self, run_id: int) -> dict[str, Any]:
        """Return a run's states with their times, the gate's figures, and the end of its log. Raises NotFound."""
        diary = self.store.run_diary(run_id)
        made = None if diary.line.version is None else self.store.version(diary.line.version)
        return {
            **run_told(diary.line),
            "events": [{"status": s, "reason": why, "at": at.isoformat()} for s, why, at in diary.events],
            "figures": figures_told(made.metrics) if made else [],
            "log": self.learner.log_tail(run_id, LOG_LINES),
        }

    def run_curve(self, run_id: int, language: str) -> Any:
        """Draw a run's losses; None while there are none. Raises NotFound."""
        found, say = self.store.run_diary(run_id).curves, words(language)
        return curves(say["plot_loss"].format(n=run_id), say["plot_loss_about"], found, say) if found else None


def run_told(run: RunLine) -> dict[str, Any]:
    """Return one run as the page draws it."""
    return {
        "id": run.id,
        "status": run.status,
        "reason": run.reason,
        "step": run.step,
        "total": run.total,
        "loss": run.metrics.get("loss"),
        "tokens_per_s": run.metrics.get("tokens_per_s"),
        "seconds_left": run.metrics.get("seconds_left"),
        "version": run.version,
        "attempts": run.attempts,
        "cancel_asked": run.cancel_asked is not None,
        "began": run.created_at.isoformat(),
        "ended": _time(run.finished_at),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
