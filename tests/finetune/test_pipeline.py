import gc
import json
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from peft import PeftModel
from transformers import AutoModelForCausalLM

from feedback.errors import Busy
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings, as_arguments
from feedback.store import Store
from finetune import compare, measures, pipeline
from finetune.__main__ import main
from finetune.base import BaseModelError
from finetune.evaluate import Verdict
from finetune.lock import dead_run
from finetune.model import Loaded, LoadError, load_version
from finetune.pipeline import Result, RunFailed, retrain
from finetune.schedule import NotEnough
from finetune.settings import GateSettings, ScheduleSettings, TrainSettings
from tests.tiny import LOOSE, make_tiny

QUICK = TrainSettings(epochs=6, learning_rate=2e-2, batch_size=16, keep_weight=0.1, **LOOSE)
SCHEDULE = ScheduleSettings()


def teach(store: Store, count: int, answer: str = "the quick brown fox", prefix: str = "c") -> None:
    store.take_in(
        [
            Incoming(
                f"{prefix}{n}",
                (
                    IncomingMessage("user", f"question number {n}"),
                    IncomingMessage("assistant", "I do not know.", rating=-1, correction=answer),
                ),
            )
            for n in range(count)
        ]
    )


@pytest.fixture(autouse=True)
def short_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gate have a few tokens written: a model of random weights never ends a reply by itself."""
    for name in ("GENERAL_TOKENS", "OWN_TOKENS", "HARM_TOKENS"):
        monkeypatch.setattr(measures, name, 4)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the data dir lies that tests with `promoted` are given copies of."""
    return tmp_path_factory.mktemp("promoted") / "data"


@pytest.fixture
def promoted(data: DataSettings, once: Path) -> Result:
    """A promoted version of 32 corrections, and its data dir: made by the first test that wants it."""
    if not once.exists():
        making = data.model_copy(update={"data_dir": once.with_name("making")})
        made = Store.open(making.database)
        teach(made, 32)
        retrain(made, making, QUICK, SCHEDULE)
        made.close()
        making.data_dir.rename(once)
    shutil.copytree(once, data.data_dir, symlinks=True)
    copied = Store.open(data.database)
    run, version = copied.runs()[0], copied.version(1)
    copied.close()
    return Result(run.id, version.number, version.verdict, version.reason)


@pytest.fixture
def store(request: pytest.FixtureRequest, data: DataSettings) -> Iterator[Store]:
    """The record: a fresh one, or that of `promoted`, which must lie there before it is opened."""
    if "promoted" in request.fixturenames:
        request.getfixturevalue("promoted")
    opened = Store.open(data.database)
    yield opened
    opened.close()


