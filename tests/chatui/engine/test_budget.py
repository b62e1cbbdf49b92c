"""What counts as free memory, and who gets how much of it."""

import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from chatui.engine import budget as budgets
from chatui.engine import free as measured
from chatui.engine import local
from chatui.engine.budget import Budget
from chatui.engine.decoder import Decoder
from chatui.engine.free import allowed, free
from chatui.engine.local import LocalEngine
from chatui.engine.protocol import EngineError, Sampling
from tests.chatui.engine.models import GREEDY, HELLO, engine_of, loaded_from, written
from tests.chatui.scripted import wait_for
from tests.tiny import make_tiny

GIB = 2**30
CPU = torch.device("cpu")
Group = dict[str, object]


def grouped(root: Path, listed: str, groups: dict[str, Group]) -> int | None:
    """Lay control groups out as Linux shows them, and tell what they leave."""
    for name, files in groups.items():
        (root / "groups" / name).mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (root / "groups" / name / file).write_text(f"{text}\n")
    (root / "own").write_text(listed)
    return allowed(root / "groups", root / "own")


def v2(limit: object, taken: int, files: int = 0) -> Group:
    return {
        "memory.max": limit,
        "memory.current": taken,
        "memory.stat": f"anon 5\nactive_file 9\ninactive_file {files}",
    }


def test_files_that_the_system_keeps_in_free_memory_are_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop after an installation: hardly a byte that was never touched, and most of it to be had."""
    monkeypatch.setattr(measured.psutil, "virtual_memory", lambda: namedtuple("M", "free available")(800, 5 * GIB))
    monkeypatch.setattr(measured, "allowed", lambda: None)
    assert free(CPU) == 5 * GIB


def test_a_container_has_what_its_limit_leaves_not_what_the_host_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured.psutil, "virtual_memory", lambda: namedtuple("M", "available")(60 * GIB))
    monkeypatch.setattr(measured, "allowed", lambda: 3 * GIB)
    assert free(CPU) == 3 * GIB


def test_a_group_leaves_its_limit_less_what_is_taken_and_not_to_be_had_back(tmp_path: Path) -> None:
    assert grouped(tmp_path, "0::/\n", {"": v2(4 * GIB, 3 * GIB, files=GIB)}) == 2 * GIB


def test_of_groups_within_groups_the_tightest_counts(tmp_path: Path) -> None:
    groups = {"": {}, "app": v2(8 * GIB, GIB), "app/one": v2("max", GIB), "app/one/own": v2(4 * GIB, 5 * GIB)}
    assert grouped(tmp_path, "0::/app/one\n", groups) == 7 * GIB
    assert grouped(tmp_path, "0::/app/one/own\n", groups) == 0


def test_a_group_whose_name_is_the_hosts_is_found_where_its_container_sees_it(tmp_path: Path) -> None:
    assert grouped(tmp_path, "0::/docker/abc\n", {"": v2(4 * GIB, GIB)}) == 3 * GIB


def test_limits_of_the_first_kind_of_groups_count_too(tmp_path: Path) -> None:
    own = {"memory.limit_in_bytes": 2 * GIB, "memory.usage_in_bytes": GIB, "memory.stat": "total_inactive_file 7"}
    listed = "9:name=systemd:/app\n4:cpu,memory:/app\n"
    assert grouped(tmp_path, listed, {"memory/app": own, "app": v2(1, 0)}) == GIB + 7


def test_without_a_limit_or_without_groups_there_is_none(tmp_path: Path) -> None:
    assert grouped(tmp_path, "0::/\n", {"": v2("max", GIB)}) is None
    assert allowed(tmp_path / "none", tmp_path / "nothing") is None


@pytest.mark.parametrize(("kind", "needs"), [("cuda", 1.2), ("cpu", 2.5)])
def test_full_caches_leave_room_to_load_a_second_copy(kind: str, needs: float, monkeypatch: pytest.MonkeyPatch) -> None:
    device, size, left = torch.device(kind), 10 * GIB, int((needs + 0.3) * 10 * GIB)
    monkeypatch.setattr(budgets, "free", lambda _: left)
    budget = Budget(0)
    assert budget.holds_two(size, device)
    budget.hold(0, size, device)
    assert GIB // 2 < budget.caches() <= left - needs * size
    alone = budget.caches()
    budget.hold(1, size, device)
    assert budget.caches() == alone


def test_where_no_second_copy_will_come_caches_have_half_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "free", lambda _: 8 * GIB)
    budget = Budget(0)
    budget.hold(0, 40 * GIB, torch.device("cuda"), alone=True)
    assert budget.caches() == 4 * GIB


def test_a_third_copy_takes_of_the_caches_but_never_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "free", lambda _: 62 * GIB)
    budget, device, had = Budget(0), torch.device("cuda"), []
    for number in range(4):
        budget.hold(number, 15 * GIB, device)
        had.append(budget.caches() / GIB)
    assert had == [22, 22, 7, 1 / 16]
    budget.let_go(0)
    assert budget.caches() == 7 * GIB


def test_a_limit_counts_every_copy_and_refuses_the_one_too_many() -> None:
    budget = Budget(5)
    budget.hold(0, 2 * GIB, CPU)
    budget.hold("coming", 2 * GIB, CPU)
    assert budget.caches() == GIB
    assert not budget.fits(GIB)
    with pytest.raises(EngineError, match=r"--engine-memory 5 is too little: the versions in memory need 6.06 GiB"):
        budget.hold(1, 2 * GIB, CPU)
    budget.hold(1, 2 * GIB, CPU, instead="coming")
    assert budget.caches() == GIB


def test_the_least_holds_a_reply_of_the_models_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of an 8B model takes 128 KiB: in 64 MiB a short chat would find no seat."""
    monkeypatch.setattr(budgets, "free", lambda _: 0)
    of_8b = 128 * 2**10
    full, limited = Budget(0), Budget(16)
    full.seat(of_8b)
    full.hold(0, 16 * GIB, CPU)
    assert full.caches() == 1024 * of_8b
    limited.seat(of_8b)
    with pytest.raises(EngineError, match=r"--engine-memory 16 is too little: the model needs 16\.03 GiB"):
        limited.hold(0, 16 * GIB - 100 * 2**20, CPU)


