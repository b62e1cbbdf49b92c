"""Picking the next tokens of a batch, each as its own settings say and with its own random numbers."""

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from chatui.engine.protocol import EngineError, Sampling

_CANDIDATES = 1024  # of the likeliest tokens; seldom does a share of the probability need more
_MOST_STOPS, _LONGEST_STOP = 16, 200
_GREEDY_TO = 1e-6  # temperatures up to here are greedy: far below, scores divided by them are no numbers any more


def check(sampling: Sampling) -> None:
    """Raise EngineError, with the value and the bounds, for settings that cannot be meant."""
    bounds = (
        ("temperature", sampling.temperature, 0, 10, False),
        ("top_p", sampling.top_p, 0, 1, True),
        ("repetition_penalty", sampling.repetition_penalty, 0, 10, True),
    )
    for name, value, lowest, highest, above in bounds:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not lowest <= value <= highest or (above and value == lowest):
            raise EngineError(f"{name} {value!r} cannot be used; give a number from {lowest} to {highest}.")
    for name, whole, lowest in (("top_k", sampling.top_k, 0), ("max_new_tokens", sampling.max_new_tokens, 1)):
        if not isinstance(whole, int) or isinstance(whole, bool) or whole < lowest:
            raise EngineError(f"{name} {whole!r} cannot be used; give a whole number from {lowest} on.")
    if sampling.seed is not None and not isinstance(sampling.seed, int):
        raise EngineError(f"seed {sampling.seed!r} cannot be used; give a whole number, or none.")
    stops = sampling.stop
    if len(stops) > _MOST_STOPS or not all(isinstance(s, str) and 0 < len(s) <= _LONGEST_STOP for s in stops):
        raise EngineError(
            f"The stop strings cannot be used; give at most {_MOST_STOPS}, each of 1 to {_LONGEST_STOP} characters."
        )


class Picker:
    """How one reply's tokens are picked: its settings, its dice and, for the penalty, what it has read and written."""

    def __init__(self, sampling: Sampling, ids: Sequence[int]):
        """`ids` is the prompt."""
        self.sampling = sampling
        self.dice = random.Random(sampling.seed)
        self._known = set(ids) if sampling.repetition_penalty != 1.0 else set()
        self._seen: Tensor | None = None

    def saw(self, token: int) -> None:
        """Take note of a token that was written."""
        if self.sampling.repetition_penalty != 1.0 and token not in self._known:
            self._known.add(token)
            self._seen = None

    def penalise(self, scores: Tensor) -> None:
        """Make what was said less likely, in place, in (vocabulary,) scores (Keskar et al. 2019, arXiv:1909.05858)."""
        penalty = self.sampling.repetition_penalty
        if self._seen is None or self._seen.device != scores.device:
            self._seen = torch.tensor(sorted(self._known), device=scores.device)
        seen = scores[self._seen]
        scores[self._seen] = torch.where(seen < 0, seen * penalty, seen / penalty)


def pick(logits: Tensor, pickers: Sequence[Picker]) -> list[int | None]:
    """Pick a token for each row of (rows, vocabulary) logits; None where a row holds no usable numbers."""
    scores = logits.float()
    for n, picker in enumerate(pickers):
        if picker.sampling.repetition_penalty != 1.0:
            picker.penalise(scores[n])
    best, tokens = scores.max(-1)
    # Told in one number each: what a GPU is asked for is waited for.
    told = torch.where(torch.isfinite(best), tokens, -1).tolist()
    picked: list[int | None] = [None if token < 0 else token for token in told]
    heats = [picker.sampling.temperature for picker in pickers]
    drawn = [n for n, heat in enumerate(heats) if picked[n] is not None and heat > _GREEDY_TO]
    if drawn:
        some = scores if len(drawn) == len(pickers) else scores[drawn]
        for n, token in zip(drawn, _draw(some, [pickers[n] for n in drawn]), strict=True):
            picked[n] = token
    return picked


def _draw(scores: Tensor, pickers: Sequence[Picker]) -> list[int]:
    """Draw from the likeliest tokens; from all of them only where those do not hold the share that is asked for."""
    asked, dice = [picker.sampling for picker in pickers], [picker.dice.random() for picker in pickers]
    most = min(scores.shape[1], max(s.top_k or _CANDIDATES for s in asked))
    values, places = scores.topk(most)
    heat = torch.tensor([s.temperature for s in asked], device=scores.device)[:, None]
    # As a difference to the best: a temperature near zero then makes small numbers, not infinite ones.
    best = values[:, :1]
    masses = [] if all(s.top_k for s in asked) else ((scores - best) / heat).exp().sum(-1).tolist()
    chances = ((values - best) / heat).cpu().double().exp()
    counts = torch.tensor([min(s.top_k or most, most) for s in asked])[:, None]
    sums = chances.masked_fill_(torch.arange(most) >= counts, 0).cumsum(1)
    held = sums[:, -1].tolist()
    wanted = [s.top_p * (held[n] if s.top_k else masses[n]) for n, s in enumerate(asked)]
    tokens = places.cpu().gather(1, _places(sums, wanted, dice, counts - 1)).flatten().tolist()
    for n, s in enumerate(asked):
        if held[n] < wanted[n] * (1 - 1e-6):  # the candidates are too few: take every token
            tokens[n] = _draw_of_all(scores[n].cpu().double(), s, dice[n])
    return tokens


def _draw_of_all(scores: Tensor, sampling: Sampling, dice: float) -> int:
    ordered, every = scores.sort(descending=True)
    sums = ((ordered - ordered[0]) / sampling.temperature).exp().cumsum(0)[None]
    place = _places(sums, [sampling.top_p * float(sums[0, -1])], [dice], torch.tensor([[len(every) - 1]]))
    return int(every[place[0, 0]])


def _places(sums: Tensor, wanted: Sequence[float], dice: Sequence[float], last: Tensor) -> Tensor:
    """Draw a place (rows, 1) from each row's sums of chances, likeliest first: among the first that hold `wanted`.

    `dice` are numbers from 0 to 1; last: (rows, 1), the last place of each row.
    """
    kept = torch.searchsorted(sums, torch.tensor(wanted, dtype=sums.dtype)[:, None]).minimum(last)
    thrown = torch.tensor(dice, dtype=sums.dtype)[:, None] * sums.gather(1, kept)
    return torch.searchsorted(sums, thrown, right=True).minimum(kept)
