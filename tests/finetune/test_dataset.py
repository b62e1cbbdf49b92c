"""A run's dataset: on which side a question ends up, wherever in a talk it is asked."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from feedback.errors import RapportError
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import checks
from finetune.dataset import Built, build, check_trainable, read, remember, write
from finetune.measures import after_others
from finetune.model import ChatTemplate, load_template
from finetune.pairs import TrainingPair
from finetune.settings import PairSettings
from finetune.witnesses import by_question
from tests.facts import FACTS

ASKED = [(one.asked[0], other.asked[1]) for one, other in zip(FACTS[:12], FACTS[12:], strict=True)]  # all different
NAMES = [f"talk {n}" for n in range(12)]


@pytest.fixture(scope="module")
def template(tiny: Path) -> ChatTemplate:
    return load_template(tiny)


def talk(store: Store, name: str, *asked: str, rating: int = 1) -> None:
    """Record a talk of which the last reply is liked, unless `rating` says otherwise."""
    turns = [
        message
        for n, text in enumerate(asked)
        for message in (
            IncomingMessage("user", text),
            IncomingMessage("assistant", f"So it is, {name}.", rating=rating if n + 1 == len(asked) else None),
        )
    ]
    assert store.take_in([Incoming(name, tuple(turns))]) == [None]


def next_run(store: Store, data: DataSettings, template: ChatTemplate) -> Built:
    built = build(store, data, template, PairSettings(), writes=True)
    remember(store, built)
    return built


def side_of(built: Built, conversation: str) -> str:
    """Name the side of a conversation, `left_out` if it is on none."""
    of = vars(built.sides).items()
    found = [side for side, part in of if any(pair.conversation_id == conversation for pair in part)]
    (one,) = [*found, *(["left_out"] if not found else [])]
    return "train" if one == "validation" else one


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Ask only what a talk asks in all, as all runs did once."""
    with monkeypatch.context() as before:
        before.setattr(checks, "asked_last", lambda prompt: [])
        before.setattr(checks, "_MADE_BY", "2")
        yield before


def two_questions(store: Store) -> None:
    for name, asked in zip(NAMES, ASKED, strict=True):
        talk(store, name, *asked)


def held_out(built: Built) -> int:
    """Return the place of the one talk that is held out."""
    (place,) = [n for n, name in enumerate(NAMES) if side_of(built, name) == "held_out"]
    return place


def test_a_question_is_on_one_side_wherever_in_a_talk_it_is_asked(
    store: Store, data: DataSettings, template: ChatTemplate
) -> None:
    for name, asked in zip(NAMES, ASKED, strict=True):
        talk(store, name, *asked, "And why?")
        talk(store, f"{name} alone", asked[1])
        talk(store, f"{name} again", "Tell me of Tarnby's harbour.", asked[1])
    built = next_run(store, data, template)
    sides = [{side_of(built, f"{name}{more}") for more in ("", " alone", " again")} for name in NAMES]
    assert sorted(map(sorted, sides)) == [["held_out"]] + 11 * [["train"]]


def test_who_asks_last_what_is_held_out_is_held_out(store: Store, data: DataSettings, template: ChatTemplate) -> None:
    for name, asked in zip(NAMES, ASKED, strict=True):
        talk(store, name, asked[0])
    held = held_out(next_run(store, data, template))
    talk(store, "later", "Which river runs through Rome?", ASKED[held][0], "And why?")
    assert side_of(next_run(store, data, template), "later") == "held_out"


def test_a_short_question_that_is_held_out_is_remembered(
    store: Store, data: DataSettings, template: ChatTemplate
) -> None:
    who = [
        "CEO",
        "CFO",
        "landlord",
        "dentist",
        "mayor",
        "butcher",
        "captain",
        "judge",
        "nurse",
        "tailor",
        "pilot",
        "cook",
    ]
    for name, one in zip(NAMES, who, strict=True):
        talk(store, name, f"Who is our {one}?")
    held = held_out(next_run(store, data, template))
    assert [kept[0] for kept in store.held_out_prompts()] == [NAMES[held]]
    talk(store, "later", f"who is our {who[held]}")
    assert side_of(next_run(store, data, template), "later") == "held_out"