def test_corrections_become_a_version_that_serves(store: Store, data: DataSettings, promoted) -> None:
    assert (promoted.verdict, promoted.version) == ("promoted", 1)
    assert store.serving().shares == {1: 1.0}
    run = store.runs()[0]
    assert (run.status, run.version, run.step) == ("promoted", 1, run.total)
    folder = data.versions_dir / "001"
    card = json.loads((folder / "card.json").read_text())
    assert (card["kind"], card["verdict"], card["run"]) == ("adapter", "promoted", promoted.run)
    assert card["pairs"] == {
        side: {"good": n, "bad": n} for side, n in (("train", 26), ("validation", 2), ("held_out", 4))
    }
    base = AutoModelForCausalLM.from_pretrained(data.base_dir)
    assert PeftModel.from_pretrained(base, folder / "adapter")
    assert not list(data.versions_dir.glob(".*"))
    assert not [p for p in data.data_dir.rglob("*") if p.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_the_dataset_is_frozen_with_its_rules(store: Store, data: DataSettings, promoted) -> None:
    from datasets import load_from_disk

    rows = load_from_disk(str(data.runs_dir / str(promoted.run) / "dataset"))
    assert sorted(rows["good"]) == [False] * 32 + [True] * 32
    assert {row["instead"] for row in rows} == {None, "the quick brown fox"}
    counts = json.loads((data.runs_dir / str(promoted.run) / "rules.json").read_text())["counts"]
    assert {rule: count for rule, count in counts.items() if count} == {"correction": 32, "corrected": 32}


def test_what_was_held_out_is_never_trained_on_later(store: Store, data: DataSettings, promoted) -> None:
    from datasets import load_from_disk

    teach(store, 20, prefix="later")
    second = retrain(store, data, QUICK, SCHEDULE, force=True)
    sides = [
        {row["conversation_id"]: row["split"] for row in load_from_disk(str(data.runs_dir / str(run) / "dataset"))}
        for run in (promoted.run, second.run)
    ]
    for conversation, side in sides[0].items():
        assert (side == "held_out") == (sides[1][conversation] == "held_out")
    held = sum(side == "held_out" for side in sides[1].values())
    assert 0.05 <= held / 52 <= 0.15


def test_a_candidate_that_learned_nothing_is_refused_and_kept(store: Store, data: DataSettings, promoted) -> None:
    again = retrain(store, data, QUICK.model_copy(update={"learning_rate": 1e-9}), SCHEDULE, force=True)
    assert (again.verdict, again.version) == ("refused", 2)
    assert store.serving().shares == {1: 1.0}
    assert (data.versions_dir / "002" / "card.json").exists()
    store.promote(2)
    assert store.serving().shares == {2: 1.0}
    assert store.rollback().shares == {1: 1.0}


def test_a_handful_is_refused_for_want_of_evidence(store: Store, data: DataSettings) -> None:
    teach(store, 5)
    result = retrain(store, data, QUICK, SCHEDULE, force=True)
    assert result.verdict == "refused"
    assert "Not enough evidence" in result.reason
    assert store.serving().shares == {0: 1.0}


def test_too_little_new_feedback_begins_no_run(store: Store, data: DataSettings, promoted) -> None:
    teach(store, 3, prefix="later")
    with pytest.raises(NotEnough, match="3 of 10"):
        retrain(store, data, QUICK, SCHEDULE)
    assert len(store.runs()) == 1


def test_two_runs_at_once_are_refused(store: Store, data: DataSettings) -> None:
    teach(store, 12)
    data.data_dir.mkdir(exist_ok=True)
    with FileLock(data.lock_file), pytest.raises(Busy):
        retrain(store, data, QUICK, SCHEDULE)
    assert store.runs() == []


def test_a_failure_is_written_to_the_run_and_leaves_no_version(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(store, 12)

    def broken(*args: object, **more: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(pipeline, "train_adapter", broken)
    with pytest.raises(RunFailed, match="on fire") as caught:
        retrain(store, data, QUICK, SCHEDULE)
    assert caught.value.run == 1
    assert (store.runs()[0].status, "on fire" in store.runs()[0].reason) == ("failed", True)
    assert [v.number for v in store.versions()] == [0]
    assert "on fire" in (data.runs_dir / "1" / "log.txt").read_text()


def test_a_run_whose_log_cannot_be_written_ends_with_the_reason(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(store, 12)
    run = store.open_run({})  # which was killed; its folder is somebody else's by now
    data.runs_dir.mkdir(parents=True)
    monkeypatch.setattr(pipeline.logging, "FileHandler", refuse)
    with pytest.raises(RunFailed, match="PermissionError: 'log.txt'"):
        retrain(store, data, TrainSettings(), ScheduleSettings(), force=True)
    (line,) = store.runs()
    assert (line.id, line.status, "PermissionError" in line.reason) == (run, "failed", True)


def test_a_run_whose_folder_cannot_be_made_ends_with_the_reason(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(store, 12)
    data.data_dir.mkdir(parents=True, exist_ok=True)
    data.runs_dir.write_text("no folder")
    with pytest.raises(RunFailed):
        retrain(store, data, TrainSettings(), ScheduleSettings(), force=True)
    assert [(line.status, bool(line.reason)) for line in store.runs()] == [("failed", True)]


def test_a_leftover_that_cannot_be_deleted_is_in_nobodys_way(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, other = data.versions_dir / ".run-1", data.versions_dir / ".run-2"
    for folder in (stuck, other):
        folder.mkdir(parents=True)
    delete = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda folder: refuse(folder) if folder == stuck else delete(folder))
    assert dead_run(store, data) is None
    assert (stuck.exists(), other.exists()) == (True, False)
    assert str(stuck) in caplog.text


def refuse(path: Path) -> None:
    raise PermissionError(repr(path.name))


def test_a_folder_left_by_a_dead_run_is_no_version_and_in_nobodys_way(store: Store, data: DataSettings) -> None:
    (data.versions_dir / "001" / "adapter").mkdir(parents=True)
    (data.versions_dir / "001" / "adapter" / "half").write_text("a weight")
    teach(store, 12)
    assert retrain(store, data, QUICK, SCHEDULE).version == 1
    assert not (data.versions_dir / "001" / "adapter" / "half").exists()
    assert (data.versions_dir / "001.left-1" / "adapter" / "half").exists()


def test_what_a_dead_run_left_half_made_is_cleared_away(store: Store, data: DataSettings) -> None:
    half = data.versions_dir / ".run-7" / "adapter"
    half.mkdir(parents=True)
    teach(store, 12)
    retrain(store, data, QUICK, SCHEDULE)
    assert not half.parent.exists()


def test_another_base_model_begins_no_run(store: Store, data: DataSettings, promoted, tmp_path: Path) -> None:
    other = make_tiny(tmp_path / "other", seed=1)
    with pytest.raises(BaseModelError, match="fit no other"):
        retrain(store, data.model_copy(update={"base_model": str(other)}), QUICK, SCHEDULE, force=True)
    assert len(store.runs()) == 1


def test_what_serves_may_change_while_a_candidate_is_measured_or_written_and_is_measured_then(
    store: Store, data: DataSettings, promoted, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, write, against = pipeline.judged, Store.add_version, []

    def promote_first(*args):
        against.append(args[4])
        if len(against) == 1:
            store.promote(0, reason="by hand")
        return judge(*args)

    def roll_back_first(*args, **more):
        if len(against) == 2:
            store.rollback()
        write(*args, **more)

    monkeypatch.setattr(pipeline, "judged", promote_first)
    monkeypatch.setattr(Store, "add_version", roll_back_first)
    teach(store, 20, answer="hello hello world", prefix="other")
    result = retrain(store, data, QUICK, SCHEDULE, force=True)
    first = data.versions_dir / "001"
    assert against == [first, None, first]
    card = json.loads((data.versions_dir / "002" / "card.json").read_text())
    assert (card["version"], card["verdict"], card["reason"]) == (result.version, result.verdict, result.reason)
    assert store.serving().shares == {2 if result.verdict == "promoted" else 1: 1.0}
    assert [v.number for v in store.versions()] == [0, 1, 2]
    assert not list(data.versions_dir.glob(".*"))


def test_weights_that_diverged_are_a_refused_version(store: Store, data: DataSettings) -> None:
    teach(store, 12)
    result = retrain(store, data, QUICK.model_copy(update={"learning_rate": 1.0, "epochs": 30}), SCHEDULE)
    assert result.verdict == "refused"
    assert store.versions()[1].verdict == "refused"


def test_a_candidate_that_finds_no_memory_fails_the_run_and_its_feedback_is_learned_by_the_next(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(base_dir: Path, version_dir: Path | None) -> Loaded:
        if version_dir:
            raise LoadError("The adapter cannot be loaded: CUDA out of memory")
        return load_version(base_dir, None)

    monkeypatch.setattr(compare, "load_version", no_memory)
    teach(store, 12)
    with pytest.raises(RunFailed, match="out of memory"):
        retrain(store, data, QUICK, SCHEDULE)
    assert [v.number for v in store.versions()] == [0]
    monkeypatch.undo()
    assert store.learned_until() is None
    assert retrain(store, data, QUICK.model_copy(update={"epochs": 1}), SCHEDULE).version == 1


def test_the_base_is_let_go_before_the_candidate_is_loaded(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[weakref.ref[object]] = []

    def watched(base_dir: Path, version_dir: Path | None) -> Loaded:
        gc.collect()
        assert not any(one() for one in loads)
        loaded = load_version(base_dir, version_dir)
        loads.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr(compare, "load_version", watched)
    teach(store, 12)
    retrain(store, data, QUICK.model_copy(update={"epochs": 1}), SCHEDULE)
    assert len(loads) == 2


def test_one_line_that_no_template_takes_does_not_end_every_run(store: Store, data: DataSettings) -> None:
    teach(store, 12)
    store.take_in([Incoming("alone", (IncomingMessage("assistant", "hello", rating=1),))])
    result = retrain(store, data, QUICK, SCHEDULE)
    rules = json.loads((data.runs_dir / str(result.run) / "rules.json").read_text())
    assert rules["counts"]["template_refuses"] == 1
    (refused,) = [f.message_id for f in store.feedback() if f.conversation_id == "alone"]
    (pair,) = store.trace(message=refused)["pairs"]
    assert (pair["run"], pair["split"], pair["rule"]) == (result.run, "rejected", "template_refuses")


def test_a_question_once_held_out_is_never_trained_on_even_when_its_conversation_is_gone(
    store: Store, data: DataSettings, promoted
) -> None:
    from datasets import load_from_disk

    rows = load_from_disk(str(data.runs_dir / str(promoted.run) / "dataset"))
    held = next(row for row in rows if row["split"] == "held_out")
    store.delete(held["conversation_id"])
    asked = IncomingMessage("user", held["prompt"][0]["content"].upper() + "?")
    store.take_in([Incoming("again", (asked, IncomingMessage("assistant", "hello world", rating=1)))])
    second = retrain(store, data, QUICK.model_copy(update={"epochs": 1}), SCHEDULE, force=True)
    sides = load_from_disk(str(data.runs_dir / str(second.run) / "dataset")).to_pandas()
    assert set(sides[sides["conversation_id"] == "again"]["split"]) == {"held_out"}


QUICK_ARGUMENTS = ["--epochs=2", "--learning-rate=2e-2", *as_arguments(GateSettings(**LOOSE))]


@pytest.mark.parametrize(("count", "force", "code"), [(0, True, 4), (5, False, 4), (5, True, 3), (32, False, 0)])
def test_the_exit_code_says_how_it_ended(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str], count: int, force: bool, code: int
) -> None:
    teach(store, count)
    arguments = ["retrain", f"--data-dir={data.data_dir}", f"--base-model={data.base_model}", *QUICK_ARGUMENTS]
    assert main([*arguments, *(["--force"] if force else [])]) == code
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last) == {"run", "version", "verdict", "reason"}
    assert (last["version"] is None) == (code == 4)


def test_a_held_lock_is_75(store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]) -> None:
    teach(store, 12)
    with FileLock(data.lock_file):
        assert main(["retrain", f"--data-dir={data.data_dir}"]) == 75
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["verdict"] == "locked"


def test_versions_and_runs_are_listed_as_json(
    store: Store, data: DataSettings, promoted, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"--data-dir={data.data_dir}"
    assert main(["versions", "--json", where]) == 0
    versions = json.loads(capsys.readouterr().out)
    assert [(v["version"], v["serving"], v["share"]) for v in versions] == [(0, False, 0.0), (1, True, 1.0)]
    assert Path(versions[1]["path"]).is_dir()
    assert main(["runs", "--json", where]) == 0
    assert [(r["run"], r["status"], r["version"]) for r in json.loads(capsys.readouterr().out)] == [(1, "promoted", 1)]


def test_promote_and_rollback_from_the_command_line(
    store: Store, data: DataSettings, promoted, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"--data-dir={data.data_dir}"
    assert main(["rollback", where]) == 0
    assert store.serving().shares == {0: 1.0}
    assert main(["promote", "1", where]) == 0
    assert store.serving().shares == {1: 1.0}
    assert main(["promote", "9", where]) == 1
    assert "no version 9" in capsys.readouterr().err


def test_what_the_gate_promotes_goes_on_trial_first_where_that_is_set(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "judged", lambda *_: Verdict("promoted", "Better.", {}))
    teach(store, 12)
    settings = QUICK.model_copy(update={"epochs": 1, "trial_share": 0.2, "trial_days": 7})
    result = retrain(store, data, settings, SCHEDULE)
    trial = store.trial()
    assert (result.verdict, trial.candidate, trial.rule["days"]) == ("promoted", 1, 7)
    assert store.serving().shares == {0: 0.8, 1: 0.2}


def test_during_a_trial_a_candidate_is_compared_with_what_is_proven(
    store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    against: list[object] = []
    monkeypatch.setattr(pipeline, "judged", lambda *args: against.append(args[4]) or Verdict("refused", "No.", {}))
    store.add_base(str(Path(data.base_model).resolve()))
    for number in (1, 2):
        store.add_version(number, "adapter", f"versions/{number:03}", store.open_run({}), "promoted", "", {})
    store.begin_trial(1, 0.5, {})
    teach(store, 12)
    retrain(store, data, QUICK.model_copy(update={"epochs": 1}), SCHEDULE, force=True)
    assert against == [data.versions_dir / "002"]
