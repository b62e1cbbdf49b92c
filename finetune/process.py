"""A run as a process of its own, so that neither chat nor run ends with the other."""

import os
import subprocess
import sys

from feedback.settings import DataSettings, as_arguments
from finetune.settings import TrainSettings


def start_retrain(data: DataSettings, settings: TrainSettings) -> "subprocess.Popen[bytes]":
    """Start `python -m finetune retrain --force` in the background; its output goes to DIR/retrain.log."""
    data.data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "finetune", "retrain", "--force", f"--data-dir={data.data_dir}"]
    # The database's URL may hold a password, which a command line would show to everybody on the machine.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAPPORT_DATABASE_URL": data.database_url}
    with (data.data_dir / "retrain.log").open("ab") as log:
        # A session of its own: Ctrl-C in the app's terminal must not end a run.
        return subprocess.Popen(
            [*command, *as_arguments(settings)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
