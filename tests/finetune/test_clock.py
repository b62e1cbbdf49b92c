from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import transformers.utils.chat_template_utils as library

import app as rapport
from chatui.settings import ChatSettings
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import checks as checking
from finetune.base import ensure_base
from finetune.checks import checks_in
from finetune.model import ChatTemplate, load_template, load_version
from tests.tiny import TEMPLATE, make_tiny

LATE, EARLY = datetime(2026, 11, 26, 23, 50), datetime(2026, 11, 27, 0, 5)
HELLO = (("user", "hello"),)


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_tiny(tmp_path_factory.mktemp("dated"))
    told = "{% set day = strftime_now('%d %B %Y') %}{{ '<|start|>system\nToday is ' + day + '.<|end|>\n' }}"
    (folder / "chat_template.jinja").write_text(told + TEMPLATE)
    return folder


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Sets the clock that templates read."""

    def set_clock(moment: datetime) -> None:
        monkeypatch.setattr(library, "datetime", type("Stopped", (), {"now": staticmethod(lambda: moment)}))

    return set_clock


def told(template: ChatTemplate) -> str:
    return template.decode(template.prompt(HELLO)).split("Today is ")[1].split(".")[0]


def test_what_is_trained_on_and_measured_is_the_same_on_another_day(dated: Path, at) -> None:
    at(LATE)
    before = load_template(dated)
    row = before.pair(HELLO, "the fox", ends=True)
    at(EARLY)
    after = load_template(dated)
    assert before.pair(HELLO, "the fox", ends=True) == after.pair(HELLO, "the fox", ends=True) == row


def test_what_was_checked_yesterday_is_known_today(
    dated: Path, at, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [(HELLO, "the fox", True)]
    at(LATE)
    with checks_in(tmp_path / "checks.db", load_template(dated), writes=True) as checks:
        (before,) = checks.of(texts)
    at(EARLY)
    monkeypatch.setattr(checking, "repeats", lambda _: pytest.fail("it is checked again"))
    with checks_in(tmp_path / "checks.db", load_template(dated), writes=True) as checks:
        assert checks.of(texts) == [before]


def test_the_chat_is_told_todays_date(
    dated: Path, at, store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data.model_copy(update={"base_model": str(dated)})
    ensure_base(data)
    monkeypatch.setattr(rapport, "LocalEngine", lambda load, *_: load)
    monkeypatch.setattr(rapport, "RemoteEngine", lambda *_, read_template, **__: read_template)
    load: Any = rapport.local_engine(store, data, ChatSettings())
    read: Any = rapport.remote_engine(store, data, ChatSettings(engine_url="http://127.0.0.1:1"))
    at(LATE)
    served = [load(0).template, read()]
    assert [told(template) for template in served] == ["26 November 2026"] * 2
    at(EARLY)
    assert [told(template) for template in served] == ["27 November 2026"] * 2


def test_a_whole_model_that_serves_is_told_todays_date(dated: Path, at, tmp_path: Path) -> None:
    (tmp_path / "001").mkdir()
    (tmp_path / "001" / "model").symlink_to(dated)
    at(LATE)
    assert told(load_version(dated, tmp_path / "001", today=True).template) == "26 November 2026"
    assert told(load_version(dated, tmp_path / "001").template) == "26 July 2024"


@pytest.mark.parametrize("form", ["%d %b %Y", "%-d.%-m.%y", "%A, %B %d, %Y", "%Y-%m-%d", "%H:%M:%S", "the %dth", ""])
def test_any_form_of_the_date_can_be_asked_for(dated: Path, at, form: str) -> None:
    template = load_template(dated)
    at(LATE)
    template.tokenizer.chat_template = "{{ strftime_now('" + form + "') }}."
    assert template.decode(template.prompt(HELLO)) == datetime(2024, 7, 26).strftime(form) + "."


@pytest.mark.parametrize(
    "written",
    [
        "{% macro day() %}{{ YEAR }}{% endmacro %}{{ day() }}",
        "{% if strftime_now is defined %}{{ YEAR }}{% endif %}",
        "\n\n  {% if messages %}\n    {{ YEAR }}{% endif %}\n",
        "   {{- YEAR }}",
        "\n{{ YEAR }}\n",
    ],
)
def test_nothing_else_of_a_template_changes(dated: Path, at, written: str) -> None:
    template = load_template(dated)
    at(LATE)
    template.tokenizer.chat_template = written.replace("YEAR", "strftime_now('%Y')")
    stopped = template.prompt(HELLO)
    template.tokenizer.chat_template = written.replace("YEAR", "'2024'")
    assert stopped == template.prompt(HELLO)
