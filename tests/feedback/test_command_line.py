"""python -m feedback: what it prints and what it exits with."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from feedback.__main__ import main
from feedback.settings import DataSettings
from feedback.store import Store
from tests.processes import ROOT

GOOD = '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","rating":1}]}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text(GOOD)
    return path


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def stats(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    capsys.readouterr()
    assert run("stats", "--json", "--data-dir", folder) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return dict(json.loads(line))


def test_a_file_of_good_lines_goes_in_with_0(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", file, "--data-dir", tmp_path / "data") == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("1 lines taken in, 0 bad.\n", "")
    assert stats(tmp_path / "data", capsys) == {
        "conversations": 1,
        "messages": 2,
        "replies": 1,
        "thumbs_up": 1,
        "thumbs_down": 0,
        "corrections": 0,
        "raters": 1,
    }


def test_bad_lines_are_named_and_the_good_ones_go_in_with_1(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(b"{\n" + GOOD.encode() + b'\xff\n\n{"messages":[{"role":"\\ud800","content":""}]}\n')
    assert run("import", file, "--data-dir", tmp_path / "data") == 1
    printed = capsys.readouterr()
    named = [line.split(":")[0] for line in printed.err.splitlines()]
    assert named == ["line 1", "line 3", "line 5"]
    assert printed.out == "1 lines taken in, 3 bad.\n"
    assert stats(tmp_path / "data", capsys)["thumbs_up"] == 1


def test_an_export_imported_elsewhere_gives_equal_stats(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert run("import", file, "--data-dir", tmp_path / "one") == 0
    assert run("export", out, "--data-dir", tmp_path / "one") == 0
    assert f"1 lines written to {out}." in capsys.readouterr().err
    assert run("import", out, "--data-dir", tmp_path / "two") == 0
    one, two = stats(tmp_path / "one", capsys), stats(tmp_path / "two", capsys)
    assert one == two and one["thumbs_up"] == 1


def test_an_export_to_standard_output_is_the_lines_and_nothing_else(tmp_path: Path, file: Path) -> None:
    data = tmp_path / "data"
    run("import", file, "--data-dir", data)
    command = [sys.executable, "-m", "feedback", "export", "/dev/stdout", "--data-dir", str(data)]
    with (tmp_path / "dump.jsonl").open("wb") as dump:
        subprocess.run(command, cwd=ROOT, stdout=dump, check=True)
    piped = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for written in ((tmp_path / "dump.jsonl").read_bytes(), piped.stdout):
        (line,) = written.splitlines()
        assert json.loads(line)["messages"][1]["content"] == "a"
    assert piped.stderr == b"1 lines written to /dev/stdout.\n"


def test_stats_for_people_name_each_count(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("import", file, "--data-dir", tmp_path / "data")
    capsys.readouterr()
    assert run("stats", "--data-dir", tmp_path / "data") == 0
    lines = [line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["thumbs up", "1"] in lines and ["messages", "2"] in lines


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "{tmp}/missing.jsonl"],
        ["import", "{tmp}"],
        ["export", "{tmp}"],
        ["export", "{tmp}/no/folder/out.jsonl"],
        ["stats", "--database-url", "nonsense"],
        ["import", "{tmp}/in.jsonl", "--data-dir", "{tmp}/in.jsonl"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_gets_one_sentence_and_2(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    Store.open(DataSettings(data_dir=tmp_path / "data").database).close()
    assert run(*_filled(arguments, tmp_path)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1 and "cannot be" in printed.err


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_read_begins_no_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run("import", tmp_path / name, "--data-dir", tmp_path / "data") == 2
    assert "cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def _filled(arguments: list[str], tmp_path: Path) -> list[str]:
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    return filled if "--data-dir" in filled else [*filled, "--data-dir", str(tmp_path / "data")]


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["import"], ["stats", "file"], ["stats", "--jsonl"]], ids=" ".join
)
def test_a_command_that_is_not_known_is_refused_with_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m feedback" in capsys.readouterr().err


def test_the_data_dir_can_come_from_the_environment(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAPPORT_DATA_DIR", str(tmp_path / "there"))
    assert run("import", file) == 0
    store = Store.open(DataSettings(data_dir=tmp_path / "there").database)
    assert store.stats()["conversations"] == 1
    store.close()


def test_a_database_url_wins_over_the_data_dir(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    assert run("import", file, "--data-dir", tmp_path / "data", "--database-url", url) == 0
    assert not (tmp_path / "data").exists()
    store = Store.open(url)
    assert store.stats()["conversations"] == 1
    store.close()


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no SQLite file grow beyond 500 kB: to SQLite that is a full disk."""

    def limit(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA max_page_count=120")

    event.listen(Engine, "connect", limit)
    yield
    event.remove(Engine, "connect", limit)


def test_a_full_disk_is_one_sentence_that_says_how_far_the_import_came(
    tmp_path: Path, small_disk: None, capsys: pytest.CaptureFixture[str]
) -> None:
    file, secret = tmp_path / "big.jsonl", "what somebody wrote " * 20
    lines = [{"messages": [{"role": "user", "content": f"{n} {secret if n >= 200 else ''}"}]} for n in range(600)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("import", file, "--data-dir", tmp_path / "data") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "200 lines were taken in before; taken in again, they add nothing.",
        "This was not done, as the disk is full; free some space, then try again.",
    ]
    assert stats(tmp_path / "data", capsys)["conversations"] == 200
