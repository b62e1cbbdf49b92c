"""Which epoch's weights are kept: late enough to have learned, early enough not to have forgotten."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from finetune.checkpoints import State


def choose(state: State, rows: list[float], most_rise: float) -> None:
    """Note in `state` whether the epoch that ended is kept, and what later ones are held against.

    `rows` are its validation losses; they and its general loss are in the state's curves already.
    """
    best = _yardstick(state, rows, most_rise)
    if better(state, rows, most_rise):
        state.kept, state.worse = state.epoch, 0
    else:
        state.worse += 1
    state.best = best


def better(state: State, rows: list[float], most_rise: float) -> bool:
    """Tell whether the epoch that ended is to be kept instead of the one kept so far; `rows` are its validation losses.

    What broke (a loss that is no number) never takes the place of what did not, nor what forgets too much of what does
    not; else it is, unless it is worse by more than chance.
    """
    if not state.kept:
        return True
    now, then = (_fitness(state, epoch, most_rise) for epoch in (state.epoch, state.kept))
    if now != then or not now.sound:
        return now > then
    return not (rows and is_worse(torch.tensor(rows), torch.tensor(least(state.best, rows))))


def _yardstick(state: State, rows: list[float], most_rise: float) -> list[float]:
    """Return the least losses of epochs as fit to be kept as the one kept so far, or of the first that is fitter.

    So what forgets too much holds back none that does not, however low its losses.
    """
    if not (rows and state.kept):
        return rows
    now, then = (_fitness(state, epoch, most_rise) for epoch in (state.epoch, state.kept))
    if now != then:
        return rows if now > then else state.best
    return least(state.best, rows)


def least(best: list[float], rows: list[float]) -> list[float]:
    """Return the losses with the lesser mean, where a mean that is no number is never less; at least one has some."""
    return min((losses for losses in (best, rows) if losses), key=_order)


def _order(losses: Sequence[float]) -> tuple[bool, float]:
    return not math.isfinite(mean(losses)), mean(losses)


class _Fitness(NamedTuple):
    """Whether an epoch may be kept; the greater is fitter, whatever the validation losses say."""

    sound: bool  # its losses are numbers; what was not measured is taken for one
    within: bool  # it forgot no more than it may


def _fitness(state: State, epoch: int, most_rise: float) -> _Fitness:
    measured = [losses[epoch - 1] for losses in (state.validation, state.general) if losses]
    sound = math.isfinite(sum(measured))
    return _Fitness(sound, sound and (not state.general or state.general[epoch - 1] <= most_rise))


def is_worse(rows: Tensor, best: Tensor) -> bool:
    """Tell whether losses (rows,) are worse than others of the same rows by more than chance may do.

    By more than one standard error of their mean difference, row by row (the one-standard-error rule, Breiman et al.
    1984). A handful of pairs tells neighbouring epochs apart no better than that.
    """
    moved = rows - best
    error = float(moved.std()) / len(moved) ** 0.5 if len(moved) > 1 else 0.0
    return float(moved.mean()) > error


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value."""
    return sum(values) / len(values)
