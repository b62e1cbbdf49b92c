"""How much memory the engine may take: by a setting, else so much that a training run beside it has enough."""

import threading
from typing import Any

from chatui.engine.free import free
from chatui.engine.protocol import EngineError

_LEAST = 64 * 2**20  # bytes of keys and values that are left in any case
_USUAL = 1024  # tokens of a seat that holds a short chat and a reply; without one hardly any can be written
_LOADING_GPU, _LOADING_CPU = 1.2, 2.5  # a version takes so many times its size while it is loaded and packed
_PART_GPU, _PART_CPU = 2, 4  # without a limit caches have one of so many parts of what is free


class Budget:
    """Bytes for weights and caches; without a limit caches have a share of what is free when the first are held."""

    def __init__(self, memory_gb: float):
        """Allow so many GiB for both together, 0 for no limit but the share."""
        self._limit = int(memory_gb * 2**30) or None
        self._share = self._beside = 0  # without a limit: caches' bytes, and those of weights they were decided beside
        self._least = _LEAST
        self._held: dict[object, int] = {}  # bytes of weights by whoever holds them
        self._lock = threading.Lock()

    def seat(self, bytes_per_token: int) -> None:
        """Learn what a token of the model takes: one seat for a usual reply must be left beside all weights."""
        self._least = max(_LEAST, _USUAL * bytes_per_token)

    @property
    def limited(self) -> bool:
        """Whether there is a limit, to be kept at any time."""
        return self._limit is not None

    @property
    def largest(self) -> int:
        """Bytes of the largest weights that are held, 0 for none: so many the next version's may be."""
        with self._lock:
            return max(self._held.values(), default=0)

    def holds_two(self, size: int, device: Any) -> bool:
        """Tell whether a second copy of weights of this size fits beside the first, with room for replies."""
        if self._limit:
            return 2 * size + self._least <= self._limit
        return free(device) > _loading(size, device) + self._least

    def fits(self, size: int) -> bool:
        """Tell whether so many bytes of weights fit beside those that are held."""
        with self._lock:
            return self._lacks(sum(self._held.values()) + size) is None

    def hold(self, who: object, size: int, device: Any, alone: bool = False, instead: object = None) -> None:
        """Count weights until `let_go`, in place of those that `instead` holds.

        Of the first weights `alone` says that no second copy will ever be loaded beside them. Raises EngineError, and
        counts nothing, where a limit leaves caches too little.
        """
        with self._lock:
            others = {other: held for other, held in self._held.items() if other not in (who, instead)}
            weights = sum(others.values()) + size
            needed = self._lacks(weights)
            if needed:
                raise EngineError(
                    f"--engine-memory {(self._limit or 0) / 2**30:g} is too little: "
                    f"{'the versions in memory need' if others else 'the model needs'} {needed / 2**30:.2f} GiB and "
                    "more; allow it that."
                )
            if not self._beside:
                self._decide(size, device, alone)
            self._held = others | {who: size}

    def let_go(self, who: object) -> None:
        """Count what somebody held no more."""
        with self._lock:
            self._held.pop(who, None)

    def caches(self) -> int:
        """Return the bytes that are left for keys and values beside the weights that are held."""
        with self._lock:
            weights = sum(self._held.values())
            if self._limit:
                return self._limit - weights
            return max(self._least, self._share - max(0, weights - self._beside))

    def _lacks(self, weights: int) -> int | None:
        """Return how many bytes a limit would have to have for weights, None where it has them."""
        needed = weights + self._least
        return needed if self._limit and needed > self._limit else None

    def _decide(self, size: int, device: Any, alone: bool) -> None:
        """Decide the share, so that a second copy finds room at any time, however full the caches are."""
        second, parts = 0 if alone else _loading(size, device), _PART_GPU if device.type == "cuda" else _PART_CPU
        self._share, self._beside = (free(device) - second) // parts, size if alone else 2 * size


def _loading(size: int, device: Any) -> int:
    return int((_LOADING_GPU if device.type == "cuda" else _LOADING_CPU) * size)
