"""The benchmarks run and say what they measured; how long anything took is no test's business."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import CHROMIUM

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_pages_benchmark_reports_every_measure(tmp_path: Path) -> None:
    out = tmp_path / "page.json"
    command = [sys.executable, "bench/page.py", "--streams=1", "--clicks=3", "--words=3", f"--json={out}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    rows = json.loads(out.read_text())
    assert [row["n"] for row in rows] == [3, 3, 3]
    assert all(0 < row["median"] <= row["p95"] <= row["worst"] for row in rows)
