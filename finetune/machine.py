"""What a machine has left: disk and GPU memory, as a schedule asks for it; and how a run steps back on it."""

import logging
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from feedback.errors import RapportError
from feedback.settings import DataSettings
from finetune.settings import DiskSettings, ScheduleSettings

log = logging.getLogger("rapport.schedule")
GB = 1e9
_NICE = 5  # a third of what another busy thread gets on the same core
_ASK_S = 10.0


class NoRoom(RapportError):
    """There is too little disk to begin a run."""


@dataclass(frozen=True)
class Machine:
    """What is free, in GB; None where it is not known, or not asked for."""

    disk: float | None = None
    gpu: float | None = None


def machine_now(data: DataSettings, schedule: ScheduleSettings) -> Machine:
    """Look at what is free; at the GPU only where the schedule asks for it."""
    return Machine(free_disk(data), free_gpu() if schedule.min_free_gpu else None)


def free_disk(data: DataSettings) -> float:
    """Return the free disk where the data dir lies, in GB."""
    return shutil.disk_usage(data.data_dir).free / GB


def short_of_disk(free: float | None, settings: DiskSettings) -> str:
    """Say that there is too little disk for a run, with the figures; empty where there is enough."""
    if free is None or free >= settings.min_free_disk:
        return ""
    return (
        f"{free:.2f} GB of disk are free and a run begins with {settings.min_free_disk:g} at least; free some, "
        "prune versions (--keep-versions), or lower --min-free-disk."
    )


def require_disk(data: DataSettings, settings: DiskSettings) -> None:
    """Raise NoRoom if there is too little disk for a run."""
    problem = short_of_disk(free_disk(data), settings)
    if problem:
        raise NoRoom(problem)


def free_gpu() -> float | None:
    """Return the free memory of the first GPU that is to be used, in GB; None without one.

    The driver's own program is asked: torch would keep a part of that memory for having looked.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    asked = [program, f"--id={chosen}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=_ASK_S, check=True).stdout
        return float(told.split()[0]) * 2**20 / GB
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        log.warning("The free GPU memory is not known: %s", error)
        return None


def step_back() -> None:
    """Let everything else on this machine go before this process.

    Linux may schedule by terminal session (autogroup): niceness then counts only within one session, and a run that
    leads a session of its own would share the cores evenly with the whole chat app. So such a session is put back as
    a whole. Where that cannot be done, or another system runs, niceness alone has to do.
    """
    psutil.Process().nice(_NICE if os.name == "posix" else psutil.BELOW_NORMAL_PRIORITY_CLASS)
    group = Path("/proc/self/autogroup")
    if group.exists() and os.getsid(0) == os.getpid():
        try:
            group.write_text(str(_NICE))
        except OSError as error:
            log.info("The session keeps its priority: %s", error)
