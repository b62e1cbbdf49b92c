"""Which epoch's weights are kept: late enough to have learned, early enough not to have forgotten."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from finetune.checkpoints import State


def better(state: State, rows: list[float], most_rise: float) -> bool:
    """Tell whether the epoch that ended is to be kept instead of the one kept so far; `rows` are its validation losses.

    What broke (a loss that is no number) never takes the place of what did not, nor what forgets too much of what does
    not; else it is, unless it is worse by more than chance.
    """
    if not state.kept:
        return True
    now = math.isfinite(sum(rows)) and _is_sound(state.general, state.epoch)
    then = _is_sound(state.validation, state.kept) and _is_sound(state.general, state.kept)
    if not (now and then):
        return now
    if state.general:
        now, then = (state.general[epoch - 1] <= most_rise for epoch in (state.epoch, state.kept))
        if now != then:
            return now
    return not (rows and is_worse(torch.tensor(rows), torch.tensor(least(state.best, rows))))


def least(best: list[float], rows: list[float]) -> list[float]:
    """Return the losses with the lesser mean, where a mean that is no number is never less; at least one has some."""
    return min((losses for losses in (best, rows) if losses), key=_order)


def _order(losses: Sequence[float]) -> tuple[bool, float]:
    return not math.isfinite(mean(losses)), mean(losses)


def _is_sound(losses: Sequence[float], epoch: int) -> bool:
    """Tell whether an epoch (from 1) was measured to be a number; what was not measured is taken for one."""
    return not losses or math.isfinite(losses[epoch - 1])


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
