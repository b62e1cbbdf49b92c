"""The gradient of one step: of what is made likelier, less likely, contrasted, and held near the base.

The loss of a step is the mean loss of the good replies' tokens in it, plus `negative_weight` times that of the bad
replies' tokens, plus the contrast of liked and disliked replies, plus `keep_weight` times (twice that where nothing is
copied) how far the candidate has moved from the base on a few general prompts; each is a function in `objectives.py`.
Where nothing is copied, when replies end is free: how long they are is what people rate as much as anything, and the
base's own answers to general prompts would pull against it with every sentence that they go on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from finetune import objectives
from finetune import perturbations as perturb
from finetune.model import IGNORED, Encoded
from finetune.reading import Batch, Losses, Reader, owners, replies
from finetune.settings import TrainSettings
from finetune.thumbs import Thumbs

PUSHES = {"unlikelihood": objectives.unlikelihood, "cringe": objectives.cringe}  # token by token
_NEAR = 0.05  # weight of rated replies' drift beside that of general prompts: what is liked must be free to change
_THUMBS_PULL = 2.0  # how much more general prompts pull where a run has nothing to copy


@dataclass(frozen=True)
class Held:
    """What holds a candidate near the base, all measured before training: general prompts, and what the base says.

    `likely` are its likeliest tokens at the places of `general`, `rated` the losses of the rated replies' tokens.
    """

    general: Sequence[Encoded]
    likely: Sequence[tuple[Tensor, Tensor]]
    rated: Sequence[Tensor]


class Descent:
    """Computes the gradient of a step, each process that of its rows."""

    def __init__(self, reader: Reader, settings: TrainSettings, thumbs: Thumbs, held: Held, each: int, copies: bool):
        """Read with `reader`; `each`: rated replies of a side in a step; `copies`: other replies are copied too."""
        self.reader, self.settings, self.thumbs, self.held, self._each = reader, settings, thumbs, held, each
        self._pull = settings.keep_weight * (1 if copies else _THUMBS_PULL)
        self._free_ends = None if copies else torch.tensor(reader.ends, device=reader.device)
        self._embed = reader.model.get_input_embeddings()
        self._good = Losses(self._good_losses, lean=not (settings.label_smoothing or settings.repeat_weight))
        self._bad = Losses(self._bad_losses)
        self._keep = Losses(self._keep_losses, lean=True)
        self._disturbs = bool(
            settings.scheduled_sampling or settings.reply_dropout or settings.embedding_noise or settings.adversarial
        )

    def gradient(self, step: int, good: Sequence[Encoded], bad: Sequence[Encoded], rated: Sequence[int]) -> float:
        """Add up the gradient of this process's rows part by part; return their part of the loss.

        `rated` are the places of rated replies in `thumbs`. Dice are thrown anew from the seed for every step.
        """
        settings, held = self.settings, self.held
        torch.manual_seed(settings.seed * 1_000_003 + step + (self.reader.spread.index << 40))
        loss = self._descend(good, self._good, disturbed=True)
        loss += self._descend(bad, self._bad, settings.negative_weight)
        loss += self._contrast(rated)
        if held.general:
            turn = [(step * settings.keep_rows + i) % len(held.general) for i in range(settings.keep_rows)]
            likely = [held.likely[i] for i in turn]
            loss += self._descend([held.general[i] for i in turn], self._keep, self._pull, likely)
        return loss

    def _descend(
        self,
        rows: Sequence[Encoded],
        losses: Losses,
        scale: float = 1.0,
        likely: Sequence[tuple[Tensor, Tensor]] = (),
        disturbed: bool = False,
    ) -> float:
        """Add the gradient of `scale` times the rows' mean loss, weighted token by token; return that loss.

        Of it, a process adds and returns what its own rows make: the mean is over all processes' rows.
        """
        rows = [row for row in rows if any(label != IGNORED for label in row.labels)]
        whole = sum(sum(map(abs, row.weights)) for row in rows)
        done = 0.0
        # What is disturbed differs from row to row, from the first token on.
        for picked, batch in self.reader.batches(rows, apart=disturbed and self._disturbs) if whole else ():
            if likely:
                said = [likely[i] for i in picked] or [(likely[0][0][:0], likely[0][1][:0])]
                batch["likely"], batch["chances"] = (torch.cat(part) for part in zip(*said, strict=True))
            inputs = self._disturbed(batch) if disturbed else {}
            loss = self._sum(batch, losses, inputs) * (scale / whole)
            torch.autograd.backward(loss)
            if disturbed and self.settings.adversarial:
                read = inputs["inputs_embeds"]
                assert read.grad is not None
                worse = read.detach() + perturb.worst_direction(read.grad, self.settings.adversarial)
                torch.autograd.backward(self._sum(batch, losses, {"inputs_embeds": worse}) * (scale / whole))
            done += float(loss.detach())
        return done

    def _sum(self, batch: Batch, losses: Losses, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.reader.places(batch, losses, inputs).sum()

    def _contrast(self, rated: Sequence[int]) -> float:
        """Add the gradient of the contrast of rated replies, and of how far their tokens drift; return that loss."""
        rows, done = [self.thumbs.rows[i] for i in rated], 0.0
        tokens = sum(len(self.held.rated[i]) for i in rated)
        for picked, batch in self.reader.batches(rows):
            places = [rated[i] for i in picked]
            nothing = self.held.rated[0][:0]  # where this process has no row of the step
            before = torch.cat([nothing, *(self.held.rated[i] for i in places)])
            gains = before - self.reader.places(batch)
            signs, weights = (
                torch.tensor([of[i] for i in places], device=self.reader.device)
                for of in (self.thumbs.signs, self.thumbs.weights)
            )
            by_row = gains.new_zeros(len(places)).index_add(0, owners(batch), gains)
            losses = objectives.reward(by_row, signs, self.settings.reward_strength)
            loss = (losses * weights).sum() / self._each
            loss = loss + _NEAR * self.settings.keep_weight * objectives.drift(gains).sum() / tokens
            torch.autograd.backward(loss)
            done += float(loss.detach())
        return done

    def _good_losses(self, batch: Batch, logits: Tensor, tokens: Tensor, places: slice) -> Tensor:
        said = batch["labels"][:, 1:] != IGNORED
        losses = objectives.mle(logits, tokens, self.settings.label_smoothing)
        if self.settings.repeat_weight:
            losses = losses + self.settings.repeat_weight * _own_repeats(batch, logits, places)
        return losses * batch["weights"][:, 1:][said][places]

    def _bad_losses(self, batch: Batch, logits: Tensor, tokens: Tensor, places: slice) -> Tensor:
        weights = -batch["weights"][:, 1:][batch["labels"][:, 1:] != IGNORED][places]
        return PUSHES[self.settings.negative](logits, tokens) * weights

    def _keep_losses(self, batch: Batch, logits: Tensor, _: Tensor, places: slice) -> Tensor:
        base = batch["likely"][places], batch["chances"][places]
        if self._free_ends is None:
            return objectives.divergence_from_base(logits, *base)
        return objectives.divergence_before_end(logits, *base, self._free_ends)

    def _disturbed(self, batch: Batch) -> dict[str, Any]:
        """Return what the model reads in place of a batch's ids: nothing but where a setting asks for it."""
        settings, ids, labels = self.settings, batch["input_ids"], batch["labels"]
        if settings.scheduled_sampling:
            with torch.no_grad():
                guesses = self.reader.logits(batch)[0].argmax(-1)
            ids = perturb.sampled_inputs(ids, labels, guesses, settings.scheduled_sampling)
        if not (settings.reply_dropout or settings.embedding_noise or settings.adversarial):
            return {"input_ids": ids}
        read = self._embed(ids)
        if settings.reply_dropout:
            read = perturb.earlier_replies_dropped(read, labels, settings.reply_dropout)
        if settings.embedding_noise:
            read = read + perturb.noise(read, batch["attention_mask"], settings.embedding_noise)
        if settings.adversarial:
            read = read if read.requires_grad else read.detach().requires_grad_()
            read.retain_grad()
        return {"inputs_embeds": read}


def _own_repeats(batch: Batch, logits: Tensor, places: slice) -> Tensor:
    """Return `objectives.own_repeats` of some places, (n,): what their first reply said before them counts too."""
    of, tokens = replies(batch), batch["labels"][:, 1:][batch["labels"][:, 1:] != IGNORED]
    start, stop, _ = places.indices(len(of))
    begins = int((of[:start] < of[start : start + 1]).sum())  # the first place of the reply that stands at the start
    return objectives.own_repeats(logits, tokens[begins:stop], of[begins:stop])
