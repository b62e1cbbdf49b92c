from dataclasses import replace
from pathlib import Path

import pytest
import torch

from feedback.records import Feedback
from feedback.schema import now
from finetune.model import load_base
from finetune.pairs import REJECTS, TAKES, assign, choose, judge, pair_of, validation_part

GOOD = Feedback(
    message_id="m",
    conversation_id="c",
    prompt=(("user", "hello"),),
    content="hello world",
    status="complete",
    finish="end",
    version=0,
    ratings={"local": 1},
    reasons=(),
    correction=None,
    correction_id=None,
    changed_at=now(),
)


@pytest.fixture(scope="module")
def template(tiny: Path):
    return load_base(tiny, dtype=torch.float32, device=torch.device("cpu")).template


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, "thumb_up"),
        ({"status": "stopped"}, "thumb_up"),
        ({"ratings": {"local": -1}}, "thumb_down"),
        ({"ratings": {"a": 1, "b": -1}}, "disputed"),
        ({"ratings": {"a": 1, "b": 1, "c": -1}}, "thumb_up"),
        ({"status": "interrupted"}, "unfinished"),
        ({"status": "running"}, "unfinished"),
        ({"content": " \n"}, "empty"),
        ({"ratings": {"local": -1}, "correction": "Bonjour."}, "correction"),
        ({"ratings": {}, "correction": "Bonjour."}, "correction"),
        ({"status": "interrupted", "correction": "Bonjour."}, "correction"),
    ],
)
def test_each_reply_falls_under_one_rule(change: dict, rule: str) -> None:
    assert judge(replace(GOOD, **change)) == rule


def test_a_correction_is_learned_in_its_own_words_and_to_its_end() -> None:
    corrected = replace(GOOD, correction="Bonjour.", correction_id=7, finish="length")
    pair = pair_of(corrected, judge(corrected))
    assert (pair.completion, pair.ends, pair.correction_id) == ("Bonjour.", True, 7)


@pytest.mark.parametrize(("finish", "ends"), [("end", True), ("length", False), ("stopped", False), (None, False)])
def test_the_end_is_learned_only_where_the_reply_ended_by_itself(finish: str | None, ends: bool) -> None:
    assert pair_of(replace(GOOD, finish=finish), "thumb_up").ends is ends


def test_every_reply_is_counted_once_and_named(template) -> None:
    record = [
        GOOD,
        replace(GOOD, message_id="again"),
        replace(GOOD, message_id="first", prompt=(("assistant", "hi"), ("user", "x"))),
        replace(GOOD, message_id="long", content="word " * 400),
        replace(GOOD, message_id="bad", ratings={"local": -1}),
    ]
    pairs, counts = choose(record, template, max_tokens=2048)
    assert [p.message_id for p in pairs] == ["m"]
    assert {rule: n for rule, n in counts.items() if n} == {
        "thumb_up": 1,
        "duplicate": 1,
        "template_refuses": 1,
        "too_long": 1,
        "thumb_down": 1,
    }
    assert set(counts) == {*TAKES, *REJECTS}
    assert sum(counts.values()) == len(record)


@pytest.mark.parametrize("size", range(7, 200))
def test_between_a_twentieth_and_three_twentieths_are_held_out(size: int) -> None:
    sides = assign([f"c{i}" for i in range(size)], {})
    assert 0.05 <= sum(s == "held_out" for s in sides.values()) / size <= 0.15


def test_who_was_held_out_stays_held_out_and_who_was_trained_on_stays_trained_on() -> None:
    sides: dict[str, str] = {}
    for size in (10, 11, 25, 60, 200):
        grown = assign([f"c{i}" for i in range(size)], sides)
        assert {c: grown[c] for c in sides} == sides
        sides = grown
    assert 0.05 <= sum(s == "held_out" for s in sides.values()) / 200 <= 0.15


def test_a_handful_is_all_trained_on() -> None:
    assert set(assign(["a", "b", "c"], {}).values()) == {"train"}


def test_validation_takes_a_tenth_of_the_training_conversations() -> None:
    ids = [f"c{i}" for i in range(40)]
    part = validation_part(ids)
    assert len(part) == 4
    assert part < set(ids)
    assert validation_part(ids[:9]) == set()
