import json

import pytest
from filelock import FileLock

from feedback.settings import DataSettings
from feedback.store import Store
from finetune.__main__ import main
from finetune.machine import NoRoom, short_of_disk
from finetune.pipeline import retrain
from finetune.prune import plan, prune
from finetune.settings import DiskSettings, ScheduleSettings, TrainSettings
from tests.finetune.test_scheduler import teach


@pytest.fixture
def eight(store: Store, data: DataSettings) -> Store:
    """Eight versions of 1000 bytes each; 1 serves."""
    store.add_base("tiny")
    for number in range(1, 9):
        path = f"versions/{number:03}"
        folder = data.data_dir / path
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(1000))
        run = store.open_run({})
        (data.runs_dir / str(run) / "dataset").mkdir(parents=True)
        (data.runs_dir / str(run) / "log.txt").write_text("what happened")
        store.add_version(number, "adapter", path, run, "refused", "", {})
    store.promote(1)
    return store


def folders(data: DataSettings) -> list[int]:
    return sorted(int(folder.name) for folder in data.versions_dir.iterdir())


def test_the_newest_stay_and_what_serves(eight: Store, data: DataSettings) -> None:
    assert prune(eight, data, DiskSettings(keep_versions=3)).versions == (2, 3, 4, 5)
    assert folders(data) == [1, 6, 7, 8]
    assert len(eight.versions()) == 9  # the rows stay
    assert prune(eight, data, DiskSettings(keep_versions=3)).versions == ()


def test_of_the_newest_fewer_stay_if_they_take_too_much(eight: Store, data: DataSettings) -> None:
    assert plan(eight, data, DiskSettings(keep_gb=5e-6)).versions == (2, 3, 4)
    assert plan(eight, data, DiskSettings(keep_gb=0)).versions == ()


def test_a_promotion_that_came_between_is_not_undone(
    eight: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = eight.mark_pruned

    def promote_first(number: int) -> None:
        if number == 3:
            eight.promote(3)
        mark(number)

    monkeypatch.setattr(eight, "mark_pruned", promote_first)
    prune(eight, data, DiskSettings(keep_versions=3))
    assert folders(data) == [1, 3, 6, 7, 8]


def test_what_was_marked_by_one_that_was_killed_goes_next_time(eight: Store, data: DataSettings) -> None:
    eight.mark_pruned(2)
    eight.mark_pruned(3)
    (data.versions_dir / "003").rename(data.versions_dir / ".pruned-003")
    prune(eight, data, DiskSettings())
    assert folders(data) == [1, 4, 5, 6, 7, 8]


def test_of_old_runs_only_what_the_record_has_too_goes(eight: Store, data: DataSettings) -> None:
    assert prune(eight, data, DiskSettings(keep_runs=6)).runs == (1, 2)
    with_dataset = sorted(path.parent.name for path in data.runs_dir.glob("*/dataset"))
    assert with_dataset == ["3", "4", "5", "6", "7", "8"]
    assert len(list(data.runs_dir.glob("*/log.txt"))) == 8


def test_what_runs_put_aside_goes_but_for_that_of_the_newest(
    eight: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    aside = [data.versions_dir / "004.left-7", data.runs_dir / "7.left-0"]
    newest = [data.versions_dir / "005.left-8", data.runs_dir / "8.left-0"]
    others = [data.versions_dir / "mine.left-alone", data.runs_dir / "notes"]
    for folder in (*aside, *newest, *others):
        folder.mkdir()
        (folder / "weights").write_bytes(bytes(10**6))
    where = f"--data-dir={data.data_dir}"
    assert main(["prune", "--dry-run", where]) == 0
    assert capsys.readouterr().out == "runs/7.left-0, versions/004.left-7: 0.002 GB.\n"
    assert all(folder.exists() for folder in aside)
    assert main(["prune", where]) == 0
    assert not any(folder.exists() for folder in aside)
    assert all(folder.exists() for folder in (*newest, *others))
    assert main(["prune", where]) == 0
    assert capsys.readouterr().out.endswith("Nothing is to be pruned.\n")


def test_a_dry_run_changes_nothing(eight: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]) -> None:
    where = (f"--data-dir={data.data_dir}", "--keep-versions=3", "--json")
    assert main(["prune", "--dry-run", *where]) == 0
    assert json.loads(capsys.readouterr().out)["versions"] == [2, 3, 4, 5]
    assert folders(data) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert main(["prune", *where]) == 0
    assert folders(data) == [1, 6, 7, 8]


def test_too_little_disk_begins_no_run_and_says_how_much_there_is(store: Store, data: DataSettings) -> None:
    teach(store, 12)
    with pytest.raises(NoRoom, match=r"GB of disk are free and a run begins with 1e\+09 at least"):
        retrain(store, data, TrainSettings(), ScheduleSettings(min_free_disk=1e9), force=True)
    assert store.runs() == []
    assert short_of_disk(2.0, DiskSettings(min_free_disk=1)) == ""


def test_beside_a_run_that_was_cut_off_its_files_stay(
    eight: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    run = eight.open_run({})
    its = [data.runs_dir / str(run) / "work" / "epoch-1", data.versions_dir / f".run-{run}"]
    left = data.runs_dir / "3" / "work"
    for folder in (*its, left):
        folder.mkdir(parents=True)
    assert main(["prune", f"--data-dir={data.data_dir}", "--keep-versions=3", "--keep-runs=1"]) == 0
    assert not (data.versions_dir / "002").exists()
    assert [folder.exists() for folder in (*its, left)] == [True, True, False]
    assert eight.runs()[0].finished_at is None


def test_nobody_prunes_beside_a_run_under_way(
    eight: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(data.lock_file):
        assert main(["prune", f"--data-dir={data.data_dir}", "--keep-versions=3"]) == 75
    assert "wait for its end" in capsys.readouterr().err
    assert (data.versions_dir / "002").exists()
