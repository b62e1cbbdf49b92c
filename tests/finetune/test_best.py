"""An epoch whose loss is no number is never kept over one that is sound."""

import pytest

from finetune.best import better, least
from finetune.checkpoints import State

NAN, INF = float("nan"), float("inf")


def epochs(validation: list[float], general: list[float], kept: int = 1) -> State:
    """Two epochs, with the losses of two rows each; the last one is to be judged."""
    best = [validation[0], validation[0]] if validation else []
    return State(epoch=2, kept=kept, validation=validation, general=general, best=best)


@pytest.mark.parametrize("broken", [NAN, INF])
@pytest.mark.parametrize("general", [[], [0.1, 0.1], [0.1, NAN], [0.3, NAN], [0.3, 0.1]])
def test_a_broken_epoch_replaces_no_sound_one(broken: float, general: list[float]) -> None:
    assert not better(epochs([1.0, broken], general), [1.0, broken], most_rise=0.2)
    assert not better(epochs([1.0, broken], general), [broken, broken], most_rise=0.2)


def test_a_broken_epoch_that_general_prompts_alone_tell_of_replaces_no_sound_one() -> None:
    for rose in (0.1, 0.3):  # one that forgets too much is still better than none
        assert not better(epochs([], [rose, NAN]), [], most_rise=0.2)
        assert better(epochs([], [NAN, rose]), [], most_rise=0.2)


@pytest.mark.parametrize("general", [[], [0.1, 0.3]])
def test_a_sound_epoch_replaces_a_broken_one(general: list[float]) -> None:
    assert better(epochs([NAN, 9.0], general), [9.0, 9.0], most_rise=0.2)


def test_the_first_epoch_is_kept_whatever_it_is() -> None:
    assert better(State(epoch=1, kept=0), [NAN], most_rise=0.2)


def test_the_least_losses_are_numbers_where_there_are_any() -> None:
    good, worse, broken = [1.0, 2.0], [2.0, 2.0], [1.0, NAN]
    assert least(worse, good) == least(good, worse) == least([], good) == good
    assert least(broken, good) == least(good, broken) == good
    assert least([], broken) is broken
