"""How likely a few tokens are among all, without a second copy of what the model says of all.

Of n places the vocabulary head gives (n, vocabulary) numbers, hundreds of megabytes in float32. PyTorch's own way keeps
several such copies until the way back; here a few rows at a time are computed in float32 while they lie in the
processor's cache, and the way back computes them again from the logits and one number a place.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_ROWS_CPU = 16  # places at once: with 50,000 tokens 3 MB
_ROWS_GPU = 1024


class _LogChances(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor) -> Tensor:
        ctx.rows = _ROWS_CPU if logits.device.type == "cpu" else _ROWS_GPU
        sums, rows = [], _scratch(logits, ctx.rows)
        for part in torch.split(logits, ctx.rows):
            said = rows[: len(part)].copy_(part)
            most = said.amax(1, keepdim=True)
            sums.append(said.sub_(most).exp_().sum(1, keepdim=True).log_().add_(most))
        whole = torch.cat(sums)
        ctx.save_for_backward(logits, ids, whole)
        return logits.gather(1, ids).float() - whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        saved = ctx.saved_tensors  # once: what is computed again on the way back is there to be read a single time
        logits = saved[0]
        made, rows = torch.empty_like(logits), _scratch(logits, ctx.rows)
        parts = zip(*(torch.split(each, ctx.rows) for each in (*saved, gradient, made)), strict=True)
        for part, ids, whole, wanted, out in parts:
            share = rows[: len(part)].copy_(part).sub_(whole).exp_().mul_(-wanted.sum(1, keepdim=True))
            out.copy_(share.scatter_add_(1, ids, wanted))
        return made, None


def _scratch(logits: Tensor, rows: int) -> Tensor:
    """Return float32 memory for so many rows, taken once: what is new to a process costs more than what it computes."""
    return logits.new_empty(min(rows, len(logits)), logits.shape[1], dtype=torch.float32)


def log_chances(logits: Tensor, ids: Tensor) -> Tensor:
    """Return log p(token), (n, k) in float32, of `ids` (n, k) by (n, vocabulary) logits of any floating type.

    log p(v) = logit(v) - log sum_w exp(logit(w)); its gradient is 1 at v less p everywhere.
    """
    if not len(logits):
        return logits.gather(1, ids).float()
    chances: Tensor = _LogChances.apply(logits, ids)  # type: ignore[no-untyped-call]
    return chances
