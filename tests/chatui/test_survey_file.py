"""The Feedback part's numbers as a file: what the page shows, under the names that it shows."""

import csv
import io
import json

import pytest

from chatui.survey_views import SurveyViews
from feedback.errors import BadInput
from feedback.records import Opening
from feedback.store import Store
from tests.feedback.talk import answer, ask


@pytest.fixture
def told(store: Store) -> Store:
    """A record with a thumb under a persona of one's own, and one that was corrected."""
    own = store.keep_persona("小助手", "Be brief.", {})
    for persona, question, value in ((own, "How do I cook rice?", -1), ("tutor", "What is it?", 1), ("", "Hi", 1)):
        conversation = store.new_conversation(opening=Opening(persona))
        reply = answer(store, ask(store, question, conversation))
        store.rate(reply, value, ["太长"] if value < 0 else ["clear"])
        if value < 0:
            store.correct(reply, "Boil it.")
    return store


def lines(store: Store, kind: str = "json", language: str = "en") -> list[dict[str, object]]:
    views = SurveyViews(store)
    text = views.survey_file(views.survey({}), kind, language)["text"]
    if kind == "json":
        return list(json.loads(text))
    return [dict(row) for row in csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))]


def named(store: Store, by: str, language: str = "en") -> set[object]:
    return {line["name"] for line in lines(store, language=language) if line["by"] == by}


def test_names_are_those_that_the_page_shows(told: Store) -> None:
    assert named(told, "persona") == {"小助手", "Tutor", "No persona"}
    assert named(told, "corrected_persona") == {"小助手", "Tutor", "No persona"}
    assert named(told, "version") == named(told, "corrected_version") == {"base model"}
    assert (named(told, "reason_up"), named(told, "reason_down")) == ({"Clear"}, {"太长"})
    assert named(told, "persona", "zh") == {"小助手", "辅导老师", "无角色"}
    assert named(told, "version", "zh") == {"基础模型"}


def test_a_persona_that_was_deleted_keeps_its_name(told: Store) -> None:
    (own,) = told.personas()
    told.drop_persona(own.id)
    assert named(told, "persona") == named(told, "corrected_persona") == {"小助手 (deleted)", "Tutor", "No persona"}
    assert "小助手（已删除）" in named(told, "persona", "zh")


def test_how_questions_begin_is_counted_in_it_as_on_the_page(told: Store) -> None:
    (line,) = [line for line in lines(told) if line["by"] == "opening"]
    assert (line["name"], line["part"], line["whole"]) == ("how do", 1, 1)
    assert (line["share"], line["low"], line["high"], line["enough"]) == (None, None, None, None)  # no rate


def test_a_csv_tells_a_spreadsheet_its_encoding_and_holds_the_same(told: Store) -> None:
    views = SurveyViews(told)
    made = views.survey_file(views.survey({}), "csv", "en")
    assert made["text"].startswith("\ufeffby,name,part,whole,share,low,high,enough\r\n")
    both = [[(row["by"], row["name"]) for row in lines(told, kind)] for kind in ("csv", "json")]
    assert both[0] == both[1]


@pytest.mark.parametrize(("kind", "language"), [("pdf", "en"), ("csv", "xx"), ("json", "../words/en")])
def test_a_kind_or_language_that_is_not_known_is_refused(told: Store, kind: str, language: str) -> None:
    with pytest.raises(BadInput, match="is not known|is not spoken here"):
        lines(told, kind, language)
