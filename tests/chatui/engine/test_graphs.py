"""Steps that are recorded and replayed write what the same steps write call by call."""

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from chatui.engine import fitting
from chatui.engine.decoder import Decoder
from chatui.engine.exam import Exam
from chatui.engine.graphs import Graphed, graphed, recordable
from chatui.engine.lane import BatchLane
from chatui.engine.memory import StaticPiece
from chatui.engine.protocol import Sampling
from chatui.engine.recorder import Compute, CudaRecorder
from chatui.engine.rows import Row
from chatui.engine.stock import Stock
from finetune.model import load_base
from tests.chatui.engine.models import loaded_from
from tests.tiny import make_tiny

CHUNK = 16  # so that a prompt is read in many steps beside those that write


class Tape(TorchDispatchMode):
    """What CUDA's recorder does, on a CPU: calls are kept with the memory they read and write, Python is not."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []
        self.replayed = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        assert name not in ("item", "is_nonzero", "_local_scalar_dense", "lift_fresh", "nonzero"), (
            f"{name} waits for the device"
        )
        out = func(*args, **kwargs)
        outs = out if isinstance(out, tuple | list) else (out,)
        known = {a.untyped_storage().data_ptr() for a in _tensors([args, kwargs])}
        if func._schema.is_mutable or any(o.untyped_storage().data_ptr() not in known for o in _tensors(outs)):
            self.calls.append((func, args, kwargs, outs))
        return out

    def replay(self) -> None:
        self.replayed += 1
        for func, args, kwargs, outs in self.calls:
            again = func(*args, **kwargs)
            again = again if isinstance(again, tuple | list) else (again,)
            for before, now in zip(outs, again, strict=True):
                if isinstance(before, torch.Tensor) and before.data_ptr() != now.data_ptr():
                    before.copy_(now)


def _tensors(tree) -> list[torch.Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Tapes:
    """Records on tapes, and counts them."""

    def __init__(self) -> None:
        self.made: list[Tape] = []

    def __call__(self, compute: Compute) -> Compute:
        compute()
        tape = Tape()
        with tape:
            out = compute()
        self.made.append(tape)

        def replay() -> torch.Tensor:
            tape.replay()
            return out

        return replay

    @property
    def replayed(self) -> int:
        return sum(tape.replayed for tape in self.made)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("graphs"), context=1024)


@pytest.fixture
def decoder(tiny: Path) -> Decoder:
    return Decoder(loaded_from(tiny).model, "float32")


# When each reply joins (after so many steps), how long its prompt is and how many tokens it writes. The fourth and the
# last read for long beside a padded step; those of 300 and 500 lie in slabs of their own; 240 crosses 256 places.
REPLIES = ((0, 5, 60), (2, 20, 12), (4, 9, 70), (6, 150, 20), (8, 300, 40), (9, 240, 40), (12, 500, 6), (20, 180, 12))


def lane_of(network, room=lambda size: True) -> BatchLane:
    lane = BatchLane(network, frozenset(), room)
    lane._chunk = CHUNK
    return lane


def row_of(seed: int, prompt: int, most: int) -> Row:
    ids = torch.randint(2, 290, (prompt,), generator=torch.Generator().manual_seed(seed)).tolist()
    return Row(ids, most, Sampling(temperature=0))


def written(lane: BatchLane, replies: Sequence[tuple[int, int, int]]) -> list[list[int]]:
    """Write replies that join and leave; return the tokens of each."""
    rows = [row_of(n, prompt, most) for n, (_, prompt, most) in enumerate(replies)]
    steps = 0
    while steps == 0 or lane.rows or steps <= max(joins for joins, _, _ in replies):
        for (joins, _, _), row in zip(replies, rows, strict=True):
            assert joins != steps or lane.add(row)
        lane.step()
        steps += 1
    assert all(row.over and len(row.ids) == row.prompt + row.most for row in rows)
    return [row.ids[row.prompt :] for row in rows]


def test_replies_are_the_same_replayed_and_call_by_call(decoder: Decoder) -> None:
    tapes = Tapes()
    network = Graphed(decoder, tapes)
    lane = lane_of(network)
    assert written(lane, REPLIES) == written(lane_of(decoder), REPLIES)
    assert len(tapes.made) > 5
    assert tapes.replayed > 40
    kinds = [part for kind in network._graphs for part in kind]
    assert {upto for _, _, upto in kinds} == {256, 512}
    assert any(len(kind) > 1 for kind in network._graphs)


def test_padding_in_a_seat_in_use_would_be_seen(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The replies above read long enough beside padded steps to notice what is written over them."""
    made = StaticPiece.__init__

    def careless(self, slab, held, upto):
        made(self, slab, held, upto)
        self._places = torch.arange(len(held)) * slab.capacity + held.clamp(min=0)

    monkeypatch.setattr(StaticPiece, "__init__", careless)
    assert written(lane_of(Graphed(decoder, Tapes())), REPLIES) != written(lane_of(decoder), REPLIES)


