"""Old versions and old runs are deleted by a rule, so that a job that runs for months does not fill the disk.

The newest `keep_versions` stay, and fewer if they take more than `keep_gb`. What serves, what served last, what a
rollback would bring back, what a trial uses and what a person pinned always stays. A version's row is marked first, its
folder goes after: whoever looks at the record is never sent to a folder that is being deleted.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from feedback.errors import RapportError
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.leftovers import ASIDE, GOING, delete
from finetune.lock import settled
from finetune.machine import GB
from finetune.settings import DiskSettings

log = logging.getLogger("rapport.retrain")
_OF_OLD_RUNS = ("dataset", "general.json")  # the record has the pairs; log, settings and figures stay


@dataclass(frozen=True)
class Plan:
    """What goes: versions and runs by number, folders put aside by their path in the data dir; the bytes this frees."""

    versions: tuple[int, ...]
    runs: tuple[int, ...]
    bytes: int
    aside: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in a sentence."""
        versions = [f"version {number}" for number in self.versions]
        told = [*versions, *(f"the files of run {run}" for run in self.runs), *self.aside]
        if not told:
            return "Nothing is to be pruned."
        return f"{', '.join(told)}: {self.bytes / GB:.3f} GB."


def plan(store: Store, data: DataSettings, settings: DiskSettings) -> Plan:
    """Choose what goes, by the rule."""
    versions = store.versions_on_disk()
    sizes = {v.number: _size(data.data_dir / v.path) for v in versions}
    free = [v.number for v in versions if not v.kept_for]
    newest = {v.number for v in versions[-settings.keep_versions :]}
    going = [number for number in free if number not in newest]
    left = sum(sizes.values()) - sum(sizes[number] for number in going)
    for number in (n for n in free if n in newest):
        if settings.keep_gb and left > settings.keep_gb * GB:
            going.append(number)
            left -= sizes[number]
    runs = [run for run in store.ended_runs()[: -settings.keep_runs] if _files_of(data, run)]
    aside = _aside(store, data)
    freed = sum(sizes[number] for number in going) + sum(_size(f) for run in runs for f in _files_of(data, run))
    freed += sum(map(_size, aside))
    return Plan(tuple(going), tuple(runs), freed, tuple(str(folder.relative_to(data.data_dir)) for folder in aside))


def prune(store: Store, data: DataSettings, settings: DiskSettings) -> Plan:
    """Delete what the rule says; return what went. For whoever holds the lock.

    What a run that was cut off goes on with stays: a full disk may be why it cannot.
    """
    chosen = plan(store, data, settings)
    for number in chosen.versions:
        try:
            store.mark_pruned(number)
        except RapportError as error:  # somebody promoted or pinned it a moment ago
            log.info("%s", error)
    for path in store.pruned_paths():
        folder = data.data_dir / path
        if folder.exists():
            folder.rename(folder.with_name(f"{GOING}{folder.name}"))
    settled(store, data)
    for run in chosen.runs:
        for file in _files_of(data, run):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    for path in chosen.aside:
        delete(data.data_dir / path)
    if chosen.versions or chosen.runs or chosen.aside:
        log.info("pruned: %s", chosen)
    return chosen


def _aside(store: Store, data: DataSettings) -> list[Path]:
    """List the folders that runs put aside, but for those of the newest run: somebody may want to look first."""
    newest = {str(run.id) for run in store.runs(limit=1)}
    versions = [(folder, folder.name.rpartition("-")[2]) for folder in data.versions_dir.glob(f"[0-9]*{ASIDE}*")]
    runs = [(folder, folder.name.partition(".")[0]) for folder in data.runs_dir.glob(f"[0-9]*{ASIDE}*")]
    return [folder for folder, run in sorted([*versions, *runs]) if run not in newest]


def _files_of(data: DataSettings, run: int) -> list[Path]:
    return [path for name in _OF_OLD_RUNS if (path := data.runs_dir / str(run) / name).exists()]


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
