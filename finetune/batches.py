"""Token rows in batches: what a step reads, in parts that waste little padding and fit memory."""

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from finetune.model import IGNORED, ChatTemplate, Encoded
from finetune.objectives import differing
from finetune.pairs import TrainingPair
from finetune.rows import Row, encode, reworded, rows
from finetune.wear import worn

_AT_ONCE = {"cpu": 1024, "cuda": 16384}  # padded tokens in one pass: all that its activations take memory for
FULL = {"cpu": 384, "cuda": 4096}  # tokens from which on a pass is as fast, token for token, as a longer one
_ALIKE = 0.8  # a row this much shorter than the longest of its part wastes more than another pass costs


class PairRows:
    """Training pairs as token rows, one a conversation where that is possible."""

    def __init__(self, pairs: Sequence[TrainingPair], template: ChatTemplate, wear: bool = False, seed: int = 0):
        """With `wear` the user messages that replies answer are worn anew for every reading, by `seed`."""
        self.rows, self.template, self.wear, self.seed = rows(pairs, template), template, wear, seed

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int, epoch: int = 0) -> Encoded:
        """Encode a row as it reads in an epoch: the same each time, whatever was read before."""
        row = self.rows[index]
        if self.wear:
            dice = random.Random(f"{self.seed} {epoch} {index}")
            row = reworded(row, lambda text: worn(text, dice))
        return _where_it_differs(row, encode(row, self.template), self.template)

    def order(self, epoch: int) -> list[int]:
        """Shuffle the rows, for an epoch."""
        order = list(range(len(self)))
        random.Random(f"{self.seed} {epoch}").shuffle(order)
        return order


def _where_it_differs(row: Row, encoded: Encoded, template: ChatTemplate) -> Encoded:
    """Leave the loss of a corrected reply, and its weight, only on what its correction says otherwise."""
    pair = row.pairs[0]
    if pair.good or pair.instead is None:
        return encoded
    said = [token for token in encoded.labels if token != IGNORED]
    right = [*template.encode(pair.instead), template.end_of_turn]
    differs = iter(differing(said, right))
    labels = [label if label != IGNORED and next(differs) else IGNORED for label in encoded.labels]
    weights = [weight if label != IGNORED else 0.0 for weight, label in zip(encoded.weights, labels, strict=True)]
    return replace(encoded, labels=labels, weights=weights)


def pad(rows: Sequence[Encoded], filler: int) -> dict[str, Tensor]:
    """Stack rows of different length, padded on the right. The mask, not the filler, marks the padding."""
    width = max(len(row.ids) for row in rows)
    gaps = [width - len(row.ids) for row in rows]
    return {
        "input_ids": torch.tensor([row.ids + [filler] * gap for row, gap in zip(rows, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(r.ids) + [0] * gap for r, gap in zip(rows, gaps, strict=True)]),
        "labels": torch.tensor([row.labels + [IGNORED] * gap for row, gap in zip(rows, gaps, strict=True)]),
        "weights": torch.tensor([row.weights + [0.0] * gap for row, gap in zip(rows, gaps, strict=True)]),
    }


def parts(lengths: Sequence[int], device: str) -> list[list[int]]:
    """Group rows, given by their lengths, into passes: rows of like length, and no more than memory is meant for."""
    ordered = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    made: list[list[int]] = []
    for index in ordered:
        if made:
            longest, count = lengths[made[-1][0]], len(made[-1])
            fits = longest * (count + 1) <= _AT_ONCE[device]
            if fits and (longest * count < FULL[device] or lengths[index] >= _ALIKE * longest):
                made[-1].append(index)
                continue
        made.append([index])
    return made


def of_like_length(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Group rows, given by their lengths, shortest first: at most so many tokens with their padding, or one row."""
    made: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if made and (len(made[-1]) + 1) * lengths[index] <= most:
            made[-1].append(index)
        else:
            made.append([index])
    return made


def deal(lengths: Sequence[int], processes: int) -> list[list[int]]:
    """Deal rows, given by their lengths, to processes: each gets about as many tokens, the longest rows first."""
    hands: list[list[int]] = [[] for _ in range(processes)]
    held = [0] * processes
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        least = held.index(min(held))
        hands[least].append(index)
        held[least] += lengths[index]
    return [sorted(hand) for hand in hands]
