"""How much memory the engine may take: by a setting, else so much that a training run beside it has enough."""

from typing import Any

import torch

from chatui.engine.free import free
from chatui.engine.protocol import EngineError

_LEAST = 64 * 2**20  # bytes of keys and values without which hardly a reply can be written
_LOADING = 2.5  # a version takes so many times its size while it is loaded and packed


class Budget:
    """Bytes for weights and caches; without a limit caches have a share of what is free when first asked for."""

    def __init__(self, memory_gb: float):
        """Allow so many GiB for both together, 0 for no limit but the share."""
        self._limit = int(memory_gb * 2**30) or None
        self._free: int | None = None  # caches' bytes, decided once where there is no limit

    def holds_two(self, size: int, device: Any) -> bool:
        """Tell whether a second copy of weights of this size fits beside the first, with room for replies."""
        if self._limit:
            return 2 * size + _LEAST <= self._limit
        return free(device) > (1.2 if device.type == "cuda" else _LOADING) * size + _LEAST

    def caches(self, weights: int, device: Any = None) -> int:
        """Return the bytes that are left for keys and values beside weights. Raises EngineError for none."""
        if self._limit is None:
            if self._free is None:
                where = device or torch.device("cpu")
                self._free = max(_LEAST, free(where) // (2 if where.type == "cuda" else 4))
            return self._free
        if self._limit - weights < _LEAST:
            needed = (weights + _LEAST) / 2**30
            raise EngineError(
                f"--engine-memory {self._limit / 2**30:g} is too little: the model needs {needed:.2f} GiB and more; "
                "allow it that."
            )
        return self._limit - weights
