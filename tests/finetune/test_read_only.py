"""What was learned is looked at where nothing can be written."""

import json

import pytest

from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.__main__ import main
from finetune.base import BaseModelError, ensure_base
from tests.readonly import cannot_be_written, state


def test_commands_that_look_at_a_record_read_it_and_write_nothing(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add_base(ensure_base(data))
    turns = (IncomingMessage("user", "ask"), IncomingMessage("assistant", "tell", "r", finish="end", rating=1))
    assert store.take_in([Incoming("c", turns)]) == [None]
    store.open_run({})  # nobody works on it, which may be told only where it can be settled
    store.close()
    cannot_be_written(data.data_dir, monkeypatch)
    before = state(data.data_dir)

    def told(*command: str):
        assert main([*command, "--json", f"--data-dir={data.data_dir}"]) == 0
        return json.loads(capsys.readouterr().out)

    assert [row["version"] for row in told("versions")] == [0]
    assert [row["status"] for row in told("runs")] == ["queued"]
    assert [row["reason"] for row in told("history")] == ["The base model."]
    assert [row["value"] for row in told("trace", "--message=r")["ratings"]] == [1]
    assert told("revoked") == []
    assert told("card", "0")["version"] == 0
    assert {row["rule"]: row["count"] for row in told("pairs", "--explain")["rules"]}["thumb_up"] == 1
    assert state(data.data_dir) == before


def test_a_base_model_that_cannot_be_made_is_one_sentence(data: DataSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("finetune.base._make", refuse)
    with pytest.raises(BaseModelError, match="cannot be made in .*: Permission denied; give a --data-dir"):
        ensure_base(data)