def test_an_engine_tells_what_its_model_takes(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "_LEAST", 1)
    engine = engine_of({0: tiny})
    engine.serve({0: 1.0})
    assert engine._budget._least == 1024 * engine._served[0].lane.network.shape.bytes_per_token
    engine.close()


SLAB = 8 * 256 * 256  # bytes of the tiny model's smallest slab


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("versions")
    return {n: make_tiny(folder / str(n), seed=n) for n in range(3)}


@pytest.fixture
def tight(models: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> LocalEngine:
    """Make an engine whose limit holds two copies and a slab for each, the second smaller than what caches can keep."""
    monkeypatch.setattr(budgets, "_LEAST", 1000)
    size = Decoder(loaded_from(models[0]).model, "float32").bytes
    engine = engine_of(models, memory_gb=(2 * size + SLAB + 1000) / GIB)
    engine.size, engine.limit = size, 2 * size + SLAB + 1000
    engine.serve({0: 1.0})
    yield engine
    engine.close()


@pytest.mark.parametrize("seats", [1, 2, 5])
def test_where_no_whole_slab_fits_replies_have_the_seats_that_do(tiny: Path, seats: int) -> None:
    engine = engine_of({0: tiny}, max_streams=8)
    engine.serve({0: 1.0})
    lane, alone = engine._served[0].lane, written(engine)
    engine._loop.call(lambda: all(iter(lane.spare, False)))
    engine._loop.memory = seats * SLAB // 8
    go_on, step = threading.Event(), lane.step
    lane.step = lambda: step() if go_on.is_set() else None
    begun, texts = [engine.begin(HELLO, GREEDY) for _ in range(8)], []
    readers = [threading.Thread(target=lambda g=one: texts.append(["", *g][-1]), daemon=True) for one in begun]
    for reader in readers:
        reader.start()
    wait_for(lambda: len(lane.rows) == seats and max(one.waiting for one in begun) == 8 - seats)
    assert lane.held == engine._loop.memory
    go_on.set()
    for reader in readers:
        reader.join(30)
    assert texts == [alone] * 8
    engine.close()


def held_up(engine: LocalEngine, number: int) -> Callable[[], None]:
    """Begin a reply of a version that is written on, and read to its end, only when what is returned is called."""
    lane, go_on = engine._served[number].lane, threading.Event()
    step, steps = lane.step, iter(engine.begin(HELLO, Sampling(0.0, max_new_tokens=100)))
    next(steps)
    lane.step = lambda: step() if go_on.is_set() else None

    def end() -> None:
        go_on.set()
        list(steps)

    return end


def test_under_a_limit_what_is_kept_goes_before_the_next_version_is_loaded(tight: LocalEngine) -> None:
    load, taken = tight._load, []

    def watched(number: int, onto=None):
        taken.append(tight._loop.call(lambda: sum(lane.bytes for lane in tight._loop._lanes)) + tight.size)
        return load(number, onto)

    tight._load = watched
    for n in range(8):
        written(tight, [("user", f"{n} " + "the quick brown fox " * 8)], replace(GREEDY, max_new_tokens=2))
    assert tight._served[0].lane.bytes + 2 * tight.size > tight.limit
    tight.serve({1: 1.0})
    assert taken[0] + tight.size <= tight.limit
    wait_for(lambda: tight._loop.memory == tight.limit - tight.size)


def test_a_version_is_not_loaded_into_the_memory_of_replies_that_are_written(tight: LocalEngine, monkeypatch) -> None:
    monkeypatch.setattr(local, "_DRAIN_S", 0.0)
    tight._budget._limit -= SLAB // 2
    end = held_up(tight, 0)
    with pytest.raises(EngineError, match="Version 1 cannot serve: replies that are being written hold the memory"):
        tight.serve({1: 1.0})
    assert tight._loop.memory == tight.limit - SLAB // 2 - tight.size
    assert tight.state().versions == (0,)
    end()
    assert written(tight)


def test_it_waits_for_replies_that_end_within_a_while(tight: LocalEngine) -> None:
    tight._budget._limit -= SLAB // 2
    end = held_up(tight, 0)
    promotion = threading.Thread(target=tight.serve, args=({1: 1.0},))
    promotion.start()
    wait_for(lambda: tight._loop.memory < SLAB)
    assert tight.state().versions == (0,)
    tight._budget._limit += SLAB  # so that the new one's first token has a slab
    end()
    promotion.join(30)
    assert tight.state().versions == (1,)


def test_a_copy_that_still_writes_counts_until_its_last_reply_has_ended(tight: LocalEngine, monkeypatch) -> None:
    tight._budget._limit += SLAB
    end = held_up(tight, 0)
    tight.serve({1: 1.0})
    monkeypatch.setattr(local, "_DRAIN_S", 0.0)
    assert tight._loop.memory == tight.limit + SLAB - 2 * tight.size
    tight._budget._limit = 3 * tight.size
    with pytest.raises(EngineError, match="Version 2 cannot serve: --engine-memory .*the versions in memory need"):
        tight.serve({2: 1.0})
    tight._budget._limit = tight.limit
    end()
    wait_for(lambda: tight._loop.memory == tight.limit - tight.size)
    tight.serve({2: 1.0})
    assert tight.state().versions == (2,)
