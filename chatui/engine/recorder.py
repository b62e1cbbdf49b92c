"""What a function computes on a GPU, recorded as a CUDA graph: set off again with one call instead of hundreds."""

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor

_WARM_UPS = 2  # libraries take their workspaces and choose their kernels before anything is recorded
_one_records = threading.Lock()  # a version may sit its exam while another writes
_broken: list[torch.cuda.CUDAGraph] = []  # the allocators may still ask a graph whose recording failed

Compute = Callable[[], Tensor]


class Recorder(Protocol):
    """Records what a function computes, to be computed again from what then stands in the same tensors."""

    def __call__(self, compute: Compute) -> Compute:
        """Call `compute` at least once; return what computes the same again, into the same memory."""


class CudaRecorder:
    """Records CUDA graphs of one network, which lie in the same memory: no two are ever replayed at once."""

    def __init__(self, device: torch.device):
        """Record on a stream of its own, as CUDA demands."""
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._alive: weakref.WeakSet[_Recording] = weakref.WeakSet()

    def __call__(self, compute: Compute) -> Compute:
        """Return what computes the same again on the stream of who calls it. Raises whatever CUDA finds wrong."""
        now = torch.cuda.current_stream(self._device)
        with _one_records:
            self._stream.wait_stream(now)
            try:
                with torch.cuda.stream(self._stream):
                    for _ in range(_WARM_UPS):
                        compute()
                    recording = self._recorded(compute)
            finally:
                now.wait_stream(self._stream)
        self._alive.add(recording)
        return recording.replay

    def _recorded(self, compute: Compute) -> "_Recording":
        # Memory that the last graph has let go of is not taken up again under the same name.
        neighbour = next(iter(self._alive), None)
        pool = neighbour.graph.pool() if neighbour else torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Another thread may load a version meanwhile: only what this one does counts.
        graph.capture_begin(pool, capture_error_mode="thread_local")
        try:
            out = compute()
            graph.capture_end()
        except BaseException:
            self._give_up(graph, pool)
            raise
        return _Recording(graph, out)

    def _give_up(self, graph: torch.cuda.CUDAGraph, pool: Any) -> None:
        """End a recording that failed, so that its stream and the allocator go on as before."""
        _broken.append(graph)
        with suppress(Exception):  # it says again that it failed
            graph.capture_end()
        with suppress(Exception):  # what PyTorch leaves out when its own end fails; private, and needed there alone
            torch._C._cuda_endAllocateToPool(self._device.index, pool)
            torch._C._cuda_releasePool(self._device.index, pool)


class _Recording:
    """A CUDA graph and where its result lies."""

    def __init__(self, graph: torch.cuda.CUDAGraph, out: Tensor):
        self.graph, self._out = graph, out

    def replay(self) -> Tensor:
        self.graph.replay()
        return self._out
