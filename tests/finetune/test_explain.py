import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.__main__ import main
from finetune.pairs import RULES
from finetune.uses import USES


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
    assert told["uses"] == dict.fromkeys(USES, 0) | {"copied": 3, "not_used": 1}
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


def tokens(data: DataSettings, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """Return the rows that `--tokens` shows of a reply, what is said in them joined by weight under `by_weight`."""
    assert run(data, "--json", "--tokens", *arguments) == 0
    found = json.loads(capsys.readouterr().out)
    for row in found:
        row["by_weight"] = {}
        for token in row["tokens"]:
            if token["said"]:
                weight = token["weight"]
                row["by_weight"][weight] = row["by_weight"].get(weight, "") + token["text"]
    return found


def test_what_a_correction_replaced_carries_no_loss(
    taught: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong = tokens(data, capsys, "3")
    assert (right["use"], right["by_weight"]) == ("copied", {1.0: "good<|end|>"})
    assert (wrong["use"], wrong["by_weight"]) == ("not_used", {0.0: "bad<|end|>"})
    assert run(data, "--tokens", "3") == 0
    printed = capsys.readouterr().out
    assert "+1.000" in printed and "-0." not in printed.partition("not used: what was corrected")[2]


def test_only_what_the_correction_says_otherwise_is_pushed_down(
    taught: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    taught.take_in([two_turns("near", IncomingMessage("assistant", "the quick fox", "6", correction="the quick dog"))])
    right, wrong = tokens(data, capsys, "6", "--negative=unlikelihood")
    assert right["by_weight"] == {1.0: "the quick dog<|end|>"}
    assert wrong["use"] == "pushed"
    assert wrong["by_weight"] == {0.0: "the quick<|end|>", -0.8: " fox"}


def two_turns(name: str, reply: IncomingMessage) -> Incoming:
    return Incoming(name, (IncomingMessage("user", f"ask {name}"), replace(reply, finish="end")))


def rated(liked: int, disliked: int) -> list[Incoming]:
    return [
        two_turns(f"r{n}", IncomingMessage("assistant", f"fox {n}", f"r{n}", rating=1 if n < liked else -1))
        for n in range(liked + disliked)
    ]


def test_thumbs_of_which_there_are_enough_are_contrasted_as_wholes(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert store.take_in(rated(14, 14)) == [None] * 28
    shown = {}
    for n in range(28):
        (row,) = tokens(data, capsys, f"r{n}")
        shown.setdefault(row["split"], (f"r{n}", row))
        if {"train", "held_out"} <= set(shown):
            break
    (name, trained), (_, held) = shown["train"], shown["held_out"]
    assert (trained["use"], set(trained["by_weight"])) == ("contrasted", {0.0})
    assert (held["use"], set(held["by_weight"])) == ("held_out", {0.0})
    assert run(data, "--tokens", name) == 0
    printed = capsys.readouterr().out
    assert "contrasted as a whole" in printed and "  whole  '<|end|>'" in printed


@pytest.mark.parametrize(
    ("negative", "use", "why"),
    [
        ("auto", "not_used", "replies are contrasted once 10 liked and 10 disliked ones are trained on"),
        ("off", "not_used", "--negative off leaves it out"),
        ("cringe", "pushed", ""),
        ("reward", "contrasted", ""),
    ],
)
def test_a_single_thumb_down_is_made_of_what_the_setting_says(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str], negative: str, use: str, why: str
) -> None:
    assert store.take_in(rated(2, 1)) == [None] * 3
    (row,) = tokens(data, capsys, "r2", f"--negative={negative}")
    assert (row["use"], row["why"]) == (use, why)
    assert run(data, "--explain", "--json", f"--negative={negative}") == 0
    uses = json.loads(capsys.readouterr().out)["uses"]
    liked = "contrasted" if use == "contrasted" else "copied"
    assert {name: n for name, n in uses.items() if n} == Counter([liked, liked, use])


def test_a_setting_that_there_is_none_of_is_told(taught: Store, data: DataSettings, capsys) -> None:
    assert run(data, "--explain", "--negative=perhaps") == 1
    assert "--negative 'perhaps' cannot be used" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # nor is any other setting of training taken, which would change nothing here
        run(data, "--explain", "--epochs=3")


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
