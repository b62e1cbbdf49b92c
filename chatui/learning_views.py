"""What the parts of the Learning view are given to draw: plain values made of the record.

`learning_now` is what a timer asks for, and stays cheap; all else costs a query over the record, and is asked for when
a part is opened.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from chatui.charts import curves, shares_by_name, shares_over_time
from chatui.needs import Learner
from chatui.personas import known_personas
from chatui.words import words
from feedback.errors import BadInput
from feedback.insight import IMPORTED, Share, Survey
from feedback.records import RunLine, VersionLine
from feedback.schema import now
from feedback.store import Store

PERIODS = {"month": 30, "quarter": 91, "year": 365, "ever": None}  # days
_DAILY = 31  # days; of longer periods weeks are drawn
_RUNS = 30  # lines of the list
LOG_LINES = 200


class LearningViews:
    """Draws what was learned, and what people think of it."""

    def __init__(self, store: Store, learner: Learner):
        """Draw `store`, with what `learner` knows of the next run."""
        self.store, self.learner = store, learner
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
            "can_roll_back": self.store.can_roll_back(),
        }
        self._kept = time.monotonic(), found
        return found

    def learning(self) -> dict[str, Any]:
        """Return all of that, and how much was said and rated."""
        return {**self.learning_now(), "counts": self.store.stats()}

    def survey(self, look: Mapping[str, Any]) -> Survey:
        """Count what people think over the period that the page looks at. Raises BadInput."""
        period = look.get("period") or "quarter"
        if period not in PERIODS:
            raise BadInput(f"The period {period!r} is not known; {', '.join(PERIODS)} are.")
        days = PERIODS[period]
        since = now() - timedelta(days=days) if days else None
        return self.store.survey(since, "day" if days and days <= _DAILY else "week")

    def survey_told(self, survey: Survey, language: str) -> dict[str, Any]:
        """Return the numbers of a survey, under the names that the reader knows."""
        named = self._persona_names(language)
        return {
            "total": _share(survey.total),
            "corrected": _share(survey.corrected),
            "asked": _share(survey.asked),
            "corrected_personas": [_share(s, named(s.name)) for s in survey.corrected_personas],
            "corrected_versions": [_share(s, _version_name(s.name, language)) for s in survey.corrected_versions],
            "openings": [list(line) for line in survey.openings],
            "questions": survey.questions,
            "at": survey.at.isoformat(),
        }

    def survey_plots(self, survey: Survey, language: str) -> list[Any]:
        """Draw a survey: over time, by version, by persona, by reason of thumbs down and up."""
        say = words(language)
        by = "plot_over_days" if survey.step == "day" else "plot_over_weeks"

        def reason(name: str) -> str:
            return say.get(f"reason_{name}", name)

        def version(name: str) -> str:
            return _version_name(name, language)

        return [
            shares_over_time(say[by], say["plot_over_about"], survey.over_time, say),
            shares_by_name(say["plot_versions"], say["plot_share_about"], survey.versions, say, version),
            shares_by_name(
                say["plot_personas"], say["plot_share_about"], survey.personas, say, self._persona_names(language)
            ),
            shares_by_name(say["plot_down"], say["plot_down_about"], survey.reasons_down, say, reason, "down"),
            shares_by_name(say["plot_up"], say["plot_up_about"], survey.reasons_up, say, reason),
        ]

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

    def _persona_names(self, language: str) -> Any:
        names = {"": words(language)["persona_none"]}
        names |= {line["id"]: line["name"] for line in known_personas(self.store, language)}
        return lambda key: names.get(key, key)


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


def version_told(version: VersionLine) -> dict[str, Any]:
    """Return one version as the page draws it."""
    return {
        "number": version.number,
        "verdict": version.verdict,
        "reason": version.reason,
        "share": version.share,
        "run": version.run_id,
        "made": version.created_at.isoformat(),
    }


def figures_told(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the gate's figures, see docs/gate.md: of what served, of the version, and how much better that is."""
    changes = metrics.get("changes") or {}
    return [
        {
            "name": name,
            "serving": _estimate(sides.get("serving")),
            "candidate": _estimate(sides.get("candidate")),
            "change": _estimate(changes.get(name)),
            "decides": name == metrics.get("decided_by"),
        }
        for name, sides in (metrics.get("measures") or {}).items()
    ]


def survey_file(survey: Survey, kind: str) -> dict[str, str]:
    """Return what a survey counted as a file's name and text: CSV or JSON. Raises BadInput."""
    if kind not in ("csv", "json"):
        raise BadInput(f"The kind {kind!r} is not known; csv and json are.")
    lines = [
        {"by": by, "name": s.name, "part": s.part, "whole": s.whole, "share": s.share, "low": s.interval[0],
         "high": s.interval[1], "enough": s.enough}
        for by, shares in _tables(survey).items()
        for s in shares
    ]  # fmt: skip
    text = json.dumps(lines, ensure_ascii=False, indent=1) + "\n" if kind == "json" else _csv(lines)
    return {"name": f"feedback-{survey.at:%Y-%m-%d}.{kind}", "text": text}


def _tables(survey: Survey) -> dict[str, Sequence[Share]]:
    return {
        "all": [survey.total],
        survey.step: survey.over_time,
        "version": survey.versions,
        "persona": survey.personas,
        "reason_up": survey.reasons_up,
        "reason_down": survey.reasons_down,
        "corrected": [survey.corrected],
        "corrected_version": survey.corrected_versions,
        "corrected_persona": survey.corrected_personas,
        "asked_at_random": [survey.asked],
    }


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        if isinstance(value, str) and text[:1] in "=+-@\t\r":
            text = "'" + text  # a name that somebody gave must not become a formula of a spreadsheet
        return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text

    return "".join(",".join(map(cell, row)) + "\r\n" for row in [list(lines[0]), *(line.values() for line in lines)])


def _share(share: Share, name: str = "") -> dict[str, Any]:
    low, high = share.interval
    return {"name": name, "part": share.part, "n": share.whole, "share": share.share, "low": low, "high": high,
            "enough": share.enough}  # fmt: skip


def _version_name(name: str, language: str) -> str:
    say = words(language)
    return say["imported"] if name == IMPORTED else say["base"] if name == "0" else say["version"].format(n=name)


def _estimate(one: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {key: _number(one.get(key)) for key in ("mean", "low", "high")} if one else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
