"""One training run in several processes: what this one is among them, and how they act as one.

`accelerate launch` decides how many there are, where, and on which devices. Process 0 is the main one; every call of
`Spread` but `failed` is made by all of them, in the same order, and in a process alone it has nothing to do.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from feedback.errors import RapportError

_COUNTED_BY = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # by torchrun, by MPI's
_PATIENCE = timedelta(days=1)  # how long others wait while the main one builds a dataset; a dead one is noticed at once
_AT_ONCE = 2**24  # values summed in one message: 64 MB


class Ended(RapportError):
    """Another process of this run has ended it."""


class Spread:
    """What this process is among those that train together."""

    def __init__(self, index: int = 0, count: int = 1, meeting: Any = None):
        """Be process `index` of `count`; `meeting` is the group in which they agree, None once they have parted."""
        self.index, self.count, self._meeting, self._told = index, count, meeting, False
        self.hears = True  # False where others may be in the middle of a pass that takes this process too

    @property
    def main(self) -> bool:
        """Whether this process writes the record, checkpoints and versions."""
        return self.index == 0

    def share(self, value: Any) -> Any:
        """Return the main process's value, in all of them; what the others give is nothing."""
        if self._meeting is None:
            return value
        self._agree()
        told = [value if self.main else None]
        dist.broadcast_object_list(told, src=0, group=self._meeting)
        return told[0]

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value in their order; tensors have to lie on the CPU."""
        if self._meeting is None:
            return [value]
        self._agree()
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self._meeting)
        return values

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, of one type and device, by their sums over all processes."""
        if self._meeting is None:
            return
        self._agree()
        for some in _portions(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in some])
            dist.all_reduce(flat)
            for tensor, total in zip(some, torch.split(flat, [tensor.numel() for tensor in some]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def level(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by the main process's."""
        if self._meeting is None:
            return
        self._agree()
        for tensor in tensors:
            dist.broadcast(tensor, src=0)

    def part(self) -> None:
        """Go separate ways: from here on a process ends without the others."""
        if self._meeting is None:
            return
        self._agree()
        self._meeting = None
        dist.destroy_process_group()

    def failed(self, reason: str) -> None:
        """Tell the others that this process ends; nothing if they have parted, know, or find out by its absence.

        It returns when all have met, so that a launcher which kills the others for one that failed leaves them the
        time to say why.
        """
        if self._meeting is None or not self.hears:
            return
        if not self._told:
            with suppress(Ended):
                self._agree(reason or "it ended.")
        meeting, self._meeting = self._meeting, None
        if meeting is not None:
            with suppress(RuntimeError):  # whoever is gone needs no more time
                dist.barrier(meeting)

    def _agree(self, reason: str = "") -> None:
        """Let all say whether they go on. Raises Ended if one does not, or is gone."""
        failing = torch.tensor(self.index + 1 if reason else 0)
        told = [reason]
        try:
            dist.all_reduce(failing, dist.ReduceOp.MAX, group=self._meeting)
            if failing:
                dist.broadcast_object_list(told, src=int(failing) - 1, group=self._meeting)
        except RuntimeError as error:  # the connection to a process that was killed
            self._meeting = None
            raise Ended(f"A process of this run is gone, so process {self.index} of {self.count} ends too.") from error
        if failing:
            self._told = True
            raise Ended(f"Process {int(failing) - 1} of {self.count} ended the run: {told[0]}")


_here = Spread()


def here() -> Spread:
    """Return what this process is: alone, unless within `together`."""
    return _here


@contextmanager
def together() -> Iterator[Spread]:
    """Find the other processes that a launcher started beside this one; who leaves before `part` ends them all."""
    global _here
    if max(int(os.environ.get(name) or 1) for name in _COUNTED_BY) == 1:
        yield _here
        return
    from accelerate import PartialState

    state = PartialState(cpu=not on_gpus())
    # NCCL tells of a dead process only when time is up; gloo does when its connection closes.
    _here = Spread(state.process_index, state.num_processes, dist.new_group(backend="gloo", timeout=_PATIENCE))
    reason = ""
    try:
        yield _here
    # Ctrl-C too must not leave the others waiting.
    except BaseException as error:
        reason = str(error) or type(error).__name__
        raise
    finally:
        _here.failed(" ".join(reason.split())[:500])
        if dist.is_initialized():
            dist.destroy_process_group()
        _here = Spread()


def on_gpus() -> bool:
    """Tell whether to compute on a GPU: where there is one, and the launcher's configuration did not choose CPUs."""
    return torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() not in ("1", "true", "yes")


def _portions(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Divide tensors into lists of at most _AT_ONCE values, but for a tensor that holds more."""
    portion: list[Tensor] = []
    for tensor in tensors:
        if portion and sum(t.numel() for t in portion) + tensor.numel() > _AT_ONCE:
            yield portion
            portion = []
        portion.append(tensor)
    if portion:
        yield portion
