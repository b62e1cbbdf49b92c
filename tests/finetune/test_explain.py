import json
from dataclasses import replace
from pathlib import Path

import pytest

from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.__main__ import main
from finetune.pairs import RULES


@pytest.fixture
def taught(store: Store, data: DataSettings) -> Store:
    def talk(name: str, *replies: IncomingMessage) -> Incoming:
        asked = [IncomingMessage("user", f"ask {name} {n}") for n in range(len(replies))]
        ended = [replace(reply, finish="end") for reply in replies]
        said = [message for turn in zip(asked, ended, strict=True) for message in turn]
        return Incoming(name, tuple(said))

    lines = [
        talk(
            "two",
            IncomingMessage("assistant", "one", "1", rating=1),
            IncomingMessage("assistant", "fox", "2", rating=1),
        ),
        talk("fixed", IncomingMessage("assistant", "bad", "3", rating=-1, correction="good")),
        talk("no", IncomingMessage("assistant", "never", "4", rating=1, review="rejected")),
        talk("plain", IncomingMessage("assistant", "plain", "5")),
    ]
    assert store.take_in(lines) == [None] * len(lines)
    return store


def run(data: DataSettings, *arguments: str) -> int:
    return main(["pairs", *arguments, f"--data-dir={data.data_dir}", f"--base-model={data.base_model}"])


def test_the_rules_are_told_with_what_each_took(
    taught: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "--explain", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [rule["rule"] for rule in told["rules"]] == list(RULES)
    assert {rule["rule"]: rule["count"] for rule in told["rules"] if rule["count"]} == {
        "correction": 1,
        "thumb_up": 2,
        "corrected": 1,
        "reviewer_rejected": 1,
    }
    assert told["splits"]["train"] == {"good": 3, "bad": 1, "conversations": 2}
    assert told["weights"]["correction"] == {"pairs": 1, "mean": 1.0, "least": 1.0, "most": 1.0}


def test_the_table_is_for_people_too(taught: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "--explain") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(any(f" {rule} " in line and what in line for line in lines) for rule, what in RULES.items())


def test_nothing_is_written(taught: Store, data: DataSettings) -> None:
    def state() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in data.data_dir.rglob("*") if p.is_file() and not p.name.endswith("-shm")}

    before = state()
    assert run(data, "--explain") == 0
    assert run(data, "--tokens", "1") == 0
    assert state() == before


def test_kept_replies_are_told_when_they_are_asked_for(
    taught: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (
        IncomingMessage("user", "ask plain 0"),
        IncomingMessage("assistant", "plain"),
        IncomingMessage("user", "so?"),
    )
    taught.take_in([Incoming("plain", more)])
    assert run(data, "--explain", "--json", "--kept-replies") == 0
    counts = {rule["rule"]: rule["count"] for rule in json.loads(capsys.readouterr().out)["rules"]}
    assert counts["kept"] == 1


def test_the_tokens_that_carry_loss_are_shown_with_their_weight(
    taught: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "--tokens", "1", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert [reply["message_id"] for reply in row["replies"]] == ["1", "2"]
    assert "".join(t["text"] for t in row["tokens"] if t["weight"] == 0.6) == "one<|end|>fox<|end|>"
    assert "ask two 0" in "".join(t["text"] for t in row["tokens"] if not t["weight"])


def test_a_corrected_reply_has_a_row_for_its_correction_and_one_for_its_own_words(
    taught: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, "--tokens", "3", "--json") == 0
    said = {
        "".join(t["text"] for t in row["tokens"] if t["weight"]): {t["weight"] for t in row["tokens"] if t["weight"]}
        for row in json.loads(capsys.readouterr().out)
    }
    assert said == {"good<|end|>": {1.0}, "bad<|end|>": {-0.8}}
    assert run(data, "--tokens", "3") == 0
    assert "-0.800" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("4", "reviewer_rejected: a reviewer"),
        ("5", "nobody said anything"),
        ("nowhere", "There is no message 'nowhere'"),
    ],
)
def test_a_reply_that_is_not_learned_from_says_why(
    taught: Store, data: DataSettings, capsys: pytest.CaptureFixture[str], reply: str, why: str
) -> None:
    assert run(data, "--tokens", reply) == 1
    assert why in capsys.readouterr().err
