"""`trace` and `revoked` on the command line; what is taken back is out of the next run."""

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from feedback.formats import Incoming, IncomingMessage
from feedback.frozen import PairRow
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.__main__ import main
from finetune.dataset import Built, build, remember
from finetune.model import load_template
from finetune.settings import PairSettings


@pytest.fixture
def taught(store: Store) -> list[str]:
    """Nine conversations, each with a liked reply; their ids and those of the replies are one letter apart."""
    store.add_base("tiny")
    for n in range(9):
        turns = (IncomingMessage("user", f"ask {n}"), IncomingMessage("assistant", f"tell {n}", f"r{n}", rating=1))
        assert store.take_in([Incoming(f"c{n}", turns)]) == [None]
    return [f"r{n}" for n in range(9)]


def next_dataset(store: Store, data: DataSettings, tiny: Path) -> Built:
    """Build what the next run would learn from, freeze it, and let a version come of it."""
    built = build(store, data, load_template(tiny), PairSettings(), writes=True)
    remember(store, built)
    sides = vars(built.sides).items()
    rows = [PairRow(p.message_id, p.correction_id, p.kind, p.weight, side) for side, part in sides for p in part]
    run = store.open_run({})
    store.freeze_dataset(run, {}, built.counts, rows, built.cut, built.rejected)
    number = store.next_version()
    store.add_version(number, "adapter", f"versions/{number:03}", run, "promoted", "", {})
    return built


def replies_of(built: Built) -> set[str]:
    return {pair.message_id for part in vars(built.sides).values() for pair in part}


def run(data: DataSettings, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main([*arguments, f"--data-dir={data.data_dir}"]) == code
    told = capsys.readouterr()
    return told.err if code else told.out


def test_what_is_taken_back_is_out_of_the_next_run_and_that_version_is_clean(
    store: Store, data: DataSettings, tiny: Path, taught: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = next_dataset(store, data, tiny)
    assert replies_of(first) == set(taught)
    thumb, talk, *_ = [pair.message_id for pair in first.sides.train]
    store.rate(thumb, 0)
    store.delete(store.conversation_of(talk))
    told = run(data, capsys, "revoked")
    assert f"rating {int(thumb[1:]) + 1} of conversation c{thumb[1:]}" in told and f"conversation c{talk[1:]}" in told
    assert told.count("version 1 was trained on it, and serves") == 2
    assert "`python -m finetune retrain --force`" in told
    assert replies_of(next_dataset(store, data, tiny)) == set(taught) - {thumb, talk}
    rows = json.loads(run(data, capsys, "revoked", "--json"))
    assert [(row["what"], row["clean"], row["versions"]) for row in rows] == [
        (what, [2], [{"version": 1, "serves": False, "share": 0.0}]) for what in ("rating", "conversation")
    ]
    told = run(data, capsys, "revoked")
    assert "Without any of what was taken back: version 2." in told and "retrain" not in told
    told = run(data, capsys, "trace", "--message", thumb)
    assert "version 1 of run 1: promoted; trained on; was trained on what was taken back (rating)" in told
    assert "made since, without it: 2" in told


def test_nothing_taken_back_is_one_sentence(
    store: Store, data: DataSettings, taught: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, capsys, "revoked") == "Nothing that a version was trained on was taken back.\n"
    assert json.loads(run(data, capsys, "revoked", "--json")) == []


@pytest.mark.parametrize("of", [("--message", "r3"), ("--conversation", "c3"), ("--rating", "4"), ("--version", "1")])
def test_a_trace_has_exactly_its_five_lists(
    store: Store,
    data: DataSettings,
    tiny: Path,
    taught: list[str],
    capsys: pytest.CaptureFixture[str],
    of: tuple[str, str],
) -> None:
    next_dataset(store, data, tiny)
    found = json.loads(run(data, capsys, "trace", *of, "--json"))
    assert list(found) == ["ratings", "pairs", "datasets", "runs", "versions"]
    assert "r3" in [pair["message"] for pair in found["pairs"]]
    assert [version["version"] for version in found["versions"]] == [1]


def test_what_no_dataset_holds_yet_is_told_so(
    store: Store, data: DataSettings, taught: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(data, capsys, "trace", "--rating", "1")
    assert "rating 1: up, by local on reply r0" in told and "Not in any dataset yet" in told


def test_a_rejected_reply_names_the_rule_and_a_changed_thumb_its_older_value(
    store: Store, data: DataSettings, tiny: Path, taught: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    store.review("r5", "rejected")
    next_dataset(store, data, tiny)
    store.rate("r4", -1)
    assert "rejected by reviewer_rejected (a reviewer said" in run(data, capsys, "trace", "--message", "r5")
    assert "rating 5 was +1 then, and is -1 now" in run(data, capsys, "trace", "--conversation", "c4")


@pytest.mark.parametrize(
    "of", [("--message", "nobody"), ("--conversation", "c99"), ("--rating", "x"), ("--version", "9")]
)
def test_an_unknown_id_is_one_sentence_and_exit_code_1(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str], of: tuple[str, str]
) -> None:
    told = run(data, capsys, "trace", *of, code=1)
    assert told.startswith("There is no") and told.count("\n") == 1 and of[1] in told


@pytest.mark.parametrize("command", ["revoked", "retrain"])
def test_a_record_in_trouble_is_one_sentence_without_what_was_asked(
    data: DataSettings, store: Store, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with store.writing() as session:
        session.execute(text("DROP TABLE training_pairs"))
        session.execute(text("DROP TABLE reviews"))
    assert main([command, f"--data-dir={data.data_dir}"]) == 1
    told = capsys.readouterr()
    said = json.loads(told.out.splitlines()[-1])["reason"] if command == "retrain" else told.err
    assert said.strip() == (
        "The record cannot be reached, so this was not done; try again, and if it stays so, look into the log."
    )
