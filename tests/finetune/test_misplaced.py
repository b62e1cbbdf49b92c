"""Corrections that answer another question: which are asked about, which are found, and what the gate makes of them."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from finetune.evaluate import Compared, gate
from finetune.likelihood import Said, Score
from finetune.misplaced import Taught, look_at
from finetune.pairs import TrainingPair
from finetune.settings import GateSettings
from tests.facts import FACTS
from tests.finetune.measured import pairs, version


def correction(name: str, question: str, answer: str) -> TrainingPair:
    return TrainingPair(name, f"of {name}", (("user", question),), answer, True, "correction")


RIGHT = [correction(f"{n} {way}", fact.asked[way], fact.answer) for n, fact in enumerate(FACTS) for way in (0, 1)]
BELONGS = {fact.answer: set(fact.asked) for fact in FACTS}


class Base:
    """Finds an answer likelier after the questions that it belongs to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Said] = []

    def __call__(self, said: Sequence[Said]) -> list[Score]:
        self.asked += said
        fits = [one.prompt[-1][1] in BELONGS.get(one.text, ()) for one in said]
        return [Score(1.0 if fit else 2.0, 9, None) for fit in fits]


def slipped(by: int) -> list[TrainingPair]:
    """Give every correction the answer that stands so many rows further on."""
    return [replace(pair, completion=RIGHT[(n + by) % len(RIGHT)].completion) for n, pair in enumerate(RIGHT)]


def test_right_corrections_are_hardly_asked_about_and_none_is_found() -> None:
    base = Base()
    found = look_at(RIGHT, base)
    assert (found.corrections, found.misplaced) == (48, ())
    assert len(base.asked) < 10


def test_answers_of_a_file_whose_rows_slipped_are_found() -> None:
    found = look_at(slipped(2), Base())
    assert found.share > 0.8
    assert set(found.misplaced) <= {pair.message_id for pair in RIGHT}


def test_answers_that_fit_anywhere_belong_to_no_other_question() -> None:
    anything = [replace(pair, completion="No, it is not, and I cannot help with that.") for pair in RIGHT]
    assert look_at(anything, Base()).misplaced == ()


def test_a_name_that_another_question_says_already_is_not_misplaced() -> None:
    rows = [
        correction("ceo", "Who is our CEO?", "Mira Voss."),
        correction("phone", "What is Mira Voss's extension?", "Her extension is 4471."),
        correction("bank", "Which bank do we use?", "Orland Bank."),
        correction("signs", "Who signs for Orland Bank transfers?", "Two directors sign them."),
    ]

    def copies(said: Sequence[Said]) -> list[Score]:
        """Find likely whatever stands in the prompt already, as every model does."""
        return [Score(0.5 if one.text.strip(".") in one.prompt[-1][1] else 3.0, 3, None) for one in said]

    assert look_at(rows, copies).misplaced == ()


def test_an_answer_likelier_elsewhere_stays_where_the_answer_there_would_lose_more() -> None:
    rows = [
        correction("ceo", "Who is our CEO?", "The CEO is Mira Voss."),
        correction("phone", "What is Mira Voss's extension?", "Her extension is 4471."),
        correction("tea", "When is tea?", "At four."),
    ]
    losses = {("ceo", "ceo"): 3.0, ("ceo", "phone"): 2.0, ("phone", "phone"): 1.0, ("phone", "ceo"): 2.5}
    names = {row.completion: row.message_id for row in rows} | {row.prompt[0][1]: row.message_id for row in rows}

    def base(said: Sequence[Said]) -> list[Score]:
        return [Score(losses[names[one.text], names[one.prompt[-1][1]]], 5, None) for one in said]

    assert look_at(rows, base).misplaced == ()
    losses["phone", "ceo"] = 1.0
    assert look_at(rows, base).misplaced == ("ceo",)


def test_the_question_is_the_last_one_and_both_are_asked_as_they_were_served() -> None:
    before = (("system", "Be brief."), ("user", "Hello"), ("assistant", "Hello!"))
    base = Base()
    found = look_at([replace(pair, prompt=(*before, *pair.prompt)) for pair in slipped(2)], base)
    assert found.share > 0.8
    assert all(said.prompt[:3] == before for said in base.asked)


def test_questions_without_words_between_spaces_are_compared_too() -> None:
    asked = {
        "咖啡机怎么清洗?": "用醋清洗咖啡机。",
        "会议室在哪里?": "会议室在三楼。",
        "谁管理图书馆?": "图书馆由李梅管理。",
    }
    answers = list(asked.values())
    BELONGS.update({answer: {question} for question, answer in asked.items()})
    rows = [correction(q, q, answers[(n + 1) % 3]) for n, q in enumerate(asked)]
    assert len(look_at(rows, Base()).misplaced) == 3
    assert look_at([correction(q, q, a) for q, a in asked.items()], Base()).misplaced == ()


def test_of_many_corrections_a_hundred_are_looked_at() -> None:
    many = [replace(pair, message_id=f"{n} {pair.message_id}") for n in range(20) for pair in RIGHT]
    assert 90 <= look_at(many, Base()).corrections <= 100


def test_without_corrections_nothing_is_asked() -> None:
    assert look_at([replace(pair, kind="thumb_up") for pair in RIGHT], Base()) == Taught()


@pytest.mark.parametrize(
    ("misplaced", "of", "verdict"), [(2, 8, "promoted"), (3, 40, "promoted"), (5, 40, "refused"), (3, 8, "refused")]
)
def test_a_version_that_was_taught_misplaced_answers_is_refused(misplaced: int, of: int, verdict: str) -> None:
    before, after = version([2.5, 3.0, 2.0, 2.8, 2.2, 2.6]), version([1.0, 1.5, 0.9, 1.1, 1.3, 0.8])
    names = [f"{{msg}}-{n}" for n in range(misplaced)]
    taught = Taught(of, tuple(names))
    judged = gate(Compared(pairs(6), before, before, after, taught), GateSettings(), 48)
    assert judged.verdict == verdict, judged.reason
    told = "It was taught answers to other questions" in judged.reason
    assert told == ("(look at message {msg}-0)" in judged.reason) == (verdict == "refused")
    assert judged.figures["taught"] == {"corrections": of, "misplaced": names}


def test_what_the_gate_keeps_holds_no_word_of_a_conversation() -> None:
    before, after = version([2.5, 3.0, 2.0, 2.8, 2.2, 2.6]), version([1.0, 1.5, 0.9, 1.1, 1.3, 0.8])
    for taught in (look_at(RIGHT, Base()), look_at(slipped(2), Base())):
        judged = gate(Compared(pairs(6), before, before, after, taught), GateSettings(), 48)
        kept = judged.reason + json.dumps(judged.figures)
        assert not [pair for pair in RIGHT if pair.prompt[0][1] in kept or pair.completion in kept]
