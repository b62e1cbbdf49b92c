"""Rows that begin alike, laid end to end behind what they share, so that it is read once for all of them.

Under one system prompt every row of a step begins with the same tokens, and both replies to a prompt with all of it. As
no token sees what follows, what a model makes of these is the same in each row; only attention has to know where the
rows lie. Who computes it asks `layout()`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import accumulate, takewhile

import torch
from torch import Tensor

from finetune.batches import FULL
from finetune.model import IGNORED, Encoded

_WORTH = 0.9  # of the rows' tokens; what saves less is read apart
# Queries, keys and values, each (rows, heads, tokens, size), of which keys and values may be more, and a mask (1, 1,
# queries, keys) of what is seen; to (rows, tokens, heads, size).
Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Pack:
    """Places of rows that share their first `shared` tokens, and how many tokens they are together."""

    places: tuple[int, ...]
    shared: int
    tokens: int


class Layout:
    """Where the rows of a pack lie, and how attention within it is that within each row."""

    def __init__(self, shared: int, own: Sequence[int], device: torch.device):
        """Lay rows of `own` tokens each behind `shared` ones."""
        self.shared, self.rows, self.most = shared, len(own), max(own)
        places = torch.arange(self.most, device=device).expand(self.rows, -1)
        lengths = torch.tensor(own, device=device)[:, None]
        begins = torch.tensor([0, *accumulate(own)][:-1], device=device)[:, None]
        self._said = (places < lengths).flatten().nonzero()[:, 0]
        self._apart = (shared + begins + places.minimum(lengths - 1)).flatten()
        sizes = (shared, shared), (self.most, shared + self.most)
        self._seen = [
            torch.ones(1, 1, *size, dtype=torch.bool, device=device).tril(size[1] - size[0]) for size in sizes
        ]

    def attended(self, attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return (1, tokens, heads, size) of queries (1, heads, tokens, size) and as many or fewer heads of the others.

        Every row's own tokens are given to `attend` behind the keys and values of what they share.
        """
        first, own = ([take(part) for part in (query, key, value)] for take in (self._front, self._by_row))
        keys, values = (torch.cat([first[n].expand(self.rows, -1, -1, -1), own[n]], 2) for n in (1, 2))
        rest = attend(own[0], keys, values, self._seen[1]).flatten(0, 1).index_select(0, self._said)
        return torch.cat([attend(first[0], first[1], first[2], self._seen[0]), rest[None]], 1)

    def _front(self, part: Tensor) -> Tensor:
        return part[:, :, : self.shared]

    def _by_row(self, part: Tensor) -> Tensor:
        """Return (rows, heads, most, size) of (1, heads, tokens, size); shorter rows end in copies of their last."""
        heads, size = part.shape[1], part.shape[3]
        picked = part[0].transpose(0, 1).index_select(0, self._apart)
        return picked.view(self.rows, self.most, heads, size).transpose(1, 2)


_layout: ContextVar[Layout | None] = ContextVar("layout", default=None)


def layout() -> Layout | None:
    """Return how the pack lies that is being read; None where rows are read apart."""
    return _layout.get()


@contextmanager
def laid_out(found: Layout | None) -> Iterator[None]:
    """Let attention know the layout of what is read meanwhile."""
    token = _layout.set(found)
    try:
        yield
    finally:
        _layout.reset(token)


def packs(rows: Sequence[Encoded], longest: float) -> tuple[list[Pack], list[int]]:
    """Put rows together that share so much that it is worth it; return also the places of those to be read apart.

    A row of more than `longest` tokens is one of those.
    """
    made: list[Pack] = []
    short = [place for place, row in enumerate(rows) if len(row.ids) <= longest]
    for place in sorted(short, key=lambda place: rows[place].ids):  # so that those alike stand together
        joined = _joined(made[-1], place, rows) if made else None
        if joined:
            made[-1] = joined
        else:
            made.append(Pack((place,), _unsaid(rows[place]), len(rows[place].ids)))
    worth = [one for one in made if one.tokens <= _WORTH * sum(len(rows[place].ids) for place in one.places)]
    taken = {place for one in worth for place in one.places}
    return worth, [place for place in range(len(rows)) if place not in taken]


def pack(rows: Sequence[Encoded], shared: int) -> dict[str, Tensor]:
    """Lay rows, (1, tokens) of each kind, behind what they share; `rows` tells whose each token is, -1 that of all."""
    first, own = rows[0], [len(row.ids) - shared for row in rows]
    whose = [-1] * shared + [n for n, count in enumerate(own) for _ in range(count)]
    places = [*range(shared), *(place for row in rows for place in range(shared, len(row.ids)))]

    def laid(front: Sequence[float], rest: Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor([[*front[:shared], *(value for part in rest for value in part[shared:])]])

    return {
        "input_ids": laid(first.ids, [row.ids for row in rows]),
        "labels": laid(first.labels, [row.labels for row in rows]),
        "weights": laid(first.weights, [row.weights for row in rows]),
        "attention_mask": torch.ones(1, len(whose), dtype=torch.long),
        "position_ids": torch.tensor([places]),
        "rows": torch.tensor([whose]),
    }


def layout_of(rows: Tensor) -> Layout:
    """Return the layout of a pack, told by whose its tokens are, (1, tokens)."""
    shared = int((rows < 0).sum())
    return Layout(shared, torch.bincount(rows[0, shared:]).tolist(), rows.device)


def _joined(one: Pack, place: int, rows: Sequence[Encoded]) -> Pack | None:
    """Return the pack with one row more; None where that is longer than a pass should be, or saves nothing."""
    first, more = rows[one.places[0]].ids, rows[place]
    alike = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(first, more.ids, strict=False)))
    shared = min(one.shared, alike, _unsaid(more))
    tokens = one.tokens + (one.shared - shared) * (len(one.places) - 1) + len(more.ids) - shared
    fits = one.tokens < FULL["cpu"] and tokens < one.tokens + len(more.ids)
    return Pack((*one.places, place), shared, tokens) if fits else None


def _unsaid(row: Encoded) -> int:
    """Count the tokens before the one that says the first with a loss: that one differs from row to row."""
    return max(0, next((n for n, label in enumerate(row.labels) if label != IGNORED), len(row.ids)) - 1)
