"""What former replies of one version have read, kept so that the next turn of a conversation need not read it again."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

_SHORTEST = 32  # tokens below which reading again is as quick


class Prefixes:
    """Keys and values by the tokens they belong to; what was used longest ago goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()
        self._next = 0
        self.bytes = 0

    def find(self, ids: Sequence[int]) -> tuple[int, Tensor | None]:
        """Return how many of the first tokens of `ids` are kept, all but one at most, and their keys and values."""
        wanted = torch.tensor(ids[:-1])
        best, place = 0, None
        for key, (known, _) in self._kept.items():
            shared = _common(known, wanted)
            if shared > best:
                best, place = shared, key
        if place is None or best < _SHORTEST:
            return 0, None
        self._kept.move_to_end(place)
        return best, self._kept[place][1]

    def keep(self, ids: Sequence[int], kept: Tensor) -> None:
        """Keep keys and values (layers, tokens, 2 * heads, size) in place of those that these begin with."""
        if len(ids) < _SHORTEST:
            return
        tokens = torch.tensor(ids)
        for key, (known, _) in list(self._kept.items()):
            if _common(known, tokens) == len(known):
                self._drop(key)
        self._kept[self._next] = (tokens, kept)
        self._next += 1
        self.bytes += kept.nbytes

    def drop_oldest(self) -> bool:
        """Let go of what was used longest ago; say whether there was anything."""
        if not self._kept:
            return False
        self._drop(next(iter(self._kept)))
        return True

    def _drop(self, key: int) -> None:
        self.bytes -= self._kept.pop(key)[1].nbytes


def _common(left: Tensor, right: Tensor) -> int:
    """Count the tokens at the beginning that are the same."""
    length = min(len(left), len(right))
    differ = (left[:length] != right[:length]).nonzero()
    return int(differ[0]) if len(differ) else length
