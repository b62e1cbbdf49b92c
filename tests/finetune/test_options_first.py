"""What was mistyped is told before anything is made or loaded."""

import json
from pathlib import Path

import pytest

from feedback.settings import DataSettings
from feedback.store import Store
from finetune.__main__ import main


def where(data: DataSettings) -> list[str]:
    return [f"--data-dir={data.data_dir}", f"--base-model={data.base_model}"]


@pytest.mark.parametrize(
    "command",
    [
        ["schedule", "--once", "--retrain-every=3x"],
        ["schedule", "--once", "--epochs=many"],
        ["retrain", "--epochs=many"],
        ["retrain", "--quiet-hours=late"],
    ],
    ids=" ".join,
)
def test_what_begins_a_record_begins_none_with_a_bad_option(
    data: DataSettings, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main([*command, *where(data)]) == 1
    printed = capsys.readouterr()
    option, _, value = command[-1].partition("=")
    said = json.loads(printed.out)["reason"] if command[0] == "retrain" else printed.err
    assert said.startswith(f"{option} '{value}' cannot be used: ")
    assert not data.data_dir.exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["pairs", "--explain", "--half-life-days=0"], "--half-life-days '0' cannot be used"),
        (["prune", "--keep-versions=-1"], "--keep-versions '-1' cannot be used"),
        (["evaluate", "0", "--data=/nowhere/rated.jsonl"], "The file '/nowhere/rated.jsonl' cannot be read"),
        (["compare", "0", "0", "--temperature=1", "--top-p=5"], "top_p 5.0 cannot be used"),
        (["compare", "0", "0", "--max-new-tokens=0"], "--max-new-tokens 0 cannot be used"),
        (["schedule", "--base-model=/nowhere"], "--base-model '/nowhere' is neither"),
        (["schedule", "--database-url=nonsense"], "The database 'nonsense' cannot be opened"),
    ],
    ids=str,
)
def test_no_base_model_is_made_for_a_bad_option(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str], command: list[str], said: str
) -> None:
    assert main([command[0], *where(data), *command[1:]]) == 1
    error = capsys.readouterr().err
    assert error.startswith(said) and error.count("\n") == 1
    assert not data.base_dir.exists() and not (data.data_dir / "base.json").exists()


def test_a_mistyped_record_is_told_before_a_base_model_is_fetched(tmp_path: Path, capsys) -> None:
    assert main(["pairs", "--explain", f"--data-dir={tmp_path / 'typo'}", "--base-model=nobody/no-such-model"]) == 1
    assert capsys.readouterr().err.startswith("There is no record in")


@pytest.mark.parametrize(
    "command",
    [["schedule", "--once"], ["retrain", "--force"], ["pairs", "--explain"], ["evaluate", "0", "--data={file}"]],
    ids=lambda command: command[0],
)
def test_a_record_restored_without_its_base_gets_no_other(
    store: Store, data: DataSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    store.add_base("owner/name")
    (tmp_path / "rated").touch()
    assert main([*(word.format(file=tmp_path / "rated") for word in command), *where(data)]) == 1
    printed = capsys.readouterr()
    assert "--base-model 'owner/name'" in printed.out + printed.err
    assert not data.base_dir.exists() and not (data.data_dir / "base.json").exists()
    assert store.runs() == []
