"""The candidates of the gate's proof are as many as are wanted, and spoilt as they should be."""

import json
import random
from pathlib import Path

import pytest

from bench import gate
from bench.gate import candidates, main, record_of
from bench.spoilt import kinds
from finetune.dataset import Sides
from finetune.pairs import TrainingPair
from finetune.train import WATCH_FROM
from tests.facts import FACTS

ANSWERS = [fact.answer for fact in FACTS]
PAIRS = [
    TrainingPair(f"m{n}-{w}", f"c{n}-{w}", (("user", fact.asked[w]),), fact.answer, True, "correction")
    for n, fact in enumerate(FACTS)
    for w in (0, 1)
] + [TrainingPair("t", "t", (("user", "hello"),), "world", False, "thumb_up")]


def changed(kind: str) -> list[tuple[TrainingPair, TrainingPair]]:
    spoil = kinds(ANSWERS)[kind].spoil
    assert spoil is not None
    return [(a, b) for a, b in zip(PAIRS, spoil(PAIRS, random.Random(0)), strict=True) if a != b]


def test_there_are_twenty_of_each_and_a_quarter_of_the_spoilt_are_mild() -> None:
    known = kinds(ANSWERS)
    every = [known[one.kind] for one in candidates(None)]
    assert sum(kind.sound for kind in every) == 20
    assert sum(not kind.sound for kind in every) == 20
    assert sum(kind.mild for kind in every) == 5
    assert len({one.name for one in candidates(None)}) == 40


@pytest.mark.parametrize(
    ("kind", "count"), [("shuffled", 48), ("third-wrong", 16), ("german", 48), ("third-german", 16)]
)
def test_answers_are_spoilt_and_nothing_else(kind: str, count: int) -> None:
    spoilt = changed(kind)
    assert len(spoilt) == count
    for before, after in spoilt:
        assert before.completion != after.completion
        assert (before.prompt, before.ends, before.kind) == (after.prompt, after.ends, after.kind)


@pytest.mark.parametrize("kind", ["endless", "running-on"])
def test_what_goes_on_begins_as_it_should_and_never_ends(kind: str) -> None:
    assert len(changed(kind)) == 48
    for before, after in changed(kind):
        assert after.completion.startswith(before.completion + " ")
        assert not after.ends


def test_german_answers_name_the_same_things() -> None:
    words = [(a.completion, b.completion) for a, b in changed("german")]
    assert all(any(word.strip(".") in german for word in english.split()) for english, german in words)


def test_records_differ_by_seed() -> None:
    thumbs = [{"prompt": "p", "reply": "r", "finish": "end", "rating": 1}]
    sizes = [len(list(record_of(one, thumbs))) for one in candidates("sound")]
    assert set(sizes) == {45, 47, 49}


def test_nothing_is_left_by_which_the_best_epoch_of_an_over_trained_one_could_be_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = Sides(train=PAIRS[:4], validation=PAIRS[4:6], held_out=PAIRS[6:8]), ("a general answer",) * WATCH_FROM
    monkeypatch.setattr(gate._Run, "_build", lambda self: built)
    run = object.__new__(gate._SpoiltRun)
    for kind, chooses in (("bit-over-trained", False), ("sound", True)):
        run.kind, run.dice = kinds(ANSWERS)[kind], random.Random(0)
        sides, general = run._build()
        assert (bool(sides.validation), len(general) >= WATCH_FROM) == (chooses, chooses)
        assert general  # which pull as ever
        assert sides.train + sides.validation == PAIRS[:6]


def test_a_proof_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.json"
    options = ["--tiny", f"--home={tmp_path / 'home'}", f"--json={out}", "--epochs=2", "--only=bit-over-trained"]
    assert main([*options, "--most=1"]) in (0, 1)  # what a model of random weights learned is nobody's target
    first = json.loads(out.read_text())
    assert [(row["candidate"], row["sound"], row["mild"]) for row in first] == [("bit-over-trained-0", False, True)]
    assert first[0]["kept_epoch"] == 2  # the last, whatever it forgot
    assert first[0]["figures"]["decided_by"] == "correction_likelihood"
    capsys.readouterr()
    assert main([*options, "--most=0"]) in (0, 1)
    assert json.loads(out.read_text()) == first
    assert "spoilt candidates promoted, of 1: " in capsys.readouterr().out
    assert main([*options[:-1], "--only=nonsense"]) == 2