def test_padding_leaves_nothing_behind(decoder: Decoder) -> None:
    """Not even where what it is computed from is no number."""
    decoder.embedding = decoder.embedding.clone()
    decoder.embedding[0] = torch.nan  # the token that pads
    lane = lane_of(Graphed(decoder, Tapes()))
    replies = [(0, 5, 12)] * 3
    assert written(lane, replies) == written(lane_of(decoder), replies)
    assert all(bool(torch.isfinite(shelf.slab.kv).all()) for shelf in lane._shelves)
    assert all(not bool(shelf.slab.kv[:, :, -1].any()) for shelf in lane._shelves)


def test_graphs_go_with_the_slab_they_write_to(decoder: Decoder) -> None:
    network = Graphed(decoder, Tapes())
    lane = lane_of(network)
    written(lane, [(0, 5, 12), (0, 300, 12)])
    gone = [weakref.ref(shelf.slab) for shelf in lane._shelves]
    assert len(network._graphs) >= 2
    assert lane.spare()
    assert gone[0]() is None
    assert all(slab() is gone[1]() for kind in network._graphs for slab, _, _ in kind)
    assert lane.spare()
    assert (gone[1](), len(network._graphs)) == (None, 0)
    # Another slab may lie where that one lay: nothing of its graphs serves it.
    assert written(lane, REPLIES) == written(lane_of(decoder), REPLIES)


def test_what_cannot_be_recorded_is_computed_and_not_tried_again(decoder: Decoder) -> None:
    tried = []

    def refuse(compute: Compute) -> Compute:
        tried.append(compute())
        raise RuntimeError("operation not permitted when stream is capturing")

    assert written(lane_of(Graphed(decoder, refuse)), REPLIES) == written(lane_of(decoder), REPLIES)
    assert len(tried) == 1


def test_a_recording_that_fails_later_fails_no_reply(decoder: Decoder) -> None:
    tapes, network = Tapes(), None

    def third_fails(compute: Compute) -> Compute:
        if len(tapes.made) == 2:
            raise torch.OutOfMemoryError("no memory for a graph")
        return tapes(compute)

    network = Graphed(decoder, third_fails)
    assert written(lane_of(network), REPLIES) == written(lane_of(decoder), REPLIES)
    assert (len(tapes.made), len(network._graphs)) == (2, 0)


def test_only_so_many_graphs_are_kept(decoder: Decoder) -> None:
    tapes = Tapes()
    network = Graphed(decoder, tapes, most=2)
    lane = lane_of(network)
    assert written(lane, REPLIES) == written(lane_of(decoder), REPLIES)
    assert len(network._graphs) == 2 < len(tapes.made)


def test_the_exam_judges_what_is_replayed(tiny: Path) -> None:
    loaded, tapes = loaded_from(tiny), Tapes()
    exam = Exam(loaded)
    assert exam.marks(Graphed(Decoder(loaded.model, "float32"), tapes)).apart < 1e-4
    assert tapes.replayed == 2
    shifted = Graphed(Decoder(loaded.model, "float32"), lambda compute: lambda: compute().roll(1, -1))
    assert exam.marks(shifted).apart > 0.3


