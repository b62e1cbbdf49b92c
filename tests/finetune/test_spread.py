"""Several processes that train as one: forked here, with what a launcher would tell them; once by the launcher."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from feedback.errors import RapportError
from feedback.settings import DataSettings, as_arguments
from feedback.store import Store
from finetune import follow
from finetune.__main__ import main
from finetune.batches import deal
from finetune.general import Answer
from finetune.methods import MethodRefuses
from finetune.model import load_base
from finetune.settings import TrainSettings
from finetune.shard import shard
from finetune.spread import Spread, here, together
from finetune.train import train_adapter, train_along
from tests.finetune.test_pipeline import QUICK, teach
from tests.finetune.test_train import pair
from tests.processes import ROOT, free_port


def fork(count: int, act: Callable[[Spread], Any]) -> list[Any]:
    """Have processes that stand together do `act`; return what each did, as `forked` does."""

    def stand_together(_: int) -> Any:
        with together() as spread:
            return act(spread)

    return forked(count, stand_together)


def forked(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Have processes do `act` with their index.

    Returns what each did: its value, "name: text" of an error, or minus the signal that killed it.
    """
    port, context = free_port(), multiprocessing.get_context("fork")
    told = [context.SimpleQueue() for _ in range(count)]

    def be(index: int) -> None:
        torch.set_num_threads(1)
        where = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        os.environ.update({name: str(value) for name, value in where.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
        try:
            told[index].put(act(index))
        except Exception as error:  # noqa: BLE001
            told[index].put(f"{type(error).__name__}: {error}")
        os._exit(0)  # nothing of the test runner's is to be tidied up twice

    processes = [context.Process(target=be, args=(index,), daemon=True) for index in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode is not None, "a process hangs"
    return [told[i].get() if p.exitcode == 0 else p.exitcode for i, p in enumerate(processes)]


def test_processes_share_gather_and_add_up() -> None:
    def act(spread: Spread) -> Any:
        tensors = [torch.full((2,), spread.index + 1.0), torch.tensor([[10.0 * (spread.index + 1)]])]
        spread.add_up(tensors)
        level = torch.tensor([float(spread.index)])
        spread.level([level])
        return spread.share(spread.index + 7), spread.gather(spread.index), [t.tolist() for t in (*tensors, level)]

    assert fork(3, act) == [(7, [0, 1, 2], [[6.0, 6.0], [[60.0]], [0.0]])] * 3


def test_alone_nothing_is_shared_and_nothing_waited_for() -> None:
    with together() as spread:
        assert (spread.main, spread.count, spread.share("x"), spread.gather("x")) == (True, 1, "x", ["x"])
        spread.part()
    assert here().main


@pytest.mark.parametrize("who", [0, 1])
def test_a_process_that_fails_ends_the_others_with_its_reason(who: int) -> None:
    def act(spread: Spread) -> None:
        spread.share("begun")
        if spread.index == who:
            raise RapportError("no memory left.")
        spread.add_up([torch.ones(1)])

    ended = f"Ended: Process {who} of 3 ended the run: no memory left."
    assert fork(3, act) == ["RapportError: no memory left." if i == who else ended for i in range(3)]


def test_a_process_that_is_killed_ends_the_others() -> None:
    def act(spread: Spread) -> None:
        spread.share("begun")
        if spread.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        spread.add_up([torch.ones(1)])

    first, killed, third = fork(3, act)
    assert killed == -signal.SIGKILL
    assert first == "Ended: A process of this run is gone, so process 0 of 3 ends too."
    assert third.startswith("Ended: A process of this run is gone")


def test_who_waits_for_a_process_in_the_middle_of_a_pass_ends_with_it() -> None:
    def act(spread: Spread) -> None:
        spread.hears = False
        if spread.main:
            raise RapportError("cancelled.")
        torch.distributed.all_reduce(torch.ones(1))

    cancelled, other = fork(2, act)
    assert cancelled == "RapportError: cancelled."
    assert other.startswith(("RuntimeError", "DistBackendError", "DistNetworkError")), other


def test_the_main_process_that_ends_without_training_leaves_nobody_waiting() -> None:
    assert fork(2, lambda spread: "not enough" if spread.main else spread.share(None)) == [
        "not enough",
        "Ended: Process 0 of 2 ended the run: it ended.",
    ]


def test_once_parted_a_process_ends_alone() -> None:
    def act(spread: Spread) -> None:
        spread.part()
        if spread.main:
            raise RapportError("the gate's own trouble")

    assert fork(2, act) == ["RapportError: the gate's own trouble", None]


PAIRS = [pair(n, f"hello fox {n}" * (1 + n % 3)) for n in range(11)]
PAIRS += [replace(pair(n, "the world"), good=False, weight=0.5) for n in range(20, 25)]
ANSWERS = [Answer(f"say {n}", "hello world", True) for n in range(96)]
# Of three rows one process reads two, the other one.
PLAIN = TrainSettings(epochs=2, learning_rate=1e-2, batch_size=3, lora_rank=4, negative="unlikelihood", train_threads=1)


def trained(
    tiny: Path, folder: Path, processes: int, settings: TrainSettings = PLAIN, until: int = 999, resume: bool = False
) -> tuple[dict[str, torch.Tensor], Any]:
    """Train in so many processes, to the end or to a step; return the weights and what training came to."""

    def stop(step: int, *_: object) -> None:
        if step == until:
            raise RapportError("cancelled.")

    def act(spread: Spread) -> Any:
        loaded = load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))
        if not spread.main:
            train_along(loaded, spread.share(None))
            return None
        model, done = train_adapter(
            loaded, PAIRS, [pair(90, "fox"), pair(91, "world")], ANSWERS, settings, folder, stop, resume
        )
        save_file(
            {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad},
            folder / "weights",
        )
        return done

    folder.mkdir(exist_ok=True)
    results = fork(processes, act)
    return load_file(folder / "weights") if (folder / "weights").exists() else {}, results


def agree(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float = 1e-5) -> None:
    assert one and one.keys() == other.keys()
    for name, weight in one.items():
        assert torch.allclose(weight, other[name], atol=atol), name


@pytest.fixture(scope="module")
def alone(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], Any]:
    """What one process makes of it."""
    weights, (done,) = trained(tiny, tmp_path_factory.mktemp("alone"), 1)
    return weights, done


