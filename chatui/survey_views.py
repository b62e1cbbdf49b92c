"""What the Feedback part is given to draw: what people think of replies, as numbers, plots and files."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from chatui.charts import shares_by_name, shares_over_time
from chatui.personas import known_personas
from chatui.words import words
from feedback.errors import BadInput
from feedback.insight import IMPORTED, Share, Survey
from feedback.schema import now
from feedback.store import Store

PERIODS = {"month": 30, "quarter": 91, "year": 365, "ever": None}  # days
_DAILY = 31  # days; of longer periods weeks are drawn


class SurveyViews:
    """Draws what people think; every one of these costs a query over the record."""

    def __init__(self, store: Store):
        """Draw `store`."""
        self.store = store

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

    def _persona_names(self, language: str) -> Callable[[str], str]:
        names = {"": words(language)["persona_none"]}
        names |= {line["id"]: line["name"] for line in known_personas(self.store, language)}
        return lambda key: names.get(key, key)


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
