"""What trackers are handed; wandb and trackio are stand-ins that write down every call."""

import json
import logging
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from feedback.settings import DataSettings
from feedback.store import Store
from finetune import tracking
from finetune.__main__ import main
from finetune.pipeline import retrain
from finetune.settings import TrainSettings
from finetune.tracking import check_trackers, figures, reporting
from tests.finetune.test_pipeline import QUICK, SCHEDULE, short_replies, teach  # noqa: F401

STANDIN = """
calls = []
class Run:
    def log(self, values, step=None):
        if broken: raise OSError("the server is gone")
        calls.append(("log", values, step))
    def finish(self): calls.append(("finish",))
broken = False
def init(**given):
    if broken == "early": raise RuntimeError("no API key; run wandb login")
    calls.append(("init", given))
    return Run()
"""


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a package of a name that writes down how it is called, and return it."""

    def install(name: str):
        (tmp_path / "packages").mkdir(exist_ok=True)
        (tmp_path / "packages" / f"{name}.py").write_text(STANDIN)
        monkeypatch.syspath_prepend(tmp_path / "packages")
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    yield install
    for name in ("wandb", "trackio"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("given", "read"),
    [("", []), ("tensorboard", ["tensorboard"]), ("wandb, TensorBoard,wandb", ["wandb", "tensorboard"])],
)
def test_trackers_are_named_between_commas(given: str, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert TrainSettings(report_to=given).report_to == read
    monkeypatch.setenv("RAPPORT_REPORT_TO", given)
    assert TrainSettings().report_to == read


def test_a_tracker_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="give tensorboard, wandb, trackio"):
        TrainSettings(report_to="mlflow")


def test_what_is_not_installed_is_told_before_any_work(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    teach(store, 12)
    assert main(["retrain", f"--data-dir={data.data_dir}", "--report-to=trackio"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["reason"]
    assert told == (
        "--report-to 'trackio' needs the package trackio, which is not installed; run "
        "`.venv/bin/python -m pip install trackio`, or leave it out."
    )
    assert store.runs() == []
    assert not data.runs_dir.exists()


def test_a_run_leaves_its_curves_for_tensorboard(store: Store, data: DataSettings) -> None:
    teach(store, 32)
    result = retrain(store, data, QUICK.model_copy(update={"epochs": 2, "report_to": ["tensorboard"]}), SCHEDULE)
    home = data.runs_dir / str(result.run)
    events = EventAccumulator(str(home / "tensorboard"))
    events.Reload()
    trained = json.loads((home / "metrics.json").read_text())
    names = events.Tags()["scalars"]

    def curve(name: str) -> list[tuple[int, float]]:
        return [(event.step, event.value) for event in events.Scalars(name)]

    steps = list(range(1, trained["steps"] + 1))
    for name in ("loss", "learning_rate", "tokens_per_s"):
        assert [step for step, _ in curve(name)] == steps
        assert all(value > 0 for _, value in curve(name))
    assert sum(value for _, value in curve("loss")) / len(steps) == pytest.approx(trained["train_loss"], rel=1e-4)
    per_epoch = trained["steps"] // 2
    assert [step for step, _ in curve("validation_loss")] == [per_epoch, 2 * per_epoch]
    assert [value for _, value in curve("validation_loss")] == pytest.approx(trained["validation"], rel=1e-4)
    assert [value for _, value in curve("general_rise")] == pytest.approx(trained["general"], rel=1e-4)
    measured = json.loads((home / "figures.json").read_text())
    assert curve("gate/improvement/mean")[0][1] == pytest.approx(measured["improvement"]["mean"], rel=1e-4)
    assert {"settings/text_summary", "gate/verdict/text_summary"} <= set(events.Tags()["tensors"]), names


def test_nobody_is_told_of_a_run_by_default(store: Store, data: DataSettings, standin) -> None:
    package = standin("wandb")
    with reporting(TrainSettings(), data.data_dir, 1) as tell:
        tell({"loss": 1.0}, 1)
    assert package.calls == []
    assert not data.runs_dir.exists()


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_what_is_handed_to_a_tracker(name: str, standin, tmp_path: Path) -> None:
    package, settings = standin(name), TrainSettings(report_to=name, seed=5)
    check_trackers(settings.report_to)
    with reporting(settings, tmp_path, 7) as tell:
        tell({"loss": 2.5, "learning_rate": 1e-3}, 1)
        tell(figures("refused", "No better.", {"general": {"rise": {"mean": 0.1, "low": None}}, "rows": [1, 2]}), 9)
    (_, begun), *logged, finished = package.calls
    assert (begun["project"], begun["name"], begun["config"]["seed"]) == ("rapport", "run-7", 5)
    assert begun.get("dir") == (str(tmp_path) if name == "wandb" else None)
    assert logged == [
        ("log", {"loss": 2.5, "learning_rate": 1e-3}, 1),
        ("log", {"gate/verdict": "refused", "gate/reason": "No better.", "gate/general/rise/mean": 0.1}, 9),
    ]
    assert finished == ("finish",)


@pytest.mark.parametrize(("broken", "reached"), [(True, ["init"]), ("early", [])])
def test_a_tracker_that_fails_ends_no_run_and_is_asked_no_more(
    broken: bool | str, reached: list[str], standin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package, trackio = standin("wandb"), standin("trackio")
    package.broken = broken
    with caplog.at_level(logging.INFO), reporting(TrainSettings(report_to="wandb,trackio"), tmp_path, 1) as tell:
        tell({"loss": 1.0}, 1)
        package.broken = False
        tell({"loss": 1.0}, 2)
    assert [call[0] for call in package.calls] == reached
    assert [call[0] for call in trackio.calls] == ["init", "log", "log", "finish"]
    assert caplog.text.count("Nothing more is reported to wandb") == 1
