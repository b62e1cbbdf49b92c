"""What runs leave on disk that nobody needs any more; for whoever holds the lock, and so knows that no run is at it."""

import logging
import shutil
from functools import cache
from pathlib import Path

from feedback.settings import DataSettings

log = logging.getLogger("rapport.retrain")
CANDIDATE = ".run-"  # begins the name of a version's folder until it is whole
GOING = ".pruned-"  # begins the name of a version's folder that is being deleted
ASIDE = ".left-"  # in the name of a folder of another record that was in a run's way
_OF_A_RUN = ("work", "dataset.partial")


def candidate_of(data: DataSettings, run_id: int) -> Path:
    """Return where a run makes its version, until that has its number."""
    return data.versions_dir / f"{CANDIDATE}{run_id}"


def sweep(data: DataSettings, going_on: int | None = None) -> None:
    """Delete temporary folders of every run but the one that goes on, and versions half deleted."""
    for candidate in data.versions_dir.glob(f"{CANDIDATE}*"):
        if going_on is None or candidate != candidate_of(data, going_on):
            delete(candidate)
    for going in data.versions_dir.glob(f"{GOING}*"):
        delete(going)
    for name in _OF_A_RUN:
        for folder in data.runs_dir.glob(f"*/{name}"):
            if going_on is None or folder.parent.name != str(going_on):
                delete(folder)


def delete(folder: Path) -> None:
    """Delete a folder; one that cannot be deleted, as one of another user, stays: it is in nobody's way."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        _tell_once(f"{str(folder)!r} cannot be deleted: {error}")


@cache  # the schedule and the page look every few seconds
def _tell_once(text: str) -> None:
    log.warning("%s", text)
