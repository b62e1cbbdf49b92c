"""A record that cannot be written, such as a backup, is read as it lies."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from feedback.__main__ import main
from feedback.database import Database
from feedback.errors import BadInput
from feedback.existing import existing
from feedback.settings import DataSettings
from feedback.store import Store
from tests.databases import of_sqlite
from tests.feedback.talk import exchange
from tests.readonly import cannot_be_written, state

pytestmark = of_sqlite


@pytest.fixture
def backup(store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch) -> DataSettings:
    """A record with one thumb, in a folder that cannot be written."""
    store.rate(exchange(store), 1)
    store.close()
    cannot_be_written(data.data_dir, monkeypatch)
    return data


def test_it_is_counted_and_exported_and_nothing_is_written(
    backup: DataSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, where = state(backup.data_dir), f"--data-dir={backup.data_dir}"
    assert main(["stats", "--json", where]) == 0
    assert json.loads(capsys.readouterr().out)["thumbs_up"] == 1
    assert main(["export", str(tmp_path / "out.jsonl"), where]) == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["messages"][1]["rating"] == 1
    assert state(backup.data_dir) == before and list(before) == ["chat.db"]


def test_it_cannot_be_changed_by_accident(backup: DataSettings) -> None:
    opened = existing(backup, reads=True)
    assert opened.read_only
    with pytest.raises(Exception, match="readonly database"):
        opened.new_conversation()
    opened.close()


def test_an_older_one_is_told_and_not_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Database(f"sqlite:///{tmp_path / 'old' / 'chat.db'}").close()
    with sqlite3.connect(tmp_path / "old" / "chat.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    cannot_be_written(tmp_path / "old", monkeypatch)
    before = state(tmp_path / "old")
    assert main(["stats", f"--data-dir={tmp_path / 'old'}"]) == 2
    said = capsys.readouterr().err
    assert "is at schema '0001', older than" in said and said.count("\n") == 1
    assert state(tmp_path / "old") == before


def test_what_still_stands_in_the_log_is_read_or_told(
    store: Store, data: DataSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.rate(exchange(store), 1)
    copies = [DataSettings(data_dir=tmp_path / name) for name in ("live", "torn")]
    for copy in copies:
        shutil.copytree(data.data_dir, copy.data_dir)
    live, torn = copies
    (torn.data_dir / "chat.db-shm").unlink()
    for copy in copies:
        cannot_be_written(copy.data_dir, monkeypatch)
    opened = existing(live, reads=True)
    assert opened.stats()["thumbs_up"] == 1
    opened.close()
    with pytest.raises(BadInput, match=r"newest part still stands in 'chat\.db-wal'"):
        existing(torn, reads=True)


def test_a_record_that_can_be_written_is_opened_as_ever(store: Store, data: DataSettings) -> None:
    opened = existing(data, reads=True)
    opened.rate(exchange(opened), 1)
    assert (opened.read_only, store.stats()["thumbs_up"]) == (False, 1)
    opened.close()
