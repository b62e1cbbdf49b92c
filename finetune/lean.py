"""LoRA in as few products as it takes: a third of a training step on a CPU goes into casting and adding else.

PEFT computes a layer in the adapter's own float32 and casts back and forth; here the adapter, kept in float32, is
rounded to what the layer computes in. PEFT still makes, saves, loads and merges the adapter.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from peft.tuners import lora
from torch import Tensor, nn
from torch.autograd import Function


class _LowRank(Function):
    """y = x W' + b + scale (x A') B', with W (outputs, inputs) frozen, A (rank, inputs) and B (outputs, rank)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        flat, down, up = x.reshape(-1, x.shape[-1]), a.to(x.dtype), b.to(x.dtype) * scale
        inner = flat @ down.t()
        ctx.save_for_backward(flat, weight, down, up, inner)
        ctx.scale, ctx.dtype = scale, a.dtype
        return F.linear(flat, weight, bias).addmm_(inner, up.t()).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, down, up, inner = ctx.saved_tensors
        y = gradients[0].reshape(-1, weight.shape[0])
        into = y @ up
        to_x = (y @ weight).addmm_(into, down).view(*gradients[0].shape[:-1], -1) if ctx.needs_input_grad[0] else None
        to_a, to_b = (into.t() @ flat).to(ctx.dtype), (y.t() @ inner).to(ctx.dtype) * ctx.scale
        return to_x, None, None, to_a, to_b, None


@contextmanager
def lean(model: Any) -> Iterator[None]:
    """Compute the plain LoRA layers of a PEFT model in this way for a while; others, and other methods, stay as is.

    While it lasts the adapter cannot be switched off.
    """
    taken = [layer for layer in model.modules() if _plain(layer)]
    for layer in taken:
        layer.forward = _forward(layer)
    try:
        yield
    finally:
        for layer in taken:
            del layer.forward


def _plain(layer: Any) -> bool:
    """Tell a linear layer with one LoRA and nothing else from all others."""
    if not isinstance(layer, lora.Linear) or len(layer.active_adapters) != 1:
        return False
    base, name = layer.base_layer, layer.active_adapters[0]
    simple = type(base) is nn.Linear and type(layer.lora_dropout[name]) is nn.Identity
    return simple and not layer.lora_variant and not layer.lora_bias[name] and not base.weight.requires_grad


def _forward(layer: Any) -> Any:
    base, name = layer.base_layer, layer.active_adapters[0]
    a, b, scale = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]

    def forward(x: Tensor, *_: Any, **__: Any) -> Any:
        return _LowRank.apply(x, base.weight, base.bias, a, b, scale)  # type: ignore[no-untyped-call]

    return forward
