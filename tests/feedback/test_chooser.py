"""The choice of replies to ask about, on made-up records where the chance of a thumb up lies in the words."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from feedback.chooser import RANDOM, Ask, choose, set_apart
from feedback.guess import Learnt, Rated, Text, words_of
from feedback.statistics import wilson

# What decides of a thumb: a word of the reply. Some please, some do not, and some please half of the raters.
CHANCE = {"crisp": 0.95, "lucid": 0.95, "proven": 0.95, "vague": 0.05, "debatable": 0.5, "risky": 0.5}
SHARES = (0.3, 0.25, 0.2, 0.05, 0.1, 0.1)
TRUTH = sum(chance * share for chance, share in zip(CHANCE.values(), SHARES, strict=True))
FILLING = [f"word{number}" for number in range(400)]


@dataclass(frozen=True)
class World:
    """A made-up record: replies, and the chance that each gets a thumb up."""

    texts: tuple[Text, ...]
    chance: dict[str, float]

    def thumb(self, text: Text, dice: np.random.Generator) -> Rated:
        up = int(dice.random() < self.chance[text.message_id])
        return Rated(text, up, 1 - up)


def world(count: int, seed: int) -> World:
    dice = np.random.default_rng(seed)
    texts, chance = [], {}
    for number in range(count):
        word = str(dice.choice(list(CHANCE), p=SHARES))
        other = " ".join(dice.choice(FILLING, 12))
        text = Text(f"{seed}-{number}", f"c{number}", int(dice.integers(3)), f"ask {other[:20]}", f"{word} {other}")
        texts.append(text)
        chance[text.message_id] = CHANCE[word]
    return World(tuple(texts), chance)


def rounds(made: World, count: int, seed: int) -> tuple[list[Ask], dict[str, Rated]]:
    """Rate 200, then ask in batches of ten, learning every fourth time; return what was asked, and all thumbs."""
    dice = np.random.default_rng([seed, 7])
    thumbs = {text.message_id: made.thumb(text, dice) for text in made.texts[:200]}
    asks: list[Ask] = []
    for number in range(count):
        if number % 4 == 0:
            learnt = Learnt(list(thumbs.values()))
        left = [text for text in made.texts if text.message_id not in thumbs]
        some = [left[place] for place in dice.permutation(len(left))[:400]]
        apart = [text for text in left if set_apart(text.message_id)]
        batch = choose(learnt, some, apart, 10, [seed, number])
        by_id = {text.message_id: text for text in left}
        thumbs |= {ask.message_id: made.thumb(by_id[ask.message_id], dice) for ask in batch}
        asks += batch
    return asks, thumbs


@pytest.fixture(scope="module")
def asked() -> tuple[World, list[Ask], dict[str, Rated]]:
    made = world(3000, 1)
    return made, *rounds(made, 40, 1)


def test_asking_finds_more_of_what_is_hard_to_say_than_chance_does(asked) -> None:
    made, asks, _ = asked
    open_ones = {
        kind: [made.chance[a.message_id] == 0.5 for a in asks if a.why == kind] for kind in {a.why for a in asks}
    }
    chosen = [hard for kind, found in open_ones.items() if kind != RANDOM for hard in found]
    assert np.mean(chosen) > 2 * np.mean(open_ones[RANDOM])
    assert np.mean(open_ones["uncertain"]) > 0.6


def test_the_random_fifth_tells_the_share_of_thumbs_up_and_the_whole_batch_does_not(asked) -> None:
    _, asks, thumbs = asked
    random = [thumbs[ask.message_id].up for ask in asks if ask.why == RANDOM]
    everything = [thumbs[ask.message_id].up for ask in asks]
    assert len(random) == 80 < len(asks) / 4
    low, high = wilson(sum(random), len(random))
    assert low <= TRUTH <= high
    assert wilson(sum(everything), len(everything))[1] < TRUTH


def test_over_many_records_the_random_fifths_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(2, 14):
        made = world(500, seed)
        asks, thumbs = rounds(made, 8, seed)
        random = [thumbs[ask.message_id].up for ask in asks if ask.why == RANDOM]
        low, high = wilson(sum(random), len(random))
        covered += low <= TRUTH <= high
    assert covered >= 9  # of 12; a 90 % interval would miss more often in one of 40 such tests


def text(name: str, content: str, conversation: str = "", version: int | None = 0, question: str = "why") -> Text:
    return Text(name, conversation or name, version, question, content)


def guided(names: str) -> list[str]:
    """Return ids beginning with each letter that are not set apart."""
    return [next(f"{name}{n}" for n in range(99) if not set_apart(f"{name}{n}")) for name in names]


def test_much_the_same_replies_that_were_judged_differently_make_a_dispute() -> None:
    tale = "the harbour bridge was opened by the old queen in spring"
    rated = [Rated(text("1", tale + " early"), 1, 0), Rated(text("2", tale + " late"), 0, 1)]
    rated += [
        Rated(text(f"r{n}", f"{FILLING[n]} {FILLING[n + 50]} {FILLING[n + 90]}"), n % 2, 1 - n % 2) for n in range(9)
    ]
    a, b = guided("ab")
    alike, other = text(a, tale + " again"), text(b, "word1 word2 word3 word4 word51 unheard of matters")
    assert {ask.message_id: ask.why for ask in choose(Learnt(rated), [alike, other], [], 10)}.get(a) == "disputed"
    agreed = [*rated[:1], Rated(rated[1].text, 1, 0), *rated[2:]]
    assert a not in {ask.message_id for ask in choose(Learnt(agreed), [alike], [], 10)}
    both = [Rated(rated[0].text, 1, 1), *rated[2:]]  # raters of one reply who disagree
    assert [ask.why for ask in choose(Learnt(both), [alike], [], 10)] == ["disputed"]


def test_what_is_far_from_all_that_was_rated_is_asked_about_and_its_like_is_not_asked_beside_it() -> None:
    rated = [Rated(text(f"r{n}", f"bread flour oven yeast {FILLING[n]}"), 1, 0) for n in range(8)]
    a, b, c = guided("abc")
    pool = [
        text(a, "comets orbit beyond planets", question="space"),
        text(b, "comets orbit beyond planets indeed", question="space"),
        text(c, "bread flour oven yeast word3"),
    ]
    assert [(ask.message_id, ask.why) for ask in choose(Learnt(rated), pool, [], 10)] in (
        [(a, "unlike")],
        [(b, "unlike")],
    )


def test_a_batch_takes_turns_among_conversations_and_versions() -> None:
    names = guided("abcdefghijklmnopqrst")
    pool = [
        text(
            name,
            " ".join(FILLING[9 * n : 9 * n + 9]),
            conversation=f"c{n // 2}",
            version=0 if n < 16 else 1,
            question="",
        )
        for n, name in enumerate(names)
    ]
    asks = choose(Learnt([]), pool, [], 4)
    by_id = {one.message_id: one for one in pool}
    assert len(asks) == 4
    assert Counter(by_id[ask.message_id].version for ask in asks) == {0: 2, 1: 2}
    assert len({by_id[ask.message_id].conversation_id for ask in asks}) == 4
    alone = [one for one in pool if one.version == 0]
    assert len(choose(Learnt([]), alone, [], 4)) == 4  # where no other version has any


@pytest.mark.parametrize(
    "thumb",
    [lambda n: (1, 0), lambda n: (n % 2, 1 - n % 2)],
    ids=["all of one sort", "words tell nothing"],
)
def test_without_anything_to_go_by_nothing_is_called_uncertain(thumb: Callable[[int], tuple[int, int]]) -> None:
    dice = np.random.default_rng(5)
    rated = [Rated(text(f"r{n}", " ".join(dice.choice(FILLING, 8))), *thumb(n)) for n in range(200)]
    learnt = Learnt(rated)
    assert not learnt.guesses
    pool = [text(f"p{n}", " ".join(dice.choice(FILLING, 8))) for n in range(50)]
    assert "uncertain" not in {ask.why for ask in choose(learnt, pool, [], 20)}


def test_the_guess_is_near_the_chance_that_the_words_give() -> None:
    made, dice = world(1500, 3), np.random.default_rng(3)
    learnt = Learnt([made.thumb(one, dice) for one in made.texts[:1000]])
    chance, _ = learnt.look(made.texts[1000:])
    by_word: dict[float, list[float]] = {}
    for one, guessed in zip(made.texts[1000:], chance, strict=True):
        by_word.setdefault(made.chance[one.message_id], []).append(guessed)
    assert learnt.guesses
    means = {truth: float(np.mean(guesses)) for truth, guesses in by_word.items()}
    assert abs(means[0.95] - 0.95) < 0.1 and abs(means[0.5] - 0.5) < 0.15
    assert means[0.05] < 0.5  # one reply in twenty holds that word, so its guess stays nearer to the plain share


def test_words_of_languages_without_spaces_are_pairs_of_characters() -> None:
    assert words_of("Why, WHY not 天气很好?") == {"why", "not", "天气", "气很", "很好"}
    assert words_of("好 über") == {"好", "über"}


def test_nothing_to_choose_from_is_no_error() -> None:
    assert choose(Learnt([]), [], [], 10) == []
    assert [ask.why for ask in choose(Learnt([]), [], [text("x", "hello")], 10)] == [RANDOM]


def test_what_is_set_apart_is_left_to_chance() -> None:
    kept = next(name for name in FILLING if set_apart(name))
    (other,) = guided("a")
    pool = [text(kept, "comets orbit beyond planets"), text(other, "bread rises in a warm oven")]
    assert [ask.message_id for ask in choose(Learnt([]), pool, [], 10)] == [other]