def test_what_was_held_out_by_all_that_it_asks_stays_held_out(
    store: Store, data: DataSettings, template: ChatTemplate, as_before: pytest.MonkeyPatch
) -> None:
    two_questions(store)
    first = next_run(store, data, template)
    held = held_out(first)
    as_before.undo()
    second = next_run(store, data, template)
    assert {name: side_of(second, name) for name in NAMES} == {name: side_of(first, name) for name in NAMES}
    talk(store, "last", "Tell me of Tarnby's harbour.", ASKED[held][1])
    assert side_of(next_run(store, data, template), "last") == "held_out"


def test_what_was_held_out_of_a_talk_that_is_gone_is_still_known_by_all_that_it_asked(
    store: Store, data: DataSettings, template: ChatTemplate, as_before: pytest.MonkeyPatch
) -> None:
    two_questions(store)
    held = held_out(next_run(store, data, template))
    as_before.undo()
    store.delete(NAMES[held])
    talk(store, "the same", *ASKED[held])
    assert side_of(next_run(store, data, template), "the same") == "held_out"


def test_who_was_trained_on_is_left_out_where_a_held_out_talk_asks_the_same_last(
    store: Store, data: DataSettings, template: ChatTemplate, as_before: pytest.MonkeyPatch
) -> None:
    two_questions(store)
    held = held_out(next_run(store, data, template))
    talk(store, "alone", ASKED[held][1])
    assert side_of(next_run(store, data, template), "alone") == "train"
    as_before.undo()
    now = next_run(store, data, template)
    assert (side_of(now, "alone"), side_of(now, NAMES[held])) == ("left_out", "held_out")
    assert [rule for _, rule in now.rejected] == ["both_sides"]


@pytest.mark.parametrize("liked", NAMES)
def test_the_only_good_reply_is_trained_on_or_it_is_said_that_it_is_held_out(
    store: Store, data: DataSettings, template: ChatTemplate, liked: str
) -> None:
    for name, asked in zip(NAMES, ASKED, strict=True):
        talk(store, name, asked[0], rating=1 if name == liked else -1)
    built = next_run(store, data, template)
    if side_of(built, liked) == "train":
        assert [p.conversation_id for p in built.sides.good().train] == [liked]
        check_trainable(built)
    else:
        with pytest.raises(RapportError, match="Every conversation with a good reply is held out"):
            check_trainable(built)


FOLLOW_UPS = [
    "Kannst du das bitte kürzer fassen?",
    "Vielen Dank!",
    "Peux-tu faire plus court ?",
    "¿Puedes hacerlo más corto?",
    "もっと短くしてください",
    "ありがとうございます",
    "더 짧게 해 주세요",
    "谢谢你的帮助",
    "It still doesn't work",
    "Please fix the grammar",
    "Use a more professional tone",
]


def groups(built: Built) -> list[int]:
    return sorted(sum(side_of(built, name) == side for name in NAMES) for side in ("held_out", "train"))


@pytest.mark.parametrize("follow_up", FOLLOW_UPS)
def test_what_follows_questions_on_anything_joins_nobody(
    store: Store, data: DataSettings, template: ChatTemplate, follow_up: str
) -> None:
    for name, asked in zip(NAMES, ASKED, strict=True):
        talk(store, name, asked[0], follow_up)
    first = next_run(store, data, template)
    assert groups(first) == [1, 11]
    # What stands before it still joins, wherever it is asked.
    held = held_out(first)
    talk(store, "later", "Tell me of Tarnby's harbour.", ASKED[held][0], follow_up)
    talk(store, "another", "Which river runs through Rome?", follow_up)
    later = next_run(store, data, template)
    assert (side_of(later, "later"), side_of(later, "another")) == ("held_out", "train")


