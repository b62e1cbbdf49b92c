"""`python -m finetune runs`: every run, however many there were."""

import json

import pytest

from feedback.settings import DataSettings
from feedback.store import Store
from finetune.__main__ import main


def test_every_run_is_listed_oldest_first(store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [store.open_run({}) for _ in range(105)]
    for run in runs:
        store.update_run(run, status="failed", reason=f"Reason {run}.")
    where = f"--data-dir={data.data_dir}"
    assert main(["runs", "--json", where]) == 0
    assert [row["run"] for row in json.loads(capsys.readouterr().out)] == runs
    assert main(["runs", where]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert (len(printed), printed[0].endswith("Reason 1.")) == (105, True)
