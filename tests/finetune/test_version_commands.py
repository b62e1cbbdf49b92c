"""What is done with versions from the command line, and what two of them write side by side."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from chatui.version_views import VersionViews
from feedback.errors import BadInput, Busy, NotFound
from feedback.frozen import PairRow
from feedback.schema import ModelVersion, Promotion, now
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import methods, side_by_side
from finetune.__main__ import main
from finetune.base import ensure_base
from finetune.card import card, lines_of
from finetune.side_by_side import Manner, compared, default_prompts, newest, result, start
from tests.feedback.talk import exchange
from tests.tiny import make_tiny

GREEDY = Manner(max_new_tokens=6)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a version that is a model of its own."""
    folder = tmp_path_factory.mktemp("versions") / "001"
    make_tiny(folder / "model", seed=1)
    return folder


@pytest.fixture
def two(store: Store, data: DataSettings, other: Path) -> Store:
    """A record where the base serves, and version 1 was refused."""
    store.add_base(ensure_base(data))
    data.versions_dir.mkdir()
    (data.versions_dir / "001").symlink_to(other)
    run = store.open_run({"method": "full", "epochs": 2})
    reply = exchange(store)
    store.rate(reply, 1)
    rows = [PairRow(reply, None, "thumb_up", 1.0, "train")]
    store.freeze_dataset(run, {"rules": 1}, {"thumb_up": 1, "too_long": 0}, rows, now())
    figures = {"changes": {"correction_loss": {"mean": -0.5, "low": -0.9, "high": -0.1}}}
    store.add_version(1, "model", "versions/001", run, "refused", "Not better.", figures)
    return store


def asked(data: DataSettings, *arguments: str) -> int:
    return main([*arguments, f"--data-dir={data.data_dir}"])


