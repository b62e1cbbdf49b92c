import pytest

from feedback.judging import BAD, GOOD
from finetune.weights import LEAST, OF_KIND, weight


def of(kind: str = "thumb_up", reasons: tuple[str, ...] = (), votes: tuple[int, ...] = (1,), age: int = 0) -> float:
    return weight(kind, reasons, votes, age, half_life_days=100)


def test_every_kind_weighs_and_the_stronger_signal_weighs_more() -> None:
    assert set(OF_KIND) == {*GOOD, *BAD}
    assert [of(kind) for kind in GOOD] == sorted((of(kind) for kind in GOOD), reverse=True)
    assert of("corrected") > of("thumb_down") > of("discarded") > 0


def test_a_correction_of_today_weighs_one_whatever_was_thought_of_the_reply() -> None:
    assert of("correction", votes=(1, -1)) == of("correction", votes=()) == 1.0


@pytest.mark.parametrize(("votes", "share"), [((1, 1, 1), 1), ((1, 1, -1), 1 / 3), ((-1, -1, -1, 1), 1 / 2)])
def test_a_thumb_weighs_less_the_more_raters_disagree(votes: tuple[int, ...], share: float) -> None:
    assert of(votes=votes) == pytest.approx(of() * share, abs=1e-6)


def test_a_thumb_with_reasons_weighs_more_and_still_less_than_a_choice() -> None:
    assert of("chosen") > of(reasons=("clear",)) > of()


def test_weight_halves_with_the_half_life_and_never_grows() -> None:
    assert [of(age=days) / of() for days in (0, 100, 200)] == pytest.approx([1, 0.5, 0.25])
    assert of(age=-5) == of()  # another machine's clock


@pytest.mark.parametrize("age", [2_000, 2_500, 40_000, 200_000])
def test_what_is_older_than_twenty_half_lives_still_weighs_something(age: int) -> None:
    assert of("kept", age=age) > 0
    assert LEAST <= of(age=age) < of(age=1_000)
