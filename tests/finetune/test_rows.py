from dataclasses import replace
from pathlib import Path

import pytest

from finetune.model import IGNORED, load_template
from finetune.pairs import TrainingPair
from finetune.rows import encode, reworded, rows

ASKED = (("user", "hello"),)
AGAIN = (*ASKED, ("assistant", "the fox"), ("user", "world"))
LATER = (*AGAIN, ("assistant", "I see."), ("user", "brown"))
FIRST = TrainingPair("1", "c", ASKED, "the fox", True, "thumb_up", weight=0.5)
SECOND = TrainingPair("2", "c", AGAIN, "a dog", True, "thumb_up")
THIRD = TrainingPair("3", "c", LATER, "a cat", False, "thumb_up")


@pytest.fixture(scope="module")
def template(tiny: Path):
    return load_template(tiny)


def together(template, *pairs: TrainingPair) -> list[list[str]]:
    return sorted(["".join(p.message_id for p in row.pairs) for row in rows(pairs, template)])


def test_replies_share_a_row_where_one_prompt_continues_the_other(template) -> None:
    assert together(template, SECOND, FIRST) == ["12"]
    assert together(template, THIRD, FIRST) == ["13"]  # the reply between them teaches nothing, and is in the prompt


@pytest.mark.parametrize(
    "other",
    [
        replace(SECOND, conversation_id="d"),
        replace(SECOND, prompt=(*ASKED, ("assistant", "another"), ("user", "world"))),
        replace(SECOND, prompt=(("user", "goodbye"), *AGAIN[1:])),
        replace(SECOND, prompt=AGAIN[2:]),  # what came before no longer fitted when it was served
        replace(SECOND, prompt=ASKED),
        replace(SECOND, good=False, kind="thumb_down"),
    ],
)
def test_any_other_two_replies_do_not(template, other: TrainingPair) -> None:
    assert together(template, FIRST, other) == ["1", "2"]


def test_a_corrected_reply_ends_its_row(template) -> None:
    corrected = replace(FIRST, kind="correction")
    assert together(template, corrected, SECOND) == ["1", "2"]
    assert together(template, FIRST, replace(SECOND, kind="correction")) == ["12"]


def test_a_reply_that_two_branches_continue_is_learned_once(template) -> None:
    assert together(template, FIRST, SECOND, replace(SECOND, message_id="4", completion="a hen")) == ["12", "4"]


def test_a_template_that_rewrites_earlier_replies_makes_them_rows_of_their_own(template, tiny: Path) -> None:
    forgetful = load_template(tiny)
    forgetful.tokenizer.chat_template = forgetful.tokenizer.chat_template.replace(
        "message['content']", "('' if message['role'] == 'assistant' else message['content'])"
    )
    assert together(forgetful, FIRST, SECOND) == ["1", "2"]


def test_the_tokens_of_each_reply_and_its_end_carry_its_weight(template) -> None:
    (row,) = rows([FIRST, THIRD], template)
    encoded = encode(row, template)
    ids, end = encoded.ids, [template.end_of_turn]
    carried = [(i, w) for i, label, w in zip(ids, encoded.labels, encoded.weights, strict=True) if label != IGNORED]
    first, third = template.encode("the fox") + end, template.encode("a cat")
    assert [i for i, _ in carried] == first + third
    assert [w for _, w in carried] == [0.5] * len(first) + [1.0] * len(third)
    assert all(label in (IGNORED, i) for i, label in zip(ids, encoded.labels, strict=True))
    assert sum(map(bool, encoded.weights)) == len(carried)


def test_what_must_become_less_likely_weighs_negative_and_stands_alone(template) -> None:
    bad = [replace(pair, good=False, kind="thumb_down") for pair in (FIRST, SECOND)]
    first, second = rows(bad, template)
    assert not first.good and not second.good
    assert set(encode(first, template).weights) == {0.0, -0.5}


def test_a_reworded_question_is_the_same_in_every_prompt_of_the_row(template) -> None:
    (row,) = rows([FIRST, SECOND], template)
    first, second = reworded(row, str.upper).pairs
    assert (first.prompt, second.prompt[:1], second.prompt[2:]) == (
        (("user", "HELLO"),),
        (("user", "HELLO"),),
        (("user", "WORLD"),),
    )
    assert second.prompt[1] == AGAIN[1]
