"""A run whose process was killed goes on under its id, and ends as if it had not been."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from feedback.settings import DataSettings
from feedback.store import Store
from finetune import checkpoints, measures, pipeline
from finetune.kept import Kept
from finetune.pipeline import RunCancelled, RunFailed, retrain
from finetune.settings import ScheduleSettings, TrainSettings
from tests.finetune.test_pipeline import teach
from tests.tiny import LOOSE

QUICK = TrainSettings(epochs=3, learning_rate=2e-2, batch_size=16, keep_weight=0.1, **LOOSE)
SCHEDULE = ScheduleSettings(min_free_disk=0)
ADAPTER = Path("versions", "001", "adapter", "adapter_model.safetensors")


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run may see it."""


@pytest.fixture(autouse=True)
def short_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GENERAL_TOKENS", "OWN_TOKENS", "HARM_TOKENS"):
        monkeypatch.setattr(measures, name, 2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A data dir with feedback and the general answers, and beside it what an unbroken run made of it."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    data = DataSettings(data_dir=folder, base_model=str(tiny))
    store = Store.open(data.database)
    teach(store, 24)
    store.close()
    shutil.copytree(folder, folder.with_name("unbroken"))
    with pytest.MonkeyPatch.context() as patched:
        for name in ("GENERAL_TOKENS", "OWN_TOKENS", "HARM_TOKENS"):
            patched.setattr(measures, name, 2)
        unbroken = data.model_copy(update={"data_dir": folder.with_name("unbroken")})
        store = Store.open(unbroken.database)
        retrain(store, unbroken, QUICK, SCHEDULE)
        store.close()
    for name in ("general.json", "general-base.safetensors", "measures.json"):
        shutil.copy(unbroken.data_dir / name, folder)
    return folder


@pytest.fixture
def data(prepared: Path, tmp_path: Path, tiny: Path) -> DataSettings:
    shutil.copytree(prepared, tmp_path / "data", symlinks=True)
    return DataSettings(data_dir=tmp_path / "data", base_model=str(tiny))


@contextmanager
def killed(part: Any, name: str, after: bool, times: int = 1) -> Iterator[None]:
    """Kill the run as it calls something for the so manieth time, before it or after; nobody sees to what is left."""
    whole: Callable[..., Any] = getattr(part, name)
    calls = 0

    def call(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < times:
            return whole(*args, **more)
        if after:
            whole(*args, **more)
        raise Killed

    @contextmanager
    def unseen(_: object) -> Iterator[None]:
        yield

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(part, name, call)
        patched.setattr(pipeline._Run, "recorded", unseen)
        patched.setattr(pipeline, "_tidy", lambda *_: None)
        yield


def whole(store: Store, data: DataSettings, unbroken: Path) -> None:
    """Check that the one run ended as the unbroken one did, and left nothing behind."""
    (run,) = store.runs()
    assert (run.status, run.version, run.attempts) == ("promoted", 1, 2)
    made, expected = load_file(data.data_dir / ADAPTER), load_file(unbroken / ADAPTER)
    assert all(torch.allclose(made[name], expected[name], atol=1e-5) for name in expected | made)
    assert sorted(p.name for p in data.versions_dir.iterdir()) == ["001"]
    assert not (data.runs_dir / "1" / "work").exists()
    assert not list(data.data_dir.rglob("*partial*"))
    assert store.frozen_pairs(1) == 48
    states = [status for status, _, _ in store.run_diary(1).events]
    assert [states[0], states[-1]] == ["queued", "promoted"]
    assert sum("taken up again, attempt 2" in reason for _, reason, _ in store.run_diary(1).events) == 1


@pytest.mark.parametrize(
    ("part", "name", "after", "times"),
    [
        (Store, "freeze_dataset", True, 1),  # row there, files without their name
        (checkpoints, "save", False, 2),  # in the second epoch
        (checkpoints, "save", True, 3),  # all trained, nothing saved
        (Kept, "finish_training", False, 1),  # saved, but nobody knows that it is whole
        (pipeline, "judged", True, 1),  # judged, no number yet
        (Store, "add_version", False, 1),  # its folder has its name, but no row
    ],
)
def test_a_run_killed_anywhere_ends_as_an_unbroken_one(
    store: Store, data: DataSettings, prepared: Path, part: Any, name: str, after: bool, times: int
) -> None:
    with killed(part, name, after, times):
        retrain(store, data, QUICK, SCHEDULE)
    assert [v.number for v in store.versions()] == [0]
    assert store.runs()[0].finished_at is None
    teach(store, 3, prefix="meanwhile")  # which a dataset that is frozen does not see
    other = QUICK.model_copy(update={"epochs": 1})  # it goes on with its own settings
    assert retrain(store, data, other, SCHEDULE).run == 1
    whole(store, data, prepared.with_name("unbroken"))


@pytest.mark.parametrize("given", [{}, {"epochs": 1, "report_to": ["tensorboard"]}], ids=["the same", "others"])
def test_trackers_hear_the_settings_that_count_and_the_terminal_that_those_given_do_not(
    store: Store,
    data: DataSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: dict[str, Any],
) -> None:
    heard: list[TrainSettings] = []
    begin = pipeline.reporting
    monkeypatch.setattr(pipeline, "reporting", lambda settings, *of: heard.append(settings) or begin(settings, *of))
    with killed(checkpoints, "save", True, 3):
        retrain(store, data, QUICK, SCHEDULE)
    assert retrain(store, data, QUICK.model_copy(update=given), SCHEDULE).run == 1
    assert heard == [QUICK, QUICK]
    told = "Run 1 was cut off and goes on with its own settings; those given now do not count.\n"
    assert capsys.readouterr().err.count(told) == bool(given)


def test_a_run_killed_before_its_dataset_was_frozen_learns_from_what_is_there_now(
    store: Store, data: DataSettings
) -> None:
    with killed(Store, "freeze_dataset", False):
        retrain(store, data, QUICK, SCHEDULE)
    assert store.frozen_pairs(1) is None
    teach(store, 27, prefix="meanwhile")  # three of them ask what was not asked yet
    assert retrain(store, data, QUICK, SCHEDULE).run == 1
    assert store.frozen_pairs(1) == 54
    assert not list(data.data_dir.rglob("*partial*"))


def test_a_run_that_does_not_get_further_is_given_up(store: Store, data: DataSettings) -> None:
    for _ in range(3):
        with killed(checkpoints, "save", False):
            retrain(store, data, QUICK, SCHEDULE)
    with pytest.raises(RunFailed, match="killed 3 times without getting further .in its first epoch"):
        retrain(store, data, QUICK, SCHEDULE)
    (run,) = store.runs()
    assert (run.status, run.attempts) == ("failed", 4)
    assert not (data.runs_dir / "1" / "work").exists()


def test_a_run_that_gets_further_each_time_is_not(store: Store, data: DataSettings) -> None:
    for _ in range(3):
        with killed(checkpoints, "save", True):
            retrain(store, data, QUICK, SCHEDULE)
    assert retrain(store, data, QUICK, SCHEDULE).verdict == "promoted"
    assert store.runs()[0].attempts == 4


def test_a_run_on_a_base_that_was_changed_ends_with_the_reason(store: Store, data: DataSettings, tiny: Path) -> None:
    with killed(checkpoints, "save", True):
        retrain(store, data, QUICK, SCHEDULE)
    changed = data.data_dir / "changed"
    shutil.copytree(tiny, changed)
    (changed / "config.json").write_text((changed / "config.json").read_text() + " ")
    data.base_dir.unlink()
    data.base_dir.symlink_to(changed)
    with pytest.raises(RunFailed, match="base model's files changed"):
        retrain(store, data, QUICK, SCHEDULE)
    assert store.runs()[0].status == "failed"


@pytest.mark.parametrize("part", [Store, checkpoints])
def test_a_run_goes_on_in_the_numbers_it_was_begun_in(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch, part: Any
) -> None:
    monkeypatch.setattr(pipeline, "training_dtype", lambda _: torch.bfloat16)
    with killed(part, "freeze_dataset" if part is Store else "save", True):
        retrain(store, data, QUICK, SCHEDULE)
    monkeypatch.setattr(pipeline, "training_dtype", lambda _: torch.float32)  # as it is timed beside other work
    load, read = pipeline.load_base, []
    monkeypatch.setattr(pipeline, "load_base", lambda *args, **how: read.append(how["dtype"]) or load(*args, **how))
    assert retrain(store, data, QUICK, SCHEDULE).run == 1
    assert read == [torch.bfloat16]


def test_a_run_whose_dataset_is_gone_ends_with_the_reason(store: Store, data: DataSettings) -> None:
    with killed(checkpoints, "save", True):
        retrain(store, data, QUICK, SCHEDULE)
    shutil.rmtree(data.runs_dir / "1" / "dataset")
    with pytest.raises(RunFailed, match="dataset in .* cannot be read"):
        retrain(store, data, QUICK, SCHEDULE)


@pytest.mark.parametrize(("part", "name"), [(checkpoints, "save"), (pipeline, "judged"), (pipeline, "build")])
def test_a_run_that_is_asked_to_end_does_and_leaves_nothing(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch, part: Any, name: str
) -> None:
    whole: Callable[..., Any] = getattr(part, name)

    def ask_first(*args: Any, **more: Any) -> Any:
        store.ask_cancel(1)
        return whole(*args, **more)

    monkeypatch.setattr(part, name, ask_first)
    monkeypatch.setattr("finetune.pulse.BEAT_S", 0.0)
    with pytest.raises(RunCancelled, match="Cancelled by local"):
        retrain(store, data, QUICK, SCHEDULE)
    (run,) = store.runs()
    assert (run.status, run.version, run.cancel_asked) == ("cancelled", None, "local")
    assert not (data.runs_dir / "1" / "work").exists()
    assert not data.versions_dir.exists() or not list(data.versions_dir.iterdir())


def test_the_diary_tells_states_speed_and_curves(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.pulse.BEAT_S", 0.0)
    retrain(store, data, QUICK, SCHEDULE)
    diary = store.run_diary(1)
    states = [status for status, _, _ in diary.events]
    assert states == ["queued", "building", "training", "evaluating", "promoted"]
    assert [at for _, _, at in diary.events] == sorted(at for _, _, at in diary.events)
    assert diary.events[-1][1] == diary.line.reason != ""
    assert {"loss", "tokens_per_s", "seconds_left"} <= set(diary.line.metrics)
    assert diary.line.metrics["seconds_left"] == 0
    assert [step for step, _ in diary.curves["loss"]] == list(range(1, diary.line.total + 1))
    assert len(diary.curves["validation"]) == 3
    assert diary.curves["validation"][-1][0] == diary.line.total
