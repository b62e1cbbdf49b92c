"""Steps of one token as CUDA graphs: recorded once, then set off with a single call.

Such a step is some hundred kernels, and on a GPU calling them one by one takes longer than they do, up to several
billion parameters. A graph is bound to its shapes and to its memory: so seats are padded to a power of two, places
looked at too, and a graph goes with the slabs it writes to. What is new, or reads prompts, is computed call by call.
"""

import logging
import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from chatui.engine.exam import Network
from chatui.engine.memory import Piece, Slab, StaticPiece, seat_for
from chatui.engine.recorder import Compute, CudaRecorder, Recorder

log = logging.getLogger("rapport.engine")
_MOST = 24  # graphs of a network; each holds the logits of its step, some MB at most
_REMEMBERED = 64  # kinds of steps that came up once; the second time they are recorded

Kind = tuple[tuple["weakref.ref[Slab]", int, int], ...]  # of each piece: slab, seats, places looked at


class Step:
    """A step of one kind: what changes from one to the next stands in a tensor."""

    def __init__(self, network: Network, kind: Kind):
        """Make the tensors that the step is computed from."""
        device = network.shape.device
        self._network, self._kind, self._seats = network, kind, [seats for _, seats, _ in kind]
        self._numbers = torch.zeros(2, sum(self._seats), dtype=torch.long, device=device)  # ids, and tokens held
        self._at = torch.arange(sum(self._seats), device=device)

    def fill(self, ids: Tensor, pieces: Sequence[Piece]) -> None:
        """Lay down the ids (rows, 1) to be read into the pieces' seats, in one copy to the device."""
        unread, tokens, held = iter(ids.flatten().tolist()), [], []
        for piece, seats in zip(pieces, self._seats, strict=True):
            padding = seats - piece.count
            tokens += [next(unread) for _ in range(piece.count)] + [0] * padding
            held += [*piece.starts, *[-1] * padding]
        self._numbers.copy_(torch.tensor([tokens, held]), non_blocking=True)

    def compute(self) -> Tensor:
        """Return the logits (seats, vocabulary), those of the padding among them."""
        ids, held = self._numbers
        parts = zip(self._kind, torch.split(held, self._seats), strict=True)
        pieces = [StaticPiece(_held(slab), part, upto) for (slab, _, upto), part in parts]
        logits = self._network.logits(ids[:, None], pieces, self._at)
        for piece in pieces:
            piece.clean()
        return logits

    def real(self, logits: Tensor, pieces: Sequence[Piece]) -> Tensor:
        """Return a copy of the logits without the padding's: the next step overwrites them."""
        parts = zip(torch.split(logits, self._seats), pieces, strict=True)
        return torch.cat([part[: piece.count] for part, piece in parts])


def _held(slab: "weakref.ref[Slab]") -> Slab:
    held = slab()
    assert held is not None, "a step of a slab that is gone"
    return held


class Graphed:
    """A network whose steps of one token are recorded when they come up again; see exam.Network."""

    def __init__(self, network: Network, record: Recorder, most: int = _MOST):
        """Keep `most` recordings; those that were used longest ago go."""
        self.network, self.shape, self.form = network, network.shape, network.form
        self._record: Recorder | None = record  # None once one has failed
        self._most = most
        self._graphs: OrderedDict[Kind, tuple[Step, Compute]] = OrderedDict()
        self._once: deque[Kind] = deque(maxlen=_REMEMBERED)
        self._slabs: weakref.WeakSet[Slab] = weakref.WeakSet()  # those that graphs write to

    @property
    def bytes(self) -> int:
        """Bytes that its weights take."""
        return self.network.bytes

    def logits(self, ids: Tensor, pieces: Sequence[Piece], at: Tensor) -> Tensor:
        """Compute what `Decoder.logits` computes; of steps of one token `at` names every row, in their order."""
        written = ids.shape[1] == 1 and not any(piece.first for piece in pieces)
        found = self._replayed(ids, pieces) if written and self._record else None
        return self.network.logits(ids, pieces, at) if found is None else found

    def _replayed(self, ids: Tensor, pieces: Sequence[Piece]) -> Tensor | None:
        """Return None where this must be computed call by call."""
        kind = tuple((weakref.ref(p.slab), _seats(p), seat_for(p.upto)) for p in pieces)
        if kind in self._graphs:
            self._graphs.move_to_end(kind)
            step, replay = self._graphs[kind]
            step.fill(ids, pieces)
            return step.real(replay(), pieces)
        if kind not in self._once:
            self._once.append(kind)
            return None
        return self._recorded(kind, ids, pieces)

    def _recorded(self, kind: Kind, ids: Tensor, pieces: Sequence[Piece]) -> Tensor | None:
        assert self._record is not None
        while len(self._graphs) >= self._most:
            self._graphs.popitem(last=False)
        try:
            step = Step(self.network, kind)
            step.fill(ids, pieces)
            # Whatever is computed before the recording leaves the same keys and values behind.
            replay = self._record(step.compute)
            found = step.real(replay(), pieces)
        # A driver, a build or a model may refuse in any way; the step can be computed without.
        except Exception as error:  # noqa: BLE001
            log.warning("Steps cannot be recorded here (%s); they are computed call by call.", error)
            self._record = None
            self._graphs.clear()
            return None
        self._graphs[kind] = step, replay
        self._once.remove(kind)  # once let go of, it has to come up twice again: recording costs five steps
        self._watch(pieces)
        return found

    def _watch(self, pieces: Sequence[Piece]) -> None:
        """Let graphs go with the slabs that they write to; they know only where those lay."""
        for piece in pieces:
            if piece.slab not in self._slabs:
                self._slabs.add(piece.slab)
                weakref.finalize(piece.slab, _forget_gone, self._graphs).atexit = False


def _forget_gone(graphs: OrderedDict[Kind, tuple[Step, Compute]]) -> None:
    for kind in [kind for kind in list(graphs) if any(slab() is None for slab, _, _ in kind)]:
        graphs.pop(kind, None)


def _seats(piece: Piece) -> int:
    return min(piece.slab.seats, 1 << (piece.count - 1).bit_length())


def recordable(model: Any) -> bool:
    """Tell whether a model that `decoder.fits` turns a token by its place alone, not by how long its neighbours are."""
    return getattr(model.model.rotary_emb, "rope_type", "default") not in ("dynamic", "longrope")


def graphed(network: Network) -> Graphed:
    """Return a network on CUDA that records its steps of one token."""
    return Graphed(network, CudaRecorder(network.shape.device))
