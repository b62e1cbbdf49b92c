"""What a model says of token rows: losses at the places that carry one, batch by batch, shared out to processes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from finetune import objectives
from finetune.batches import deal, pad, parts
from finetune.forward import reply_logits
from finetune.model import IGNORED, Encoded, Loaded
from finetune.spread import Spread

Batch = dict[str, Tensor]  # input_ids, attention_mask, labels and weights, each (rows, tokens), and what a loss needs
_Found = TypeVar("_Found")
_CHUNK = 512  # places whose losses are computed at once


@dataclass(frozen=True)
class Losses:
    """Losses of a kind: `of` (batch, logits, tokens, places) are those of the places that the logits are for.

    `lean`: the whole vocabulary is never held in float32 for them, so that they need no chunks.
    """

    of: Callable[[Batch, Tensor, Tensor, slice], Tensor]
    lean: bool = False


PLAIN = Losses(lambda _, logits, tokens, __: objectives.mle(logits, tokens), lean=True)


class Reader:
    """Reads rows with a model, which may be exchanged for what was made of it; each process reads its share."""

    def __init__(self, loaded: Loaded, spread: Spread, sharded: bool):
        """Read with `loaded`; `sharded`: the model is divided among the processes of `spread`."""
        self.model: Any = loaded.model
        self.device, self.spread, self.sharded = loaded.device, spread, sharded
        self.ends = sorted(loaded.template.end_ids)
        self._filler = self.ends[0]

    def batches(self, rows: Sequence[Encoded]) -> Iterator[tuple[list[int], Batch]]:
        """Yield this process's share of the rows, batch by batch: their places among all, and tensors.

        Where the model is divided, one that has fewer batches than another gets some of one row, which is nobody's.
        """
        lengths = [len(row.ids) for row in rows]
        hands = deal(lengths, self.spread.count)
        passes_of = [parts([lengths[i] for i in hand], self.device.type) for hand in hands]
        mine = [[hands[self.spread.index][i] for i in part] for part in passes_of[self.spread.index]]
        if self.sharded:
            mine += [[]] * (max(map(len, passes_of)) - len(mine))
        for picked in mine:
            batch = pad([rows[i] for i in picked] or [Encoded([self._filler], [IGNORED], [0.0])], self._filler)
            yield picked, {name: tensor.to(self.device) for name, tensor in batch.items()}

    def logits(self, batch: Batch, inputs: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits at the places of a batch that carry loss, (n, vocabulary), and their tokens, (n,)."""
        return reply_logits(self.model, batch, **(inputs or {}))

    def places(self, batch: Batch, losses: Losses = PLAIN, inputs: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return losses, (n,), at a batch's places; what takes many whole in float32 is computed in chunks, and again.

        `inputs` are read in place of the batch's ids.
        """
        logits, tokens = self.logits(batch, inputs)
        if len(logits) <= _CHUNK or losses.lean:
            return losses.of(batch, logits, tokens, slice(None))
        made = []
        for start in range(0, len(logits), _CHUNK):
            some = slice(start, start + _CHUNK)
            made.append(checkpoint(losses.of, batch, logits[some], tokens[some], some, use_reentrant=False))
        return torch.cat(made)

    def likely(self, rows: Sequence[Encoded]) -> list[tuple[Tensor, Tensor]]:
        """Return what the model says at each place of the rows, see `objectives.likely_tokens`."""
        made: dict[int, tuple[Tensor, Tensor]] = {}
        for picked, batch in self.batches(rows):
            logits = torch.split(self.logits(batch)[0], _counts(batch))
            for i, part in zip(picked, logits, strict=False):
                ids, chances = objectives.likely_tokens(part)
                made[i] = ids.cpu(), chances.cpu()
        return [(ids.to(self.device), chances.to(self.device)) for ids, chances in self._of_all(made)]

    def said(self, rows: Sequence[Encoded]) -> list[Tensor]:
        """Return the loss, in nats, of each token of each row that carries one."""
        made: dict[int, Tensor] = {}
        for picked, batch in self.batches(rows):
            each = torch.split(self.places(batch), _counts(batch))
            made |= {i: part.cpu() for i, part in zip(picked, each, strict=False)}
        return [said.to(self.device) for said in self._of_all(made)]

    def row_losses(self, rows: Sequence[Encoded]) -> list[float]:
        """Return each row's mean loss in nats a token that carries one."""
        return [float(said.mean()) for said in self.said(rows)]

    def _of_all(self, found: Mapping[int, _Found]) -> list[_Found]:
        """Return what each process found of its share of the rows, in the rows' order."""
        merged = {i: one for part in self.spread.gather(found) for i, one in part.items()}
        return [merged[i] for i in sorted(merged)]


def replies(batch: Batch) -> Tensor:
    """Number the replies of a batch, (n,) for its places that carry loss: tokens of a row side by side are one's."""
    said = batch["labels"][:, 1:] != IGNORED
    begins = said.clone()
    begins[:, 1:] &= ~said[:, :-1]
    return begins.flatten().cumsum(0).view_as(said)[said]


def _counts(batch: Batch) -> list[int]:
    """Count the places of each row of a batch that carry loss."""
    counts: list[int] = (batch["labels"][:, 1:] != IGNORED).sum(1).tolist()
    return counts
