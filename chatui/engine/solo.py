"""The lane of a model whose attention cannot be replaced: its replies take turns, each with transformers' own cache."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from chatui.engine.lane import BROKEN, Room, end_cancelled, fail
from chatui.engine.memory import Shape
from chatui.engine.rows import Row
from chatui.engine.sampling import pick

_CHUNK = 512  # prompt tokens of one step, so that a long prompt makes nobody wait for long


class SoloLane:
    """Computes the replies of one version one after the other, a token each."""

    def __init__(
        self,
        model: Any,
        shape: Shape,
        ends: frozenset[int],
        room: Room,
        activate: Callable[[], None] = lambda: None,
    ):
        """`shape` tells how much memory a token takes; `ends` are the tokens that end a reply.

        `activate` makes a model that several versions share this version's before each step.
        """
        self.model, self.ends, self._shape, self._room, self._activate = model, ends, shape, room, activate
        self._caches: dict[Row, DynamicCache] = {}

    @property
    def rows(self) -> list[Row]:
        """The replies being computed."""
        return list(self._caches)

    @property
    def bytes(self) -> int:
        """Bytes of keys and values when every reply has its longest."""
        return sum(row.tokens for row in self._caches) * self._shape.bytes_per_token

    @property
    def held(self) -> int:
        """All of them."""
        return self.bytes

    def needs(self, row: Row) -> int:
        """Bytes of keys and values of a reply at its longest."""
        return row.tokens * self._shape.bytes_per_token

    def spare(self) -> bool:
        """Nothing is kept of former replies."""
        return False

    def add(self, row: Row, beyond: bool = False) -> bool:
        """Take a reply on; False while there is no memory for it, unless it may go `beyond` what is allowed."""
        if not self._room(self.needs(row)) and not beyond:
            return False
        self._caches[row] = DynamicCache(config=self.model.config)
        return True

    @torch.inference_mode()
    def step(self) -> None:
        """Compute a step for every reply; those that ended are gone then."""
        end_cancelled(self.rows)
        living = [(row, cache) for row, cache in self._caches.items() if not row.over]
        if living:
            self._activate()
        for row, cache in living:
            self._step(row, cache)
        self._caches = {row: cache for row, cache in self._caches.items() if not row.over}

    def _step(self, row: Row, cache: DynamicCache) -> None:
        try:
            logits = self._read(row, cache)
        # Out of memory, or anything a stranger's model may raise: nobody else may end by it.
        except Exception as error:  # noqa: BLE001
            fail(row, error)
            return
        if row.read < len(row.ids):
            return
        token = pick(logits, [row.picker])[0]
        row.fail(BROKEN) if token is None else row.take(token, self.ends)

    def _read(self, row: Row, cache: DynamicCache) -> Tensor:
        part = row.ids[row.read : row.read + _CHUNK]
        ids = torch.tensor([part], device=self._shape.device)
        out = self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        row.read += len(part)
        logits: Tensor = out.logits[:, -1]
        return logits
