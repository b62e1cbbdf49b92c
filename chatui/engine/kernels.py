"""Linear layers in the form that this processor computes fastest, and how fast each form is here.

A form packs the weights for steps of few rows (tokens), where reading them from memory is what takes the time. For
steps of more rows the same rounded weights stand beside it as plain bfloat16: so how many neighbours a reply has
moves it by the rounding of a sum alone.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import linear

# Error of rounding, as a share of the weights' spread, up to which int4 is what the weights were made of.
_ON_GRID = 0.02
_LOOKED_AT = 64  # outputs that tell whether they were
GROUP = 32  # weights that share a scale and a zero in int4, as in the Q4_1 blocks that many models come in
_TRIED_ROWS = (1, 2, 4, 8, 12, 16, 32)
_MATRICES = 24  # enough that none waits in the cache for its next turn


class Linear:
    """x @ weight.T + bias for x (rows, inputs) in the weight's dtype; a plain layer."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        """weight: (outputs, inputs); bias: (outputs,)."""
        self.weight, self.bias = weight, bias

    @property
    def bytes(self) -> int:
        """Bytes that its weights take."""
        return self.weight.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """Return (rows, outputs)."""
        return linear(x, self.weight, self.bias)


class Packed(Linear):
    """A layer whose weights are packed for steps of up to `rows` rows; activations are bfloat16 always."""

    def __init__(self, weight: Tensor, bias: Tensor | None, pack: "Pack", rows: int):
        """Round the float32 weights once; both ways of computing then use the same ones."""
        self._few, rounded = pack(weight)
        super().__init__(rounded.bfloat16(), None if bias is None else bias.bfloat16())
        self._rows = rows

    @property
    def bytes(self) -> int:
        """Bytes that its weights take, about: the pack is at most half as large as they are in bfloat16."""
        return self.weight.nbytes * 3 // 2

    def __call__(self, x: Tensor) -> Tensor:
        """Return (rows, outputs)."""
        if x.shape[0] > self._rows:
            return linear(x, self.weight, self.bias)
        out = self._few(x)
        return out if self.bias is None else out + self.bias


class Tuned(Linear):
    """A layer with a low-rank part beside it: base(x) + x @ down.T @ up.T."""

    def __init__(self, base: Linear, up: Tensor, down: Tensor):
        """up: (outputs, rank); down: (rank, inputs)."""
        super().__init__(base.weight, base.bias)
        self._base, self._up, self._down = base, up.to(base.weight.dtype), down.to(base.weight.dtype)

    @property
    def bytes(self) -> int:
        """Bytes that its weights take."""
        return self._base.bytes + self._up.nbytes + self._down.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """Return (rows, outputs)."""
        return torch.addmm(self._base(x), linear(x, self._down), self._up.T)


Few = Callable[[Tensor], Tensor]
Pack = Callable[[Tensor], tuple[Few, Tensor]]


def pack_int8(weight: Tensor) -> tuple[Few, Tensor]:
    """Round to int8 with a scale per output; return the product and the rounded weights."""
    scale = (weight.abs().amax(1) / 127).clamp(min=1e-12).bfloat16()
    whole = (weight / scale[:, None].float()).round().clamp(-127, 127)
    packed = whole.to(torch.int8)
    return lambda x: torch._weight_int8pack_mm(x, packed, scale), whole * scale[:, None].float()


def pack_int4(weight: Tensor) -> tuple[Few, Tensor]:
    """Round to int4 with a scale and a zero per `GROUP` weights; return the product and the rounded weights."""
    whole, scale, middle = _grid(weight)
    packed = torch._convert_weight_to_int4pack_for_cpu(whole.view(weight.shape).to(torch.int32), 1)
    scales = torch.stack([scale, middle], -1).transpose(0, 1).contiguous().bfloat16()
    rounded = _off_grid(whole, scale, middle).view(weight.shape)
    return lambda x: torch._weight_int4pack_mm_for_cpu(x, packed, GROUP, scales), rounded


def _grid(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return whole numbers 0 to 15 (outputs, groups, GROUP), and scale and middle (outputs, groups) of each group."""
    groups = weight.reshape(len(weight), -1, GROUP)
    lowest = groups.amin(2)
    scale = ((groups.amax(2) - lowest) / 15).clamp(min=1e-12).bfloat16().float()
    middle = (lowest + 8 * scale).bfloat16().float()
    return ((groups - middle[..., None]) / scale[..., None] + 8).round_().clamp_(0, 15), scale, middle


def _off_grid(whole: Tensor, scale: Tensor, middle: Tensor) -> Tensor:
    return (whole - 8) * scale[..., None] + middle[..., None]


PACKS: dict[str, Pack] = {"int4": pack_int4, "int8": pack_int8}


def on_grid(weight: Tensor) -> bool:
    """Tell whether int4 holds these weights as they are, as it does those that a 4-bit file was unpacked to."""
    if weight.shape[1] % GROUP:
        return False
    some = weight[:: max(1, len(weight) // _LOOKED_AT)]
    rounded = _off_grid(*_grid(some)).view(some.shape)
    return float((rounded - some).std()) <= _ON_GRID * float(some.std())


@dataclass(frozen=True)
class Speed:
    """What this processor computes fastest: forms in that order, and up to how many rows a pack beats bfloat16."""

    order: list[str]
    rows: dict[str, int]


@lru_cache
def measured(inputs: int, outputs: int) -> Speed:
    """Time each form on matrices of this shape, in about a second; a form that this build lacks is left out."""
    plain = [torch.randn(outputs, inputs) * 0.02 for _ in range(_MATRICES)]
    brief = [weight.bfloat16() for weight in plain]
    seconds: dict[str, list[float]] = {
        "float32": _times(lambda n, x: linear(x.float(), plain[n]), inputs),
        "bfloat16": _times(lambda n, x: linear(x, brief[n]), inputs),
    }
    rows = {}
    for form, pack in PACKS.items():
        try:
            layers = [pack(weight)[0] for weight in plain]
            times = _times(lambda n, x: layers[n](x), inputs)  # noqa: B023  called before the next turn
        # Private to PyTorch: a build may lack a kernel, or the processor may, and they say so in any way.
        except Exception:  # noqa: BLE001
            continue
        both = list(zip(_TRIED_ROWS, times, seconds["bfloat16"], strict=True))
        rows[form] = max((r for r, packed, whole in both if packed < whole), default=0)
        seconds[form] = [min(packed, whole) for _, packed, whole in both]
    # The mean of logarithms: so many times faster counts the same for few rows and for many.
    order = sorted(seconds, key=lambda form: sum(math.log(s) for s in seconds[form]))
    return Speed(order, rows)


def _times(product: Callable[[int, Tensor], Tensor], inputs: int) -> list[float]:
    """Return the least seconds for each number of rows: what else the machine does can only add to them."""
    least = []
    for rows in _TRIED_ROWS:
        x, times = torch.randn(rows, inputs).bfloat16(), []
        for turn in range(-2, _MATRICES):
            began = time.perf_counter()
            product(turn % _MATRICES, x)
            times.append(time.perf_counter() - began)
        least.append(min(times[2:]))
    return least
