"""How much memory the engine may take: by a setting, else so much that a training run beside it has enough."""

import threading
from typing import Any

from chatui.engine.free import free
from chatui.engine.protocol import EngineError

_LEAST = 64 * 2**20  # bytes of keys and values without which hardly a reply can be written
_LOADING = 2.5  # a version takes so many times its size while it is loaded and packed


class Budget:
    """Bytes for weights and caches; without a limit caches have a share of what is free when the first are held."""

    def __init__(self, memory_gb: float):
        """Allow so many GiB for both together, 0 for no limit but the share."""
        self._limit = int(memory_gb * 2**30) or None
        self._share: int | None = None  # caches' bytes, decided once where there is no limit
        self._held: dict[object, int] = {}  # bytes of weights by whoever holds them
        self._lock = threading.Lock()

    def holds_two(self, size: int, device: Any) -> bool:
        """Tell whether a second copy of weights of this size fits beside the first, with room for replies."""
        if self._limit:
            return 2 * size + _LEAST <= self._limit
        return free(device) > (1.2 if device.type == "cuda" else _LOADING) * size + _LEAST

    def holds_none(self) -> bool:
        """Tell whether no weights are held."""
        return not self._held

    def hold(self, who: object, size: int, device: Any) -> None:
        """Count weights until `let_go`. Raises EngineError, and counts nothing, where they leave caches too little."""
        with self._lock:
            weights = sum(self._held.values()) - self._held.get(who, 0) + size
            if self._limit and self._limit - weights < _LEAST:
                needed = (weights + _LEAST) / 2**30
                raise EngineError(
                    f"--engine-memory {self._limit / 2**30:g} is too little: the model needs {needed:.2f} GiB and "
                    "more; allow it that."
                )
            if self._share is None:
                self._share = max(_LEAST, free(device) // (2 if device.type == "cuda" else 4))
            self._held[who] = size

    def let_go(self, who: object) -> None:
        """Count what somebody held no more."""
        with self._lock:
            self._held.pop(who, None)

    def caches(self) -> int:
        """Return the bytes that are left for keys and values beside the weights that are held."""
        with self._lock:
            return self._limit - sum(self._held.values()) if self._limit else self._share or _LEAST
