"""Commands that only look at a record, where there is none."""

from pathlib import Path

import pytest

from feedback.__main__ import main
from feedback.database import Database, NoRecord
from feedback.existing import existing
from feedback.settings import DataSettings


@pytest.mark.parametrize("command", [["stats"], ["stats", "--json"], ["export", "{tmp}/out.jsonl"]], ids=" ".join)
@pytest.mark.parametrize("where", ["missing", "missing/under", "folder", "file"])
def test_no_record_is_one_sentence_and_nothing_is_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], where: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    arguments = [argument.format(tmp=tmp_path) for argument in command]
    assert main([*arguments, f"--data-dir={tmp_path / where}"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"There is no record in '{tmp_path / where}'; check --data-dir")
    assert printed.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_path_is_told_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["stats", "--data-dir", "./datta"]) == 2
    assert "There is no record in 'datta';" in capsys.readouterr().err


def test_an_empty_database_is_no_record_and_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "chat.db").touch()
    with pytest.raises(NoRecord, match="There is no record in"):
        existing(DataSettings(data_dir=tmp_path))
    with pytest.raises(NoRecord):
        Database(f"sqlite:///{tmp_path / 'chat.db'}", begins=False)


def test_of_a_database_without_a_record_its_own_option_is_named_and_its_password_is_not(tmp_path: Path) -> None:
    with pytest.raises(NoRecord, match=r"no record in 'sqlite:///.*other\.db'; check --database-url"):
        existing(DataSettings(database_url=f"sqlite:///{tmp_path / 'other.db'}"))
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_is_there_is_opened(tmp_path: Path) -> None:
    data = DataSettings(data_dir=tmp_path)
    Database(data.database).close()
    opened = existing(data)
    assert opened.stats()["conversations"] == 0
    opened.close()