def test_on_cuda_it_is_tried_first(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_from(tiny)
    monkeypatch.setattr(fitting, "graphed", lambda network: Graphed(network, Tapes()))
    there = SimpleNamespace(model=loaded.model, low_rank={}, device=torch.device("cuda", 0))
    assert [type(make()) for make in fitting._ways(there, "auto")] == [Graphed, Decoder, Stock]
    loaded.model.model.rotary_emb.rope_type = "dynamic"
    assert not recordable(loaded.model)
    assert [type(make()) for make in fitting._ways(there, "auto")] == [Decoder, Stock]


class Driver:
    """The rules of torch.cuda that recording has to keep, without a GPU: it says what PyTorch's allocator says."""

    def __init__(self) -> None:
        self.pools: dict[int, int] = {}  # graphs of each memory pool that was ever used
        self.made, self.recording = 0, None
        self.log: list[str] = []

    def put_in_place_of(self, monkeypatch: pytest.MonkeyPatch) -> "Driver":
        driver = self

        class Graph:
            pool_id = None

            def capture_begin(self, pool, capture_error_mode):
                assert capture_error_mode == "thread_local"
                assert driver.recording is None
                assert driver.pools.get(pool) != 0, "use_count > 0"
                driver.pools[pool] = driver.pools.get(pool, 0) + 1
                driver.recording = self.pool_id = pool

            def capture_end(self):
                if "fails" in driver.log:
                    raise RuntimeError("operation failed due to a previous error during capture")
                driver.recording = None
                weakref.finalize(self, driver.release, 0, self.pool_id)

            def pool(self):
                return self.pool_id

            def replay(self):
                driver.log.append("replay")

        stream = SimpleNamespace(wait_stream=lambda other: driver.log.append("wait"))
        for name, stand_in in (
            ("Stream", lambda device: stream),
            ("current_stream", lambda device: stream),
            ("stream", lambda stream: nullcontext()),
            ("CUDAGraph", Graph),
            ("graph_pool_handle", self.handle),
        ):
            monkeypatch.setattr(torch.cuda, name, stand_in)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self.end, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", self.release, raising=False)
        return self

    def handle(self) -> int:
        self.made += 1
        return self.made

    def end(self, device: int, pool: int) -> None:
        if self.recording != pool:
            raise RuntimeError("not currently recording to mempool_id")
        self.recording = None

    def release(self, device: int, pool: int) -> None:
        self.pools[pool] -= 1


def test_graphs_share_memory_as_long_as_one_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver().put_in_place_of(monkeypatch)
    record, made = CudaRecorder(torch.device("cuda", 0)), []
    first, second = record(lambda: made.append(1) or torch.ones(1)), record(lambda: torch.ones(2))
    assert len(made) == 3  # twice to warm up
    assert driver.pools == {1: 2}
    assert (first().shape, second().shape) == ((1,), (2,))
    del first
    third = record(lambda: torch.ones(3))
    assert driver.pools == {1: 2}
    del second, third
    fourth = record(lambda: torch.ones(4))
    assert driver.pools == {1: 0, 2: 1}
    assert fourth().shape == (4,)


def test_a_recording_that_fails_leaves_nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver().put_in_place_of(monkeypatch)
    record = CudaRecorder(torch.device("cuda", 0))
    calls = iter([torch.ones(1)] * 2)

    def computed() -> torch.Tensor:
        for out in calls:
            return out
        driver.log.append("fails")
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        record(computed)
    assert (driver.recording, driver.pools) == (None, {1: 0})
    assert driver.log[-1] == "wait"  # whoever computes next does so behind what was begun


on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="records real CUDA graphs")


def there(tiny: Path, dtype: torch.dtype):
    return load_base(tiny, dtype, torch.device("cuda", torch.cuda.current_device()))


@on_cuda
def test_cuda_replays_what_it_computes_call_by_call(tiny: Path) -> None:
    loaded = there(tiny, torch.float32)
    plain = Decoder(loaded.model, "float32")
    network = graphed(plain)
    lane = lane_of(network)
    assert written(lane, REPLIES) == written(lane_of(plain), REPLIES)
    assert network._record is not None, "a recording failed; the log says why"
    assert len(network._graphs) > 3
    while lane.spare():
        pass
    assert len(network._graphs) == 0
    assert written(lane, REPLIES) == written(lane_of(plain), REPLIES)  # recorded anew, in memory of another name
    assert network._record is not None
    assert type(fitting.fit(loaded)) is Graphed


@on_cuda
def test_cuda_replays_the_same_in_bfloat16(tiny: Path) -> None:
    """Not to the token: other kernels round another way."""
    loaded = there(tiny, torch.bfloat16)
    plain = Decoder(loaded.model, "bfloat16")
    network, exam = graphed(plain), Exam(loaded)
    assert abs(exam.marks(network).apart - exam.marks(plain).apart) < 0.1
    written(lane_of(network), REPLIES)
    assert network._record is not None, "a recording failed; the log says why"


@on_cuda
def test_cuda_goes_on_after_a_recording_that_failed(tiny: Path) -> None:
    class Waits(Decoder):
        def logits(self, ids, pieces, at):
            assert int(ids.max()) >= 0  # what a graph cannot hold
            return super().logits(ids, pieces, at)

    loaded = there(tiny, torch.float32)
    plain = Decoder(loaded.model, "float32")
    refused, other = graphed(Waits(loaded.model, "float32")), graphed(plain)
    assert written(lane_of(refused), REPLIES) == written(lane_of(plain), REPLIES)
    assert refused._record is None
    assert written(lane_of(other), REPLIES) == written(lane_of(plain), REPLIES)
    assert other._record is not None, "a recording failed; the log says why"
