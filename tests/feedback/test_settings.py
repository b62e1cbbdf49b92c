"""Settings: command line over environment over default, and one sentence for what cannot be used."""

import argparse
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import Field

from feedback.errors import BadInput
from feedback.settings import DataSettings, Interval, Settings, as_arguments, between_commas, parse_interval


class KettleSettings(Settings):
    """One setting of each kind."""

    kettle_litres: float = Field(1.5, gt=0, description="how much it holds")
    kettle_cups: int = Field(4, ge=1, description="100% of the cups")
    kettle_whistles: bool = Field(True, description="whether it whistles")
    kettle_every: Interval = Field(timedelta(hours=6), description="how often it boils")
    kettle_shelf: Path = Field(Path("shelf"), description="where it stands")


def given(*arguments: str) -> KettleSettings:
    parser = argparse.ArgumentParser()
    KettleSettings.add_to(parser)
    return KettleSettings.given(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("argument", "environment", "cups"), [(None, None, 4), (None, "5", 5), ("6", None, 6), ("6", "5", 6), (None, "", 4)]
)
def test_the_command_line_wins_over_the_environment_and_that_over_the_default(
    monkeypatch: pytest.MonkeyPatch, argument: str | None, environment: str | None, cups: int
) -> None:
    if environment is not None:
        monkeypatch.setenv("RAPPORT_KETTLE_CUPS", environment)
    assert given(*(["--kettle-cups", argument] if argument else [])).kettle_cups == cups


def test_values_given_in_code_win_over_the_command_line() -> None:
    args = argparse.Namespace(kettle_cups="6", something_else="ignored")
    assert KettleSettings.given(args, kettle_cups=7).kettle_cups == 7
    assert KettleSettings.given().kettle_cups == 4


@pytest.mark.parametrize(("argument", "value"), [("--kettle-whistles", True), ("--no-kettle-whistles", False)])
def test_a_switch_can_be_switched_both_ways(monkeypatch: pytest.MonkeyPatch, argument: str, value: bool) -> None:
    monkeypatch.setenv("RAPPORT_KETTLE_WHISTLES", "false" if value else "true")
    assert given(argument).kettle_whistles is value


@pytest.mark.parametrize(
    "arguments",
    [
        ["--kettle-cups=x"],
        ["--kettle-cups=0"],
        ["--kettle-litres=-1"],
        ["--kettle-litres=nan"],
        ["--kettle-every=soon"],
        ["--kettle-every=9999999999d"],
    ],
)
def test_a_value_that_cannot_be_used_gets_one_sentence(arguments: list[str]) -> None:
    option, _, value = arguments[0].partition("=")
    with pytest.raises(BadInput) as caught:
        given(*arguments)
    message = str(caught.value)
    assert message.startswith(f"{option} {value!r} cannot be used: ")
    assert "\n" not in message and message.endswith(".")


def test_a_value_of_the_environment_that_cannot_be_used_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_KETTLE_CUPS", "many")
    with pytest.raises(BadInput, match=r"--kettle-cups 'many' cannot be used: [^\n]+"):
        given()


@pytest.mark.parametrize("value", ["Tea, coffee,,TEA , coffee", ["Tea", " coffee", "", "tea", "coffee"]])
def test_what_stands_between_commas_is_read_once_each(value: object) -> None:
    assert between_commas(value, str.lower) == ["tea", "coffee"]
    assert between_commas("") == between_commas([]) == []


def test_the_help_names_each_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        given("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "100% of the cups (default: 4)" in text
    assert "how often it boils (default: 6h)" in text


def test_two_groups_share_an_option_that_both_know() -> None:
    parser = argparse.ArgumentParser()
    for _ in range(2):
        DataSettings.add_to(parser)
    assert DataSettings.given(parser.parse_args(["--data-dir", "there"])).data_dir == Path("there")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kettle_whistles": False, "kettle_every": None},
        {"kettle_every": timedelta(minutes=90), "kettle_litres": 0.1, "kettle_shelf": Path("a b/-c")},
        {"kettle_every": timedelta(days=14)},
    ],
)
def test_settings_written_as_arguments_give_themselves_again(values: dict[str, object]) -> None:
    settings = KettleSettings.given(**values)
    assert given(*as_arguments(settings)) == settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("45s", timedelta(seconds=45)),
        ("30m", timedelta(minutes=30)),
        (" 6H ", timedelta(hours=6)),
        ("7d", timedelta(days=7)),
        ("off", None),
        ("OFF", None),
        (None, None),
        (timedelta(1), timedelta(1)),
    ],
)
def test_an_interval_is_read(text: object, value: timedelta | None) -> None:
    assert parse_interval(text) == value


@pytest.mark.parametrize("text", ["", "6", "h", "0m", "-1h", "1.5h", "6 h", "1w", "1h30m", "never", 5, "9" * 30 + "d"])
def test_what_is_no_interval_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="off"):
        parse_interval(text)


def test_everything_lies_in_the_data_dir(tmp_path: Path) -> None:
    settings = DataSettings(data_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path}/chat.db"
    places = (settings.base_dir, settings.versions_dir, settings.runs_dir, settings.lock_file)
    assert [path.relative_to(tmp_path).name for path in places] == ["base", "versions", "runs", "retrain.lock"]


def test_a_database_url_replaces_the_database_of_the_data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAPPORT_DATABASE_URL", "sqlite:///elsewhere.db")
    assert DataSettings(data_dir=tmp_path).database == "sqlite:///elsewhere.db"
