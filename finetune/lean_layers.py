"""Norms and gated layers forth and back in one go, a few rows at a time, where nothing of them is trained.

transformers writes them as five or six operations each; every one goes through memory, and most are kept in float32
until the way back. Here a piece of the rows stays in the processor's cache until it is done, and only what was read is
kept. A layer is taken only if it is tried here and says the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_ROWS = 128  # at once: of 1,500 numbers in float32 less than a megabyte
_PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")


class _Norm(Function):
    """x / sqrt(mean(x^2) + epsilon) * weight over the last dimension (Zhang and Sennrich, arXiv 1910.07467)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        out, scales = torch.empty_like(x, memory_format=torch.contiguous_format), []
        for part, made in _pieces(x, out):
            wide = _wide(part)
            scales.append((wide.square().mean(-1, keepdim=True) + epsilon).rsqrt_())
            made.copy_(wide.mul_(scales[-1])).mul_(weight)
        ctx.save_for_backward(x, weight, torch.cat(scales))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scales = ctx.saved_tensors
        to_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part, gradient, scale, made in _pieces(x, gradients[0], scales, to_x):
            unit, to_unit = _wide(part).mul_(scale), _wide(gradient).mul_(weight)
            along = (unit * to_unit).mean(-1, keepdim=True)
            made.copy_(to_unit.sub_(unit.mul_(along)).mul_(scale))
        return to_x, None, None


class _Gated(Function):
    """silu(gate) * up (Shazeer, arXiv 2002.05202)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        out = torch.empty_like(gate)
        for part, beside, made in _pieces(gate, up, out):
            made.copy_(nn.functional.silu(_wide(part), inplace=True).mul_(beside))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        to_gate, to_up = torch.empty_like(gate), torch.empty_like(up)
        for part, beside, gradient, of_gate, of_up in _pieces(gate, up, gradients[0], to_gate, to_up):
            wide, coming = _wide(part), gradient.float()
            share = wide.sigmoid()
            said = wide.mul_(share)  # silu; its slope is share + silu * (1 - share)
            of_up.copy_(said * coming)
            of_gate.copy_(said.mul_(1 - share).add_(share).mul_(coming).mul_(beside))
        return to_gate, to_up


def _wide(part: Tensor) -> Tensor:
    """Return a copy in float32, to be written over."""
    return part.to(torch.float32, copy=True)


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    flat = (tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors)
    return zip(*(torch.split(each, _ROWS) for each in flat), strict=True)


@contextmanager
def lean_layers(model: Any) -> Iterator[None]:
    """Compute a model's frozen norms and its gated layers on a CPU in this way for a while."""
    ways = [(module, way) for module in model.modules() if (way := _way(module))]
    taken = [module for module, way in ways if _says_the_same(module, way)]
    for module, way in ways:
        if module in taken:
            module.forward = way
    try:
        yield
    finally:
        for module in taken:
            del module.forward


def _way(module: Any) -> Callable[[Tensor], Tensor] | None:
    if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        weight, epsilon = module.weight, module.variance_epsilon
        plain = weight.device.type == "cpu" and not weight.requires_grad
        return (lambda x: _Norm.apply(x, weight, epsilon)) if plain else None  # type: ignore[no-untyped-call]
    if all(hasattr(module, part) for part in _PARTS) and next(module.parameters()).device.type == "cpu":
        return lambda x: module.down_proj(
            _Gated.apply(module.gate_proj(x), module.up_proj(x))  # type: ignore[no-untyped-call]
        )
    return None


@torch.no_grad()
def _says_the_same(module: Any, way: Callable[[Tensor], Tensor]) -> bool:
    like = module.weight if hasattr(module, "weight") else next(module.parameters())
    size = len(like) if like.dim() == 1 else module.gate_proj.in_features
    x = torch.linspace(-2, 2, 3 * size, device=like.device).view(1, 3, size).to(like.dtype)
    expected, got = module(x).float(), way(x).float()
    return bool((got - expected).abs().max() <= 2e-2 * expected.abs().max())
