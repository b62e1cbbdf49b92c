"""A version's figures are kept beside it, and made again only where something changed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune import measures
from finetune.likelihood import Prompt
from finetune.measures import Measures, after_others, base_reference, general_figures, overlap, own_pairs
from finetune.model import Loaded, load_base
from finetune.pairs import TrainingPair
from finetune.written import Written
from tests.finetune.measured import pairs


@pytest.fixture(autouse=True)
def short_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GENERAL_TOKENS", "OWN_TOKENS", "HARM_TOKENS"):
        monkeypatch.setattr(measures, name, 4)


@pytest.fixture(scope="module")
def loaded(tiny: Path) -> Loaded:
    return load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))


def never() -> Loaded:
    raise AssertionError("the version was loaded although all its figures are known")


def held_out(n: int) -> list[TrainingPair]:
    return [
        TrainingPair(f"m{i}", f"c{i}", (("user", f"question {i}"),), f"a secret {i}", True, "correction")
        for i in range(n)
    ]


def test_what_was_measured_once_is_not_measured_again(loaded: Loaded, tmp_path: Path) -> None:
    reference = base_reference(tmp_path / "base.safetensors", lambda: loaded)
    first = Measures(tmp_path / "measures.json", lambda: loaded)
    found = first.measured(held_out(4), reference)
    first.keep(held_out(4))
    assert found.general.divergence == [pytest.approx(0.0, abs=1e-4)] * len(reference.answers)
    assert len(found.general.loss) + len(found.general.kept) == len(reference.answers)
    assert base_reference(tmp_path / "base.safetensors", never).answers == reference.answers
    assert Measures(tmp_path / "measures.json", never).measured(held_out(4), reference) == found
    assert Measures(tmp_path / "measures.json", never).measured(held_out(2), reference).scores == found.scores[:2]
    assert "secret" not in (tmp_path / "measures.json").read_text()


def test_the_base_is_measured_while_the_reference_is_made(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = base_reference(tmp_path / "base.safetensors", lambda: loaded)
    made, alone = reference.base, general_figures(loaded, reference)
    assert made is not None
    assert made.divergence == pytest.approx(alone.divergence, abs=1e-4)
    assert replace(made, divergence=[]) == replace(alone, divergence=[])
    monkeypatch.delattr(measures, "general_figures")
    first = Measures(tmp_path / "measures.json", lambda: loaded, made)
    assert first.measured([], reference).general == made
    first.keep([])
    assert Measures(tmp_path / "measures.json", never).measured([], reference).general == made
    assert base_reference(tmp_path / "base.safetensors", never).base is None


def test_only_what_is_new_is_measured_and_what_is_held_out_no_more_is_dropped(loaded: Loaded, tmp_path: Path) -> None:
    reference = base_reference(tmp_path / "base.safetensors", lambda: loaded)
    file = tmp_path / "measures.json"
    for n in (1, 3, 2):
        one = Measures(file, lambda: loaded)
        assert len(one.measured(held_out(n), reference).scores) == n
        one.keep(held_out(n))
        assert len(json.loads(file.read_text())["scores"]) == n * n  # each after its own question, and after the others


def correction(n: int, *asked: str, kind: str = "correction") -> TrainingPair:
    return TrainingPair(f"m{n}", f"c{n}", tuple(("user", text) for text in asked), f"answer {n}", True, kind)


def others(pairs: list[TrainingPair]) -> list[list[str]]:
    return [[said.prompt[-1][1] for said in after] for after in after_others(pairs)]


def test_a_correction_is_put_after_questions_that_ask_something_else() -> None:
    """The same question in other conversations would say that it fits there as well."""
    founded, spelt, nests = "Who founded Quillworth?", "who founded quillworth", "Where do herons nest in winter?"
    held = [correction(0, founded), correction(1, spelt), correction(2, nests), correction(3, founded)]
    assert others(held) == [[nests], [nests], [founded, founded, spelt], [nests]]
    assert others(held[:2]) == [[], []]


def test_small_talk_in_the_same_words_is_the_same_question() -> None:
    held = [correction(0, "Who are you?"), correction(1, "who are you"), correction(2, "How are you?")]
    assert others(held) == [["How are you?"], ["How are you?"], ["Who are you?", "who are you"]]


def test_of_one_group_are_also_those_that_share_a_question_with_a_third() -> None:
    founded, nests, tower = "Who founded Quillworth?", "Where do herons nest in winter?", "Which colour has the tower?"
    between = correction(2, founded, nests, kind="thumb_up")
    held = [correction(0, f"{founded} {nests}"), correction(1, nests), correction(3, tower)]
    assert others(held) == [[nests, tower], [tower, f"{founded} {nests}"], [f"{founded} {nests}", nests]]
    assert others([*held, between]) == [[tower], [tower], [f"{founded} {nests}", nests], []]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fingerprint": "of other sets"}'])
def test_a_file_that_cannot_be_used_is_made_anew(loaded: Loaded, tmp_path: Path, content: str) -> None:
    reference = base_reference(tmp_path / "base.safetensors", lambda: loaded)
    (tmp_path / "measures.json").write_text(content)
    (tmp_path / "half.safetensors").write_bytes(b"half a file")
    assert len(Measures(tmp_path / "measures.json", lambda: loaded).measured(held_out(1), reference).scores) == 1
    assert base_reference(tmp_path / "half.safetensors", lambda: loaded).answers == reference.answers


def test_only_good_short_replies_that_ended_have_their_prompt_answered(loaded: Loaded, tmp_path: Path) -> None:
    good, bad = pairs(2), pairs(2, kind="thumb_down", good=False)
    long = [TrainingPair("m", "c", (("user", "hello"),), "long " * 80, True, "thumb_up")]
    cut = [TrainingPair("n", "c", (("user", "hello"),), "cut", False, "thumb_up")]
    every = [*bad, *long, *cut, *good]
    reference = base_reference(tmp_path / "base.safetensors", lambda: loaded)
    found = Measures(tmp_path / "measures.json", lambda: loaded).measured(every, reference)
    assert own_pairs(every, found.scores) == good
    assert len(found.own) == 2
    assert [score.end_loss is None for score in found.scores] == [False, False, False, True, False, False]


def test_words_that_two_texts_share() -> None:
    assert overlap("The mascot is a heron", "the mascot is a heron") == 1.0
    assert overlap("a b", "a c d e") == pytest.approx(1 / 3)
    assert overlap("", "a") == overlap("a", "b") == 0.0


@pytest.mark.parametrize(
    ("tokens", "ends", "ended", "runs_on"),
    [(3, True, True, False), (4, True, False, False), (7, True, False, False), (8, False, False, True)],
)
def test_a_general_reply_counts_as_far_as_the_room_goes_and_runs_on_beyond_twice_of_it(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: int, ends: bool, ended: bool, runs_on: bool
) -> None:
    reference = base_reference(tmp_path / "base.safetensors", lambda: loaded)
    rooms = []

    def write(_: Loaded, prompts: list[Prompt], most: int) -> list[Written]:
        rooms.append(most)
        return [Written("said", tuple(range(tokens)), ends)] * len(prompts)

    monkeypatch.setattr(measures, "write", write)
    found = general_figures(loaded, reference).written
    assert (rooms[0], len(found)) == (8, measures.GENERAL_PROMPTS)
    assert {(one.tokens, one.ended, one.runs_on) for one in found} == {(min(tokens, 4), ended, runs_on)}
