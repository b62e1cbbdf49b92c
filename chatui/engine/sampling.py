"""Picking the next token, with transformers' own warpers and a generator per reply."""

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from chatui.engine.protocol import EngineError, Sampling


class Picker:
    """Picks tokens for one reply; its random numbers are its own, whatever else is being written."""

    def __init__(self, sampling: Sampling, device: torch.device):
        self.greedy = sampling.temperature == 0
        self.warpers = _warpers(sampling)
        self.dice = torch.Generator(device=device)
        self.dice.manual_seed(sampling.seed) if sampling.seed is not None else self.dice.seed()

    def pick(self, logits: Tensor, so_far: Tensor) -> int:
        """Pick from (1, vocabulary) logits, given the (1, tokens) read and written so far. Raises EngineError."""
        if bool(torch.isnan(logits).any()):
            raise EngineError("The model gave no usable probabilities; try again, or roll this version back.")
        scores = self.warpers(so_far, logits.float())
        if self.greedy:
            return int(scores.argmax(-1))
        chances = torch.softmax(scores, -1)
        return int(torch.multinomial(chances, 1, generator=self.dice))


def _warpers(sampling: Sampling) -> LogitsProcessorList:
    warpers = LogitsProcessorList()
    if sampling.repetition_penalty != 1.0:
        warpers.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature == 0:
        return warpers
    warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers
