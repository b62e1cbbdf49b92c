"""Rows for TRL's trainers."""

import json
from pathlib import Path

import pytest

from feedback.__main__ import main
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.transfer import export_file, import_file

ASKED = IncomingMessage("user", "q", id="q")
PROMPT = [{"role": "user", "content": "q"}]


def reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.fixture
def told(store: Store) -> Store:
    """A correction, a thumb of each sign, a choice, and what a reviewer rejected."""
    replies = [
        IncomingMessage("assistant", "wrong", rating=-1, correction="right"),
        IncomingMessage("assistant", "nice", rating=1),
        IncomingMessage("assistant", "nasty", rating=-1),
        IncomingMessage("assistant", "secret", rating=1, review="rejected"),
        IncomingMessage("assistant", "fine", rating=1, correction="better"),
    ]
    lines = [Incoming(f"c{n}", (IncomingMessage("user", "q"), one)) for n, one in enumerate(replies)]
    lines += [
        Incoming("d", (ASKED, IncomingMessage("assistant", "won", id="w"))),
        Incoming("d", (ASKED, IncomingMessage("assistant", "lost", id="l")), preferences=(("w", "l"),)),
        Incoming("alone", (IncomingMessage("assistant", "no prompt", rating=1),)),
    ]
    assert store.take_in(lines) == [None] * len(lines)
    return store


def exported(store: Store, data: DataSettings, form: str) -> list[dict]:
    file = data.data_dir / f"{form}.jsonl"
    assert main(["export", str(file), "--format", form, "--data-dir", str(data.data_dir)]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(row.pop("prompt") == PROMPT for row in rows)
    return rows


def test_sft_rows_are_what_is_good(told: Store, data: DataSettings) -> None:
    rows = exported(told, data, "sft")
    assert sorted(row["completion"][0]["content"] for row in rows) == ["better", "nice", "right", "won"]
    assert all(set(row) == {"completion"} for row in rows)


def test_kto_rows_are_what_is_good_and_what_is_bad(told: Store, data: DataSettings) -> None:
    rows = exported(told, data, "kto")
    good = {row["completion"][0]["content"]: row["label"] for row in rows}
    assert good == {
        "right": True,
        "wrong": False,
        "nice": True,
        "nasty": False,
        "better": True,
        "won": True,
        "lost": False,
    }
    assert len(rows) == len(good)


def test_dpo_rows_are_corrections_and_choices(told: Store, data: DataSettings) -> None:
    rows = exported(told, data, "dpo")
    expected = [("right", "wrong"), ("better", "fine"), ("won", "lost")]
    assert rows == [{"chosen": reply(good), "rejected": reply(bad)} for good, bad in expected]


def test_kto_rows_come_back_as_thumbs(told: Store, data: DataSettings, empty: Store, tmp_path: Path) -> None:
    count = export_file(told, tmp_path / "kto.jsonl", "kto")
    report = import_file(empty, tmp_path / "kto.jsonl")
    assert (report.taken, report.bad) == (count, [])
    assert {f.content: f.ratings["local"] for f in empty.feedback()}["wrong"] == -1