def test_two_processes_make_the_adapter_that_one_makes(tiny: Path, tmp_path: Path, alone) -> None:
    weights, (done, other) = trained(tiny, tmp_path, 2)
    agree(alone[0], weights)
    assert other is None
    assert (done.steps, done.tokens, done.kept_epoch) == (alone[1].steps, alone[1].tokens, alone[1].kept_epoch)
    assert done.train_loss == pytest.approx(alone[1].train_loss, abs=1e-5)
    assert done.validation == pytest.approx(alone[1].validation, abs=1e-5)
    assert done.general == pytest.approx(alone[1].general, abs=1e-5)


def test_a_pull_on_the_weights_themselves_counts_once(tiny: Path, tmp_path: Path) -> None:
    settings = PLAIN.model_copy(update={"method": "adalora", "epochs": 1})
    one, _ = trained(tiny, tmp_path / "one", 1, settings)
    two, _ = trained(tiny, tmp_path / "two", 2, settings)
    agree(one, two)


def test_a_base_model_divided_among_processes_teaches_the_same(
    tiny: Path, tmp_path: Path, alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    weights, (done, _) = trained(tiny, tmp_path, 2)
    # Attention computes another way where layers are computed twice, and AdamW makes steps of gradients that are
    # nothing but rounding: a handful of weights, none by more than a tenth of one step.
    agree(alone[0], weights, atol=1e-3)
    assert done.validation == pytest.approx(alone[1].validation, abs=1e-4)
    assert done.general == pytest.approx(alone[1].general, abs=1e-4)


def test_a_process_divides_the_base_model_and_keeps_its_part(
    tiny: Path,
) -> None:
    def act(spread: Spread) -> list[int]:
        model = load_base(tiny, dtype=torch.float32, device=torch.device("cpu")).model
        layer = model.model.layers[0]
        before = sum(weight.numel() for weight in layer.parameters())
        shard(model, "lora", spread)
        return [before, sum(weight.to_local().numel() for weight in layer.parameters())]

    assert all(after == before // 2 for before, after in fork(2, act))


def test_only_what_leaves_the_base_alone_trains_on_a_divided_one(tiny: Path) -> None:
    model = load_base(tiny, dtype=torch.float32, device=torch.device("cpu")).model
    with pytest.raises(MethodRefuses, match="--method 'full' cannot be trained on a divided model"):
        shard(model, "full", Spread(0, 2))


def test_what_two_processes_began_two_others_take_up(tiny: Path, tmp_path: Path, alone) -> None:
    nothing, told = trained(tiny, tmp_path, 2, until=6)
    assert (nothing, told) == ({}, ["RapportError: cancelled.", "Ended: Process 0 of 2 ended the run: cancelled."])
    weights, (done, _) = trained(tiny, tmp_path, 2, resume=True)
    assert done.steps == 8
    agree(alone[0], weights)


def test_rows_are_dealt_out_whole_and_evenly() -> None:
    hands = deal([500, 10, 490, 30, 20, 10], 2)
    assert sorted(index for hand in hands for index in hand) == list(range(6))
    assert [sum([500, 10, 490, 30, 20, 10][i] for i in hand) for hand in hands] == [530, 530]
    assert deal([5], 3) == [[0], [], []]


def retrained(data: DataSettings, *arguments: str) -> list[int]:
    """Run `python -m finetune retrain` in two processes; return their exit codes."""
    arguments = ("retrain", f"--data-dir={data.data_dir}", f"--base-model={data.base_model}", *arguments)
    return forked(2, lambda _: main(list(arguments)))


def test_too_little_feedback_ends_all_processes(store: Store, data: DataSettings) -> None:
    assert retrained(data) == [4, 0]
    assert store.runs() == []


def test_a_run_elsewhere_ends_all_processes(store: Store, data: DataSettings) -> None:
    teach(store, 12)
    with FileLock(data.lock_file):
        assert retrained(data) == [75, 0]


def test_another_process_that_fails_is_the_reason_why_the_run_did(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("the other GPU is full")

    monkeypatch.setattr(follow, "load_base", no_memory)
    teach(store, 12)
    assert retrained(data, "--force") == [1, "OutOfMemoryError: the other GPU is full"]
    (run,) = store.runs()
    assert (run.status, run.reason) == ("failed", "Process 1 of 2 ended the run: the other GPU is full")
    assert not list(data.versions_dir.glob("*"))


def launch(data: DataSettings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m finetune retrain` in two processes on the CPU."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    command += [f"--main_process_port={free_port()}", "-m", "finetune", "retrain", f"--data-dir={data.data_dir}"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_accelerate_launch_makes_one_run_and_one_version(store: Store, data: DataSettings) -> None:
    teach(store, 32)
    settings = QUICK.model_copy(update={"epochs": 2})
    launched = launch(data, f"--base-model={data.base_model}", *as_arguments(settings))
    told = [json.loads(line) for line in launched.stdout.splitlines() if line.startswith("{")]
    assert [line["verdict"] for line in told] == ["promoted"], launched.stderr
    assert launched.returncode == 0, launched.stderr
    assert [(run.status, run.version) for run in store.runs()] == [("promoted", 1)]
    assert (data.versions_dir / "001" / "adapter").is_dir()
