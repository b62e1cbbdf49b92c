from collections.abc import Iterable

import pytest

from finetune.alike import digest, signature
from finetune.splits import Question, asked_last, assign, question, questions_by_conversation, validation_part
from tests.facts import FACTS


def alone(ids: Iterable[str]) -> dict[str, frozenset[int]]:
    """Conversations that share no question with any other."""
    return {c: frozenset([n]) for n, c in enumerate(ids)}


def asked(*prompts: str) -> list[frozenset[int]]:
    """Return the numbers of questions, one conversation a prompt."""
    made = []
    for n, prompt in enumerate(prompts):
        words = question([("user", prompt)])
        if words:
            made.append(Question(str(n), digest(words), signature(words)))
    numbers = questions_by_conversation(made)
    return [numbers.get(str(n), frozenset()) for n in range(len(prompts))]


def held(sides: dict[str, str]) -> set[str]:
    return {c for c, side in sides.items() if side == "held_out"}


# --- what is one question


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who founded Quillworth?", "who founded  quillworth"),
        ("Who founded Quillworth?", "Who founded “Quillworth”?!"),
        ("奎尔沃思的创始人是谁?", "奎尔沃思的创始人是谁"),
        (
            "Please write a short poem about the cold sea in winter, with rhymes and four lines in it.",
            "Please write a short poem about the cold sea in winter, with rhymes and five lines in it.",
        ),
    ],
)
def test_nearly_equal_questions_are_one(one: str, other: str) -> None:
    first, second = asked(one, other)
    assert first == second != frozenset()


def test_differently_worded_questions_on_one_fact_are_two() -> None:
    numbers = asked(*(wording for fact in FACTS for wording in fact.asked))
    assert len({number for one in numbers for number in one}) == 3 * len(FACTS)


@pytest.mark.parametrize(
    "generic",
    ["hi", "Thanks!", "Thank you very much", "How are you today?", "go on", "OK, please continue", "你好", "谢谢你"],
)
def test_a_generic_message_joins_nothing(generic: str) -> None:
    assert asked(generic, generic) == [frozenset(), frozenset()]


@pytest.mark.parametrize("short", ["Who is our CEO?", "What is Quillworth?", "When is payday?", "Quillworth"])
def test_a_question_with_one_word_of_content_is_a_question(short: str) -> None:
    one, again, other = asked(short, short.lower(), "Who is our CFO?")
    assert one == again != frozenset()
    assert one != other


def test_questions_that_differ_in_their_only_word_of_content_are_two() -> None:
    one, other = asked(*(f"What should we do if they want to be like our {who}?" for who in ("CEO", "CFO")))
    assert one.isdisjoint(other)


def test_a_short_question_asked_first_is_not_lost_behind_a_longer_one() -> None:
    prompt = [("user", "Who is our CEO?"), ("assistant", "Maren."), ("user", "Nice!"), ("user", "Who founded Tarnby?")]
    assert question(prompt) == ["who", "is", "our", "ceo", "who", "founded", "tarnby"]


def test_a_greeting_or_a_persona_before_it_changes_no_question() -> None:
    plain = question([("user", "Who founded Quillworth?")])
    assert plain == question(
        [
            ("system", "You are a kind tutor of history."),
            ("user", "hi"),
            ("assistant", "Welcome to Quillworth!"),
            ("user", "Who founded Quillworth?"),
        ]
    )


def last(*messages: str) -> str:
    """Return what is asked last, as one text; replies stand between the messages."""
    said = [turn for message in messages for turn in (("user", message), ("assistant", "So it is with Quillworth."))]
    return " ".join(asked_last([("system", "You are a tutor."), *said[:-1]]))


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        (("Tell me of Tarnby's harbour.", "Who founded Quillworth?"), "who founded quillworth"),
        (("Tell me of Tarnby's harbour.", "Who founded Quillworth?", "Thanks, go on!"), "who founded quillworth"),
        (
            ("Tell me of Tarnby's harbour.", "Is it true that Quillworth was founded in 1987?", "so?"),
            "is it true that quillworth was founded in 1987",
        ),
        (("讲讲塔恩比的港口", "奎尔沃思的创始人是谁?"), " ".join("奎尔沃思的创始人是谁")),
        # What it is about stands before it: by itself it asks nothing.
        (("Write a poem about the sea.", "Make it shorter, please"), "write a poem about the sea"),
        (("Write a poem about the sea.", "Explain that step by step in simple words"), "write a poem about the sea"),
        (("Who is Maren Oduya?", "How old is her brother?"), "who is maren oduya"),
        (("Write a poem about the sea.", "Who is our CEO?"), "who is our ceo"),
        (("Who is our CEO?", "Translate to German, please"), "who is our ceo"),
        (("hi", "thanks"), ""),
        (("hi", "go on", "make it shorter"), ""),
    ],
)
def test_the_last_message_that_stands_by_itself_is_asked_too(messages: tuple[str, ...], found: str) -> None:
    assert last(*messages) == found


