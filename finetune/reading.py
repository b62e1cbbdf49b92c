"""What a model says of token rows: losses at the places that carry one, batch by batch, shared out to processes.

Rows that begin alike are read as a pack (`packs.py`) on a CPU, where every token counts, if the model reads them so as
it does apart: one whose layers look further than attention does, or attend in their own way, does not.
"""

import logging
import math
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
from finetune.packs import Pack, pack, packs
from finetune.spread import Spread

log = logging.getLogger("rapport.retrain")

# input_ids, attention_mask, labels and weights, each (rows, tokens), and what a loss needs; in a pack more, see pack().
Batch = dict[str, Tensor]
_Found = TypeVar("_Found")
_CHUNK = 512  # places whose losses are computed at once
_SAME = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # nats a token that rounding may make between two ways of reading


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

    def __init__(self, loaded: Loaded, spread: Spread, sharded: bool, may_pack: bool = True):
        """Read with `loaded`; `sharded`: the model is divided among the processes of `spread`.

        `may_pack`: rows may be read together, wherever that is faster.
        """
        self.model: Any = loaded.model
        fit = may_pack and loaded.device.type == "cpu" and not sharded
        self._longest = _window(loaded.model.config) if fit else 0
        self._reads_packs: bool | None = None  # not tried yet
        self._same = _SAME.get(loaded.model.dtype, 0.1)
        self.device, self.spread, self.sharded = loaded.device, spread, sharded
        self.ends = sorted(loaded.template.end_ids)
        self._filler = self.ends[0]
        self._nobodys = Encoded([self._filler], [IGNORED], [0.0])

    def batches(self, rows: Sequence[Encoded], apart: bool = False) -> Iterator[tuple[list[int], Batch]]:
        """Yield this process's share of the rows, batch by batch: their places among all, and tensors.

        Where the model is divided, one that has fewer batches than another gets some of one row, which is nobody's.
        With `apart` no rows are packed.
        """
        lengths = [len(row.ids) for row in rows]
        hands = deal(lengths, self.spread.count)
        hand = hands[self.spread.index]
        packed, left = ([], list(range(len(hand)))) if apart else self._packed([rows[i] for i in hand])
        for one in packed:
            picked = [hand[place] for place in one.places]
            yield picked, self._here(pack([rows[i] for i in picked], one.shared))
        passes = [[hand[left[place]] for place in part] for part in self._parts([lengths[hand[n]] for n in left])]
        if self.sharded:
            passes += [[]] * (max(len(self._parts([lengths[i] for i in other])) for other in hands) - len(passes))
        for picked in passes:
            yield picked, self._here(pad([rows[i] for i in picked] or [self._nobodys], self._filler))

    def _parts(self, lengths: Sequence[int]) -> list[list[int]]:
        return parts(lengths, self.device.type)

    def _here(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _packed(self, rows: Sequence[Encoded]) -> tuple[list[Pack], list[int]]:
        """Put rows into packs, if this model reads such; return also the places of those that are read apart."""
        made, left = packs(rows, self._longest) if self._reads_packs is not False else ([], [])
        if made and self._reads_packs is None:
            self._reads_packs = self._reads_alike([rows[place] for place in made[0].places[:2]], made[0].shared)
        return (made, left) if self._reads_packs else ([], list(range(len(rows))))

    def _reads_alike(self, rows: Sequence[Encoded], shared: int) -> bool:
        """Tell whether the model says of two rows in a pack what it says of them apart."""
        try:
            with torch.no_grad():
                ways = [self.places(self._here(batch)) for batch in (pad(rows, self._filler), pack(rows, shared))]
            alike = bool((ways[0] - ways[1]).abs().mean() <= self._same)
        # A model is a program: it may take no positions, or make of them what it likes.
        except Exception:
            log.info("This model does not take rows together.", exc_info=True)
            return False
        if not alike:
            log.info("This model reads rows that begin alike otherwise together than apart; they are read apart.")
        return alike

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
            logits = torch.split(self.logits(batch)[0], _counts(batch, len(picked)))
            for i, part in zip(picked, logits, strict=False):
                ids, chances = objectives.likely_tokens(part)
                made[i] = ids.cpu(), chances.cpu()
        return [(ids.to(self.device), chances.to(self.device)) for ids, chances in self._of_all(made)]

    def said(self, rows: Sequence[Encoded]) -> list[Tensor]:
        """Return the loss, in nats, of each token of each row that carries one."""
        made: dict[int, Tensor] = {}
        for picked, batch in self.batches(rows):
            each = torch.split(self.places(batch), _counts(batch, len(picked)))
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


def owners(batch: Batch) -> Tensor:
    """Return the number of the row, (n,), whose each place is that carries loss."""
    said = batch["labels"][:, 1:] != IGNORED
    return batch["rows"][:, 1:][said] if "rows" in batch else said.nonzero()[:, 0]


def _counts(batch: Batch, rows: int) -> list[int]:
    """Count the places of each row of a batch that carry loss."""
    counts: list[int] = torch.bincount(owners(batch), minlength=max(1, rows)).tolist()
    return counts


def _window(config: Any) -> float:
    """Return how many tokens every layer looks back, so that of shorter rows none is out of sight."""
    text = config.get_text_config()
    return min(getattr(text, name, None) or math.inf for name in ("sliding_window", "attention_chunk_size"))
