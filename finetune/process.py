"""A run as a process of its own, so that neither chat nor run ends with the other."""

import os
import subprocess
import sys
from pathlib import Path

from feedback.settings import DataSettings, as_arguments
from finetune.settings import DiskSettings, TrainSettings

_MOST_LOG = 10_000_000  # bytes of output after which a new file is begun; one older is kept


def start_retrain(data: DataSettings, settings: TrainSettings, disk: DiskSettings) -> "subprocess.Popen[bytes]":
    """Start `python -m finetune retrain --force` in the background; its output goes to DIR/retrain.log."""
    data.data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "finetune", "retrain", "--force", f"--data-dir={data.data_dir}"]
    # The database's URL may hold a password, which a command line would show to everybody on the machine.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAPPORT_DATABASE_URL": data.database_url}
    with _log(data.data_dir / "retrain.log").open("ab") as log:
        # A session of its own: Ctrl-C in the app's terminal must not end a run.
        return subprocess.Popen(
            [*command, f"--base-model={data.base_model}", *as_arguments(settings), *as_arguments(_only_disk(disk))],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _only_disk(disk: DiskSettings) -> DiskSettings:
    return DiskSettings(**{name: getattr(disk, name) for name in DiskSettings.model_fields})


def _log(file: Path) -> Path:
    if file.exists() and file.stat().st_size > _MOST_LOG:
        file.replace(file.with_name(file.name + ".1"))
    return file