def told(data: DataSettings, capsys: pytest.CaptureFixture[str], *arguments: str):
    assert asked(data, *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_trial_from_its_beginning_to_its_end(two: Store, data: DataSettings, capsys) -> None:
    begun = told(data, capsys, "trial", "begin", "1", "--share=0.3", "--days=7")
    assert (begun["candidate"], begun["against"], begun["share"], begun["rule"]["days"]) == (1, 0, 0.3, 7)
    assert told(data, capsys, "trial", "look")["figures"]["verdict"] == "goes_on"
    assert told(data, capsys, "trial", "status")["outcome"] is None
    ended = told(data, capsys, "trial", "end")
    assert (ended["outcome"], two.serving().shares) == ("ended", {0: 1.0})
    assert told(data, capsys, "trial", "status") is None
    assert told(data, capsys, "trial", "look") is None
    assert asked(data, "trial", "end", "--withdraw") == 1
    assert "No version is on trial" in capsys.readouterr().err
    told(data, capsys, "trial", "begin", "1")
    told(data, capsys, "trial", "end", "--promote")
    assert two.serving().shares == {1: 1.0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trial", "begin", "1", "--share=0.9"], "The share 0.9 cannot be used"),
        (["trial", "begin", "1", "--days=0"], "--trial-days '0' cannot be used"),
        (["trial", "begin", "7"], "no version 7"),
        (["pin", "7"], "no version 7"),
        (["card", "7"], "no version 7"),
        (["compare", "0"], "Name two versions"),
        (["compare", "0", "7"], "no version 7"),
        (["compare", "0", "1", "--file=/nowhere"], "--file '/nowhere' cannot be read"),
        (["compare", "--kept=../../etc"], "no comparison '../../etc'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(two: Store, data: DataSettings, capsys, arguments, said: str) -> None:
    assert asked(data, *arguments) == 1
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error


def test_pins_and_the_history_are_told(two: Store, data: DataSettings, capsys) -> None:
    assert told(data, capsys, "pin", "1") == {"version": 1, "pinned": True}
    assert two.version(1).pinned
    assert told(data, capsys, "unpin", "1") == {"version": 1, "pinned": False}
    assert told(data, capsys, "promote", "1") == {"serving": {"1": 1.0}}
    assert told(data, capsys, "rollback") == {"serving": {"0": 1.0}}
    reasons = [line["reason"] for line in told(data, capsys, "history")]
    assert reasons == ["The base model.", "Promoted by hand.", "Rolled back."]
    assert asked(data, "history") == 0
    assert "0: 100%" in capsys.readouterr().out


def test_a_card_tells_what_made_a_version_and_how_it_fared(two: Store, data: DataSettings, capsys) -> None:
    two.pin(1, True)
    two.begin_trial(1, 0.2, {})
    two.promote(1)
    card = told(data, capsys, "card", "1")
    assert (card["method"], card["verdict"], card["pinned"], card["share"]) == ("full", "refused", True, 1.0)
    assert card["dataset"]["pairs"] == {"train": {"thumb_up": 1}}
    assert [spell["share"] for spell in card["served"]] == [0.2, 1.0]
    assert [trial["outcome"] for trial in card["trials"]] == ["ended"]
    assert (card["earned"]["conversations"], card["earned"]["low"], card["earned"]["high"]) == (0, 0.0, 1.0)
    base = told(data, capsys, "card", "0")
    assert (base["dataset"], base["earned"]["up"], base["earned"]["share"]) == (None, 1, 1.0)
    assert asked(data, "card", "1") == 0
    text = capsys.readouterr().out
    for part in ("pinned", "-0.500 (90 % interval -0.900 to -0.100)", "20%", "1 thumb_up", "ended"):
        assert part in text
    assert asked(data, "card", "0") == 0
    assert "1 up, 0 down in 1 conversations: 100% up" in capsys.readouterr().out


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the clock on the wall nine hours before UTC's."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_times_are_printed_as_the_clock_on_the_wall_shows_them(two: Store, data: DataSettings, capsys) -> None:
    with two.writing() as session:
        session.get_one(ModelVersion, 0).created_at = datetime.fromisoformat("2030-01-01T18:30:00+00:00")
        session.get_one(Promotion, 1).created_at = datetime.fromisoformat("2030-01-01T18:45:00+00:00")
    assert asked(data, "history") == 0
    assert "2030-01-02 03:45  0: 100%" in capsys.readouterr().out
    assert told(data, capsys, "history")[0]["created_at"] == "2030-01-01 18:45:00+00:00"
    assert asked(data, "card", "0") == 0
    text = capsys.readouterr().out
    assert ", 2030-01-02 03:30\n" in text and "2030-01-02 03:45 to now" in text
    assert told(data, capsys, "card", "0")["created_at"] == "2030-01-01T18:30:00+00:00"


@pytest.mark.usefixtures("tokyo")
def test_a_folder_was_deleted_on_the_day_that_the_clock_on_the_wall_shows(two: Store, data: DataSettings) -> None:
    with two.writing() as session:
        session.get_one(ModelVersion, 1).pruned_at = datetime.fromisoformat("2030-01-01T18:30:00+00:00")
    with pytest.raises(BadInput, match="deleted on 2030-01-02"):
        start(two, data, (0, 1), [], GREEDY)
    with pytest.raises(BadInput, match="deleted on 2030-01-02"):
        two.promote(1)


@pytest.mark.parametrize("method", list(methods.METHODS))
def test_a_card_says_of_a_version_that_cannot_be_merged_that_it_is_slower(
    store: Store, data: DataSettings, method: str
) -> None:
    store.add_base(ensure_base(data))
    made = methods.METHODS[method]
    run = store.open_run({"method": method})
    store.add_version(1, "model" if made.part == "model" else "adapter", "versions/001", run, "refused", "Worse.", {})
    slower = not made.merged and made.part != "model"
    assert any("more slowly" in line for line in lines_of(card(store, data, 1))) == slower
    assert VersionViews(store).version_card(1)["slower"] == slower


def test_two_versions_reply_to_the_same_prompts(two: Store, data: DataSettings, capsys, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("hello\n\n")
    found = told(data, capsys, "compare", "0", "1", "--prompt=Hi?", f"--file={file}", "--max-new-tokens=6")
    assert [row["prompt"] for row in found["rows"]] == ["Hi?", "hello"]
    assert all(row["a"]["text"] != row["b"]["text"] for row in found["rows"])
    assert found["rows"] == compared(two, data, (0, 1), ["Hi?", "hello"], GREEDY)["rows"]
    assert [row["prompt"] for row in compared(two, data, (0, 0), [], GREEDY)["rows"]] == default_prompts()


def test_a_seed_makes_what_is_drawn_repeatable(two: Store, data: DataSettings) -> None:
    drawn = [
        compared(two, data, (0, 0), ["Hi?"], Manner(temperature=1.5, seed=seed, max_new_tokens=12))["rows"][0]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0]["a"] == drawn[0]["b"] != drawn[2]["a"]


def test_a_comparison_by_another_process_is_found_again(two: Store, data: DataSettings) -> None:
    job = start(two, data, (0, 1), ["Hi?"], GREEDY)
    with pytest.raises(Busy):
        start(two, data, (0, 1), ["Hi?"], GREEDY)
    assert newest(data) == job
    for thread in side_by_side.threading.enumerate():
        if thread.name.startswith("compare-"):
            thread.join(120)
    found = result(data, job)
    assert (found["status"], found["reason"], len(found["rows"])) == ("done", "", 1)
    assert found["rows"] == compared(two, data, (0, 1), ["Hi?"], GREEDY)["rows"]


def test_what_cannot_be_compared_begins_nothing(two: Store, data: DataSettings) -> None:
    with two.writing() as session:
        session.get_one(ModelVersion, 1).pruned_at = now()
    with pytest.raises(BadInput, match="Version 1's folder was deleted on"):
        start(two, data, (0, 1), [], GREEDY)
    with pytest.raises(BadInput, match="There are 21 prompts"):
        start(two, data, (0, 0), ["Hi?"] * 21, GREEDY)
    with pytest.raises(NotFound):
        result(data, "none")
    assert newest(data) is None


def test_a_comparison_whose_process_is_gone_has_failed(two: Store, data: DataSettings) -> None:
    (data.data_dir / "compared").mkdir()
    import socket

    gone = {"status": "running", "reason": "", "writer": f"{socket.gethostname()}|999999999|0.00"}
    (data.data_dir / "compared" / "abc.json").write_text(json.dumps(gone))
    assert result(data, "abc")["status"] == "failed"


def test_a_comparison_by_a_host_that_is_gone_has_failed_unless_it_is_made(two: Store, data: DataSettings) -> None:
    (data.data_dir / "compared").mkdir()
    job = {"status": "running", "reason": "", "writer": "a-container-of-yesterday|7|0.00"}
    (data.data_dir / "compared" / "abc.json").write_text(json.dumps(job))
    with FileLock(data.data_dir / "compared" / "making.lock"):
        assert result(data, "abc")["status"] == "running"
        with pytest.raises(Busy):
            start(two, data, (0, 1), ["Hi?"], GREEDY)
    assert result(data, "abc")["status"] == "failed"


def test_a_comparison_holds_its_lock_while_it_is_made(
    two: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data.data_dir / "compared").mkdir()
    job = {"id": "abc", "status": "running", "reason": "", "writer": "elsewhere|7|0.00", "rows": []}
    job |= {"a": 0, "b": 1, "manner": {}, "prompts": ["Hi?"]}
    (data.data_dir / "compared" / "abc.json").write_text(json.dumps(job))
    held: list[bool] = []

    def make(*_: object) -> dict[str, object]:
        lock = FileLock(data.data_dir / "compared" / "making.lock", timeout=0)
        with pytest.raises(Timeout), lock:
            pass
        held.append(True)
        return {"rows": []}

    monkeypatch.setattr(side_by_side, "compared", make)
    assert side_by_side.make_kept(two, data, "abc")["status"] == "done"
    assert held == [True]
    assert json.loads((data.data_dir / "compared" / "abc.json").read_text())["reason"] == ""


def test_a_trial_of_more_than_ten_years_is_not_begun(
    two: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trial", "begin", "1", "--days=9999999", f"--data-dir={data.data_dir}"]) == 1
    assert "--trial-days '9999999' cannot be used" in capsys.readouterr().err
    assert two.trial() is None
