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
        named = self._names(language)
        return {
            "total": _share(survey.total),
            "corrected": _share(survey.corrected),
            "asked": _share(survey.asked),
            "corrected_personas": [_share(s, named["persona"](s.name)) for s in survey.corrected_personas],
            "corrected_versions": [_share(s, named["version"](s.name)) for s in survey.corrected_versions],
            "openings": [list(line) for line in survey.openings],
            "questions": survey.questions,
            "at": survey.at.isoformat(),
        }

    def survey_plots(self, survey: Survey, language: str) -> list[Any]:
        """Draw a survey: over time, by version, by persona, by reason of thumbs down and up."""
        say, named = words(language), self._names(language)
        by = "plot_over_days" if survey.step == "day" else "plot_over_weeks"
        return [
            shares_over_time(say[by], say["plot_over_about"], survey.over_time, say),
            shares_by_name(say["plot_versions"], say["plot_share_about"], survey.versions, say, named["version"]),
            shares_by_name(say["plot_personas"], say["plot_share_about"], survey.personas, say, named["persona"]),
            shares_by_name(say["plot_down"], say["plot_down_about"], survey.reasons_down, say, named["reason"], "down"),
            shares_by_name(say["plot_up"], say["plot_up_about"], survey.reasons_up, say, named["reason"]),
        ]

    def survey_file(self, survey: Survey, kind: str, language: str) -> dict[str, str]:
        """Return a survey as a file's name and text, CSV or JSON, under the names that the reader knows.

        Raises BadInput for a kind, and for a language.
        """
        if kind not in ("csv", "json"):
            raise BadInput(f"The kind {kind!r} is not known; csv and json are.")
        lines = _lines(survey, self._names(language))
        text = json.dumps(lines, ensure_ascii=False, indent=1) + "\n" if kind == "json" else _csv(lines)
        return {"name": f"feedback-{survey.at:%Y-%m-%d}.{kind}", "text": text}

    def _names(self, language: str) -> dict[str, Callable[[str], str]]:
        """Return how versions, personas and reasons are called. Raises BadInput for a language."""
        personas = {line["id"]: line["name"] for line in known_personas(self.store, language)}
        say = words(language)
        personas[""] = say["persona_none"]
        return {
            "version": lambda name: _version_name(name, say),
            "persona": lambda name: personas.get(name) or self._dropped(name, say),
            "reason": lambda name: say.get(f"reason_{name}", name),
        }

    def _dropped(self, kept: str, say: Mapping[str, str]) -> str:
        """Call a persona by the name that it had; an imported conversation may hold a name that was never kept here."""
        persona = self.store.persona(kept)
        return say["persona_dropped"].format(name=persona.name) if persona else kept


def _lines(survey: Survey, named: Mapping[str, Callable[[str], str]]) -> list[dict[str, Any]]:
    tables: list[tuple[str, str, Sequence[Share]]] = [
        ("all", "", [survey.total]),
        (survey.step, "", survey.over_time),
        ("version", "version", survey.versions),
        ("persona", "persona", survey.personas),
        ("reason_up", "reason", survey.reasons_up),
        ("reason_down", "reason", survey.reasons_down),
        ("corrected", "", [survey.corrected]),
        ("corrected_version", "version", survey.corrected_versions),
        ("corrected_persona", "persona", survey.corrected_personas),
        ("asked_at_random", "", [survey.asked]),
    ]
    lines = [
        {"by": by, "name": named[what](s.name) if what else s.name, "part": s.part, "whole": s.whole,
         "share": s.share, "low": s.interval[0], "high": s.interval[1], "enough": s.enough}
        for by, what, shares in tables
        for s in shares
    ]  # fmt: skip
    rate = dict.fromkeys(("share", "low", "high", "enough"))  # of how questions begin there is none
    return lines + [
        {"by": "opening", "name": begins, "part": n, "whole": survey.questions, **rate} for begins, n in survey.openings
    ]


def _csv(lines: Sequence[Mapping[str, Any]]) -> str:
    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        if isinstance(value, str) and text.startswith(tuple("=+-@\t\r")):
            text = "'" + text  # a name that somebody gave must not become a formula of a spreadsheet
        return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text

    rows = [list(lines[0]), *(line.values() for line in lines)]
    # Excel takes a file without this mark for one of its own old encodings.
    return "\ufeff" + "".join(",".join(map(cell, row)) + "\r\n" for row in rows)


def _share(share: Share, name: str = "") -> dict[str, Any]:
    low, high = share.interval
    return {"name": name, "part": share.part, "n": share.whole, "share": share.share, "low": low, "high": high,
            "enough": share.enough}  # fmt: skip


def _version_name(name: str, say: Mapping[str, str]) -> str:
    return say["imported"] if name == IMPORTED else say["base"] if name == "0" else say["version"].format(n=name)