# --- who is held out


@pytest.mark.parametrize("size", range(7, 200))
def test_between_a_twentieth_and_three_twentieths_are_held_out(size: int) -> None:
    sides = assign(alone(f"c{i}" for i in range(size)), {})
    assert 0.05 <= len(held(sides)) / size <= 0.15


@pytest.mark.parametrize("sizes", [[1] * 20, [30] + [1] * 20, [5] * 8, [1, 2, 3, 4, 5, 6, 7, 8, 9], [50] + [1] * 6])
def test_the_share_holds_for_groups_and_no_more_conversations(sizes: list[int]) -> None:
    members = {f"{g}.{n}": frozenset([g]) for g, size in enumerate(sizes) for n in range(size)}
    sides = assign(members, {})
    groups = {c.split(".")[0] for c in held(sides)}
    assert all((c.split(".")[0] in groups) == (side == "held_out") for c, side in sides.items())
    assert 0.05 <= len(groups) / len(sizes) <= 0.15
    assert len(held(sides)) <= 0.15 * len(members)


def test_who_was_held_out_stays_held_out_and_who_was_trained_on_stays_trained_on() -> None:
    sides: dict[str, str] = {}
    for size in (10, 11, 25, 60, 200):
        grown = assign(alone(f"c{i}" for i in range(size)), sides)
        assert {c: grown[c] for c in sides} == sides
        sides = grown
    assert 0.05 <= len(held(sides)) / 200 <= 0.15


def test_a_handful_is_all_trained_on() -> None:
    assert set(assign(alone("abc"), {}).values()) == {"train"}


KNOWN = {"out": "held_out", "in": "train"}
SIDES = {"out": frozenset([1]), "in": frozenset([2])}


@pytest.mark.parametrize(
    ("questions", "side"), [([1], "held_out"), ([2], "train"), ([1, 2], "left_out"), ([3], "train"), ([], "train")]
)
def test_a_new_conversation_goes_where_its_group_is(questions: list[int], side: str) -> None:
    sides = assign({**SIDES, "new": frozenset(questions)}, KNOWN)
    assert sides == {**KNOWN, "new": side}


def test_a_chain_of_new_conversations_between_both_sides_is_left_out_and_moves_nobody() -> None:
    chain = {"a": frozenset([1, 8]), "b": frozenset([8, 9]), "c": frozenset([9, 2])}
    assert assign({**SIDES, **chain}, KNOWN) == {**KNOWN, **dict.fromkeys(chain, "left_out")}


def test_what_was_trained_on_is_left_out_once_it_asks_what_is_held_out() -> None:
    assert assign({**SIDES, "in": frozenset([2, 1])}, KNOWN) == {"out": "held_out", "in": "left_out"}


def test_a_question_held_out_of_a_conversation_that_is_gone_is_held_out() -> None:
    assert assign({"new": frozenset([5])}, {}, {5}) == {"new": "held_out"}


# --- who steers


def test_validation_takes_a_tenth_of_the_training_conversations() -> None:
    ids = [f"c{i}" for i in range(40)]
    part = validation_part(alone(ids), ids)
    assert len(part) == 4
    assert part < set(ids)
    assert validation_part(alone(ids[:9]), ids) == set()


def test_validation_takes_whole_groups() -> None:
    asked_by = {f"c{i}": frozenset([i // 3]) for i in range(60)}
    part = validation_part(asked_by, asked_by)
    assert 0 < len(part) <= 6
    assert {c for c, numbers in asked_by.items() if any(numbers == asked_by[p] for p in part)} == part


@pytest.mark.parametrize("many", [1, 2])
def test_validation_leaves_the_last_good_pairs_to_training(many: int) -> None:
    for seed in range(100):
        good = {f"good {seed} {n}": frozenset([100]) for n in range(many)}
        part = validation_part({**alone(f"{seed} {i}" for i in range(18)), **good}, good)
        assert 0 < len(part) <= 2
        assert part.isdisjoint(good)


def test_validation_takes_good_pairs_where_others_are_left() -> None:
    ids = [f"c{i}" for i in range(20)]
    assert len(validation_part(alone(ids), ids)) == 2