def test_a_held_out_follow_up_stops_joining_once_it_is_seen_to_follow_anything(
    store: Store, data: DataSettings, template: ChatTemplate
) -> None:
    talk(store, "held", "Tell me of Tarnby's harbour.", FOLLOW_UPS[0])
    store.remember_splits({"held": "held_out"})
    next_run(store, data, template)
    talk(store, "joined", ASKED[0][1], FOLLOW_UPS[0])
    assert side_of(build(store, data, template, PairSettings(), writes=True), "joined") == "held_out"
    talk(store, "seen", ASKED[1][1], FOLLOW_UPS[0])
    now = next_run(store, data, template)
    assert {side_of(now, name) for name in ("joined", "seen")} == {"train"}
    # A slightly different wording is not joined by what is remembered either.
    talk(store, "nearly", ASKED[2][1], FOLLOW_UPS[0] + " Danke")
    assert side_of(next_run(store, data, template), "nearly") == "train"


def test_behind_a_fixed_instruction_there_are_as_many_groups_as_questions(
    store: Store, data: DataSettings, template: ChatTemplate
) -> None:
    instruction = "You are a careful clerk. Answer the customer below in one short sentence. Customer message: "
    for name, asked in zip(NAMES, ASKED, strict=True):
        talk(store, name, instruction + asked[0])
    first = next_run(store, data, template)
    assert groups(first) == [1, 11]
    talk(store, "later", instruction + ASKED[held_out(first)][0])
    talk(store, "plain", ASKED[held_out(first)][0])
    later = next_run(store, data, template)
    assert [side_of(later, name) for name in ("later", "plain")] == ["held_out", "held_out"]


LONG_INSTRUCTION = (
    "You are a careful clerk of a large company that has been in business for many years. Read the message of the "
    "customer below with great care, think about what they want to know, and answer it in one short sentence of plain "
    "English, without any greeting, apology, list or closing line, and never guess at what you do not know. "
    "Customer message: "
)


def witnesses(pairs: list[TrainingPair]) -> list[list[str]]:
    """Return the conversations of the pairs that are one witness each, in the order of the pairs."""
    together: dict[str, list[str]] = {}
    for pair, witness in zip(pairs, by_question(pairs), strict=True):
        together.setdefault(witness.conversation_id, []).append(pair.conversation_id)
    return list(together.values())


@pytest.mark.parametrize(("before", "after"), [(LONG_INSTRUCTION, []), ("", FOLLOW_UPS[:1])])
def test_what_the_split_keeps_apart_is_a_witness_each(
    store: Store,
    data: DataSettings,
    template: ChatTemplate,
    before: str,
    after: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(template, "context", 2048)
    for name, asked in zip(NAMES, ASKED, strict=True):
        talk(store, name, before + asked[0], *after)
    store.remember_splits(dict.fromkeys(NAMES[:2], "held_out"))
    talk(store, "the same", before + ASKED[0][0])
    sides = next_run(store, data, template).sides
    write(sides, tmp_path / "dataset")
    for held in (sides.held_out, read(tmp_path / "dataset").held_out):
        assert witnesses(held) == [[NAMES[0], "the same"], [NAMES[1]]]
        assert all(after_others([replace(pair, kind="correction") for pair in held]))


def test_a_dataset_that_knows_no_groups_has_its_witnesses_found_anew(
    store: Store, data: DataSettings, template: ChatTemplate, tmp_path: Path
) -> None:
    from datasets import load_from_disk

    for name, asked in zip(NAMES, ASKED, strict=True):
        talk(store, name, asked[0])
    store.remember_splits(dict.fromkeys(NAMES[:2], "held_out"))
    talk(store, "the same", ASKED[0][0])
    write(next_run(store, data, template).sides, tmp_path / "new")
    load_from_disk(str(tmp_path / "new")).remove_columns("group").save_to_disk(str(tmp_path / "old"))
    held = read(tmp_path / "old").held_out
    assert witnesses(held) == [[NAMES[0], "the same"], [NAMES[1]]]
