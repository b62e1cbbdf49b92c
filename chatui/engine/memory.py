"""Where keys and values of the tokens read so far are kept, and attention over them.

A slab holds some seats of one capacity, one reply a seat, so that replies of like length are attended to in one call
and a long one makes no short one pay. Free places hold finite numbers always: attention weighs them with zero, and zero
times infinity would still spoil a neighbour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as attention

_SMALLEST = 256  # tokens of the smallest seat
_SEATS_CPU, _SEATS_GPU = 8, 32
_TOKENS_CPU, _TOKENS_GPU = 8192, 32768  # tokens of a slab; a longer seat has a slab of its own


@dataclass(frozen=True)
class Shape:
    """What one token takes: a key and a value of `heads` heads of `size` numbers in each of `layers` layers."""

    layers: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token's keys and values take."""
        return 2 * self.layers * self.heads * self.size * self.dtype.itemsize


def seat_for(tokens: int) -> int:
    """Return the capacity of the smallest seat that so many tokens fit into: a power of two, 256 at least."""
    return max(_SMALLEST, 1 << (tokens - 1).bit_length())


def seats_of(capacity: int, device: torch.device) -> int:
    """Return how many seats a slab of this capacity has: eight on a CPU, where that is the fastest, fewer long ones."""
    on_cpu = device.type == "cpu"
    seats, tokens = (_SEATS_CPU, _TOKENS_CPU) if on_cpu else (_SEATS_GPU, _TOKENS_GPU)
    return max(1, min(seats, tokens // capacity))


class Slab:
    """Seats of one capacity; `kv` is (layers, seats, capacity, 2 * heads, size), keys before values."""

    def __init__(self, shape: Shape, capacity: int, seats: int = 0):
        """Take the memory for all its seats at once; 0 seats: as many as are usual."""
        self.shape, self.capacity, self.seats = shape, capacity, seats or seats_of(capacity, shape.device)
        size = (shape.layers, self.seats, capacity, 2 * shape.heads, shape.size)
        self.kv = torch.zeros(size, dtype=shape.dtype, device=shape.device)
        self.flat = [layer.view(self.seats * capacity, 2 * shape.heads, shape.size) for layer in self.kv]

    @property
    def bytes(self) -> int:
        """Bytes that it takes."""
        return self.seats * self.capacity * self.shape.bytes_per_token

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy what one seat holds to another."""
        self.kv[:, target, :tokens] = self.kv[:, source, :tokens]

    def swap(self, seat: int, other: int, tokens: int) -> None:
        """Exchange what two seats hold, layer by layer, so that it takes little memory beside."""
        for layer in self.kv:
            held = layer[seat, :tokens].clone()
            layer[seat, :tokens] = layer[other, :tokens]
            layer[other, :tokens] = held

    def put(self, seat: int, kept: Tensor, tokens: int) -> None:
        """Lay down the first tokens of what `take` gave."""
        self.kv[:, seat, :tokens] = kept[:, :tokens]

    def take(self, seat: int, tokens: int) -> Tensor:
        """Return a copy of a seat's first tokens: (layers, tokens, 2 * heads, size)."""
        return self.kv[:, seat, :tokens].clone()

    def wipe(self, seat: int) -> None:
        """Make a seat's numbers finite again."""
        self.kv[:, seat].zero_()


class Piece:
    """Neighbouring seats of a slab that read the same number of tokens in one step.

    `starts` tells how many tokens each seat holds before the step. A seat that reads fewer than `tokens` reads
    padding behind them, which is overwritten before anything looks at it.
    """

    def __init__(self, slab: Slab, first: int, starts: Sequence[int], tokens: int):
        """Prepare a step of `tokens` tokens for each of the seats from `first` on; tensors are made when asked for."""
        self.slab, self.first, self.count, self.tokens = slab, first, len(starts), tokens
        self.starts = starts
        self.upto = min(max(starts) + tokens, slab.capacity)
        self._causal = tokens > 1 and not any(starts)  # then every token sees just those before it in this step
        self._even = tokens == 1 and len(set(starts)) == 1  # then every token sees all there is
        self._masks: dict[int, Tensor | None] = {}

    @cached_property
    def positions(self) -> Tensor:
        """(seats, tokens): which token of its reply each is."""
        device = self.slab.shape.device
        return torch.tensor(self.starts, device=device)[:, None] + torch.arange(self.tokens, device=device)

    @cached_property
    def _places(self) -> Tensor:
        """(seats * tokens,): where in the slab each goes."""
        capacity = self.slab.capacity
        rows = torch.arange(self.first, self.first + self.count, device=self.positions.device)[:, None] * capacity
        return (rows + self.positions.clamp(max=capacity - 1)).flatten()

    def _mask(self, window: int) -> Tensor | None:
        """(seats, 1, tokens, upto): what each token may look at, its `window` newest; None where no mask is needed."""
        if window not in self._masks:
            self._masks[window] = (
                None if window >= self.upto and (self._causal or self._even) else self._visible(window)
            )
        return self._masks[window]

    def _visible(self, window: int) -> Tensor:
        own = self.positions.clamp(max=self.slab.capacity - 1)[:, :, None]
        all_places = torch.arange(self.upto, device=own.device)
        return ((all_places <= own) & (all_places > own - window))[:, None]

    def attend(
        self, layer: int, query: Tensor, keys_values: Tensor, scale: float | None, window: int | None = None
    ) -> Tensor:
        """Keep this step's keys and values, and let its queries look at what their seats hold, the newest `window`.

        query: (seats, tokens, query heads, size); keys_values: (seats, tokens, 2 * heads, size). Returns query's shape.
        """
        mask = self._mask(window or self.slab.capacity)
        heads = self.slab.shape.heads
        self.slab.flat[layer].index_copy_(0, self._places, keys_values.flatten(0, 1))
        held = self.slab.kv[layer, self.first : self.first + self.count, : self.upto]
        keys, values = held[:, :, :heads].transpose(1, 2), held[:, :, heads:].transpose(1, 2)
        if self.tokens == 1 and query.device.type == "cpu":
            # The query heads that share a key head stand as that many queries of it: nothing is repeated. A GPU has
            # kernels for one query of many heads, which take a third of the time where there is much to look at.
            count, _, queries, size = query.shape
            grouped = query.reshape(count, heads, queries // heads, size)
            seen = attention(grouped, keys, values, attn_mask=mask, scale=scale)
            return seen.reshape(count, 1, queries, size)
        seen = attention(
            query.transpose(1, 2),
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and self.tokens > 1,
            scale=scale,
            enable_gqa=True,
        )
        return seen.transpose(1, 2)


class StaticPiece(Piece):
    """The first seats of a slab, one token each, told by a tensor: a graph of this piece can be replayed for others.

    `held` (seats,) on the device is how many tokens each seat holds, -1 for one that only pads the step. It may belong
    to a reply that still reads its prompt, or will belong to another: a padding token is kept in the last place of its
    seat, which no reply reaches (the last token a reply writes is never read, and seats are no smaller than replies),
    and looks at the first, which holds a finite number like every other. `clean` then wipes the last place, so that
    nothing it held is looked at ever.
    """

    def __init__(self, slab: Slab, held: Tensor, upto: int):
        """Let each token look at `upto` places at most; nothing here waits for the device or depends on numbers."""
        self.slab, self.first, self.count, self.tokens, self.upto = slab, 0, len(held), 1, upto
        self._padding = held < 0
        self.positions = held.clamp(min=0)[:, None]
        self._places = torch.arange(len(held), device=held.device) * slab.capacity + held.remainder(slab.capacity)
        self._masks = {}

    def _mask(self, window: int) -> Tensor:
        """Return what each may look at as numbers to add: as a yes or no each layer would turn it into these anew."""
        mask = self._masks.get(window)
        if mask is None:
            hidden = self._visible(window).logical_not()
            shape, device = self.slab.shape, hidden.device
            mask = torch.zeros(hidden.shape, dtype=shape.dtype, device=device).masked_fill_(hidden, -torch.inf)
            self._masks[window] = mask
        return mask

    def clean(self) -> None:
        """Wipe what the padding has left."""
        self.slab.kv[:, : self.count, -1].masked_fill_(self._padding[None, :, None, None], 0)


def attend(
    pieces: Sequence[Piece],
    layer: int,
    query: Tensor,
    keys_values: Tensor,
    scale: float | None,
    window: int | None = None,
) -> Tensor:
    """Let a batch attend that is made of several pieces, in their order; shapes as in `Piece.attend`."""
    if len(pieces) == 1:
        return pieces[0].attend(layer, query, keys_values, scale, window)
    counts = [piece.count for piece in pieces]
    parts = zip(pieces, torch.split(query, counts), torch.split(keys_values, counts), strict=True)
    return torch.cat([piece.attend(layer, q, kv, scale, window) for piece, q, kv in parts])
