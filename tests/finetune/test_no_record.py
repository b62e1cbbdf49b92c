"""Commands on a record that is not there, or that is empty."""

import json
from pathlib import Path

import pytest

from feedback.settings import DataSettings
from feedback.store import Store
from finetune.__main__ import main

LOOKS = [
    ["versions"],
    ["runs", "--json"],
    ["history"],
    ["trace", "--message=x"],
    ["revoked"],
    ["evaluate", "0", "--data={tmp}/rated.jsonl"],
    ["pairs", "--explain"],
    ["card", "0"],
    ["compare", "0", "0"],
    ["trial", "status"],
]
CHANGES = [["promote", "0"], ["rollback"], ["pin", "0"], ["trial", "begin", "1"], ["cancel"], ["prune"]]


@pytest.mark.parametrize("command", [*LOOKS, *CHANGES], ids=" ".join)
def test_no_record_is_one_sentence_and_nothing_is_created(
    tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    (tmp_path / "rated.jsonl").write_text('{"prompt": "a", "completion": "b", "label": true}\n')
    where = [f"--data-dir={tmp_path / 'typo'}", f"--base-model={tiny}"]
    assert main([*(argument.format(tmp=tmp_path) for argument in command), *where]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"There is no record in '{tmp_path / 'typo'}'; check --data-dir")
    assert printed.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["rated.jsonl"]


@pytest.mark.parametrize("command", ["versions", "runs", "history"])
def test_an_empty_record_says_so_in_one_line(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    where = f"--data-dir={data.data_dir}"
    assert main([command, where]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert " yet; " in line
    assert main([command, "--json", where]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_schedule_that_waits_for_feedback_begins_a_record(
    data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (f"--data-dir={data.data_dir}", f"--base-model={data.base_model}")
    assert main(["schedule", "--once", *where]) == 0
    assert "0 of 10" in capsys.readouterr().out
    assert main(["runs", *where]) == 0
