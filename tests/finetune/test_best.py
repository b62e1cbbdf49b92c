"""An epoch whose loss is no number is never kept over one that is sound."""

import pytest

from finetune.best import better, choose, least
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


def kept_of(validation: list[float], general: list[float]) -> tuple[int, list[float], int]:
    """Judge epoch after epoch, of two validation rows; return which is kept, the yardstick and how many were worse."""
    state = State()
    for epoch, loss in enumerate(validation, 1):
        state.epoch = epoch
        state.validation.append(loss)
        state.general = general[:epoch]
        choose(state, [loss, loss], 0.2)
    return state.kept, state.best, state.worse


@pytest.mark.parametrize(
    ("validation", "general", "kept", "best", "worse"),
    [
        ([2.0, 1.0, 1.5], [0.1, 0.5, 0.1], 3, 1.5, 0),  # the second forgets, and holds back nobody
        ([2.0, 1.0, 2.5], [0.1, 0.5, 0.1], 1, 2.0, 2),
        ([1.0, 2.0, 1.5, 1.8], [0.5, 0.1, 0.1, 0.1], 3, 1.5, 1),  # from the second on only those that do not forget
        ([2.0, 1.0, 1.5], [0.5, 0.6, 0.7], 2, 1.0, 1),  # all forget: the best of them
        ([NAN, 2.0, 3.0, 1.0], [0.1, 0.5, 0.5, NAN], 2, 2.0, 2),
        ([1.0, 2.0, 1.5], [NAN, 0.1, 0.1], 3, 1.5, 0),
        ([2.0, 1.0, 1.5], [], 2, 1.0, 1),
    ],
)
def test_epochs_are_held_against_such_as_may_be_kept(
    validation: list[float], general: list[float], kept: int, best: float, worse: int
) -> None:
    assert kept_of(validation, general) == (kept, [best, best], worse)
