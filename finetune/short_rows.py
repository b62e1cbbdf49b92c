"""Attention over short rows on a CPU, forth and back in as few passes as it takes.

PyTorch's flash attention is slow on its way back there, and its plain one copies keys for every head that shares them,
scales both sides and looks for rows that see nothing: half of its time is no product. Here the query heads that share a
key head stand as that many queries of it, and the mask is made once for all layers. What is long, or is asked for
otherwise, goes PyTorch's own ways. Of rows in a pack each attends for itself (`packs.py`).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from finetune.packs import layout

_NAME = "rapport_short_rows"
_SHORT = 256  # tokens; from there on the plain products take more than flash attention


class _Attend(Function):
    """softmax(scale Q K' + bias) V, of queries (rows, heads, tokens, size) and of as many or fewer key heads.

    Of keys and values there may be more than of queries.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float) -> Tensor:
        rows, heads, tokens, size = query.shape
        shared, keys = rows * key.shape[1], key.shape[2]  # key heads of all rows, and keys of each
        q = (query * scale).reshape(shared, -1, size)
        k, v = key.reshape(shared, keys, size), value.reshape(shared, keys, size)
        scores = torch.bmm(q, k.transpose(1, 2))
        scores.view(rows, heads, tokens, keys).add_(bias)
        seen = scores.softmax(-1)
        ctx.save_for_backward(q, k, v, seen)
        ctx.scale, ctx.shapes = scale, (query.shape, key.shape)
        return torch.bmm(seen, v).view(rows, heads, tokens, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, seen = ctx.saved_tensors
        of_query, of_key = ctx.shapes
        out = gradients[0].reshape(q.shape)
        to_value = torch.bmm(seen.transpose(1, 2), out)
        scores = torch.ops.aten._softmax_backward_data(torch.bmm(out, v.transpose(1, 2)), seen, -1, seen.dtype)
        to_query, to_key = torch.bmm(scores, k).mul_(ctx.scale), torch.bmm(scores.transpose(1, 2), q)
        return to_query.view(of_query), to_key.view(of_key), to_value.view(of_key), None, None


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """Attend as transformers asks: (rows, heads, tokens, size) in, (rows, tokens, heads, size) out."""
    packed = layout()
    if packed is None:
        return _attended(module, query, key, value, attention_mask, **given), None
    return packed.attended(partial(_attended, module, **given), query, key, value), None


def _attended(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **given: Any) -> Tensor:
    tokens, keys = query.shape[2], key.shape[2]
    if query.device.type != "cpu" or keys >= _SHORT:
        return _as_pytorch(module, query, key, value, mask, **given)
    plain = key.shape == value.shape and (mask is not None or keys == tokens) and not given.get("dropout")
    causal = given.get("is_causal") is not False and getattr(module, "is_causal", True)
    if not (plain and causal) or given.get("softcap") or given.get("position_bias") is not None:
        with sdpa_kernel(SDPBackend.MATH):
            return _as_pytorch(module, query, key, value, mask, **given)
    scale = given.get("scaling") or 1 / math.sqrt(query.shape[-1])
    bias = _bias.of(mask, tokens, query.dtype)
    seen: Tensor = _Attend.apply(query, key, value, bias, scale)  # type: ignore[no-untyped-call]
    return seen.transpose(1, 2).contiguous()


def _as_pytorch(*given: Any, **more: Any) -> Tensor:
    seen: Tensor = sdpa_attention_forward(*given, **more)[0]
    return seen


class _Bias:
    """What masks add to scores; the last two are kept, since all layers ask for the same: of a pack for two."""

    def __init__(self) -> None:
        self._kept: list[tuple[Tensor | None, Tensor]] = []

    def of(self, mask: Tensor | None, tokens: int, dtype: torch.dtype) -> Tensor:
        """Return 0 where a token may look, the lowest number elsewhere; without a mask it may look at those before."""
        for known, made in self._kept:
            if known is mask and made.shape[-2] == tokens and made.dtype == dtype:
                return made
        visible = torch.ones(tokens, tokens, dtype=torch.bool).tril() if mask is None else mask
        if visible.dtype == torch.bool:
            made = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min)
        else:
            made = visible.to(dtype)
        self._kept = [*self._kept[-1:], (mask, made)]
        return made


_bias = _Bias()
AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)


@contextmanager
def short_rows(model: Any) -> Iterator[None]:
    """Let a transformers model attend in this way for a while, if it attends as PyTorch does."""
    former = model.config._attn_implementation
    if former != "sdpa":
        yield
        return
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(former)
