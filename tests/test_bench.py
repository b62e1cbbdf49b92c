"""The benchmarks run and say what they measured; how long anything took is no test's business."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import page, serve
from bench.prompts import PROMPTS
from bench.streams import Failed, Stream, figures
from bench.subject import Subject
from tests.browser import CHROMIUM
from tests.tiny import make_tiny


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_pages_benchmark_reports_every_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "page.json"
    monkeypatch.setattr(sys, "argv", ["page.py", "--streams=1", "--clicks=3", "--words=3", f"--json={out}"])
    assert page.main() == 0
    rows = json.loads(out.read_text())
    assert [row["n"] for row in rows] == [3, 3, 3]
    assert all(0 < row["median"] <= row["p95"] <= row["worst"] for row in rows)


def test_the_serving_benchmark_measures_skips_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve.quiet, "set_verbosity_error", lambda: None)  # which would last
    # In a process of its own each engine would take seconds to import; the next test has one.
    monkeypatch.setattr(serve, "ProcessPoolExecutor", lambda workers, mp_context: ThreadPoolExecutor(workers))
    model, out = make_tiny(tmp_path / "tiny", context=1024), tmp_path / "serve.json"
    options = ["--only=generate,llama.cpp,rapport", "--streams=1", "--new-tokens=6", "--repeats=1", "--threads=1"]
    monkeypatch.setattr(sys, "argv", ["serve.py", f"--model={model}", *options, f"--json={out}"])
    assert serve.main() == 0
    rows = {(row["engine"], row["streams"]): row for row in json.loads(out.read_text())["rows"]}
    assert rows["generate", 1]["ratio"] == 1
    for engine in ("generate", "rapport"):
        row = rows[engine, 1]
        assert row["tokens_per_s"] > 0, row
        assert 0 < row["ttft_p50"] <= row["ttft_max"], row
        assert row["gap_max"] > 0
    assert "skipped" in rows["llama.cpp", 1]
    assert capsys.readouterr().out.count("rapport") == 1


def test_an_engine_that_fails_is_a_row_of_the_table(tmp_path: Path) -> None:
    result = serve.bench(Subject(tmp_path / "gone"), ["generate"], [1], repeats=2, new_tokens=4)
    (row,) = result["rows"]
    assert row["error"].startswith("LoadError: The model in ")
    assert "failed: LoadError" in serve.table(result)


def test_a_stream_that_stops_short_is_no_figure() -> None:
    with pytest.raises(Failed, match="1 of 2 streams wrote 3 to 3 tokens, not 4"):
        figures([Stream(0.0, [1.0, 2.0], 4), Stream(0.0, [1.0], 3)], 4)


def test_figures_of_two_streams() -> None:
    found = figures([Stream(0.0, [1.0, 1.5, 3.5], 3), Stream(0.5, [2.0, 2.5, 3.0], 3)], 3)
    assert found["tokens_per_s"] == pytest.approx(6 / 3.5)
    assert (found["ttft_p50"], found["ttft_max"], found["gap_max"]) == (1.25, 1.5, 2.0)


def test_prompts_are_many_and_differ() -> None:
    assert len(PROMPTS) == len(set(PROMPTS)) >= 41  # streams of 1, 8 and 32 share none
