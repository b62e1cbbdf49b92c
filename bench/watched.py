"""A process from start to end: how long it took, and the most memory that it and its children held."""

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_EVERY_S = 0.1


@dataclass(frozen=True)
class Ended:
    """How a process ended; `peak` in bytes of resident memory."""

    code: int
    seconds: float
    peak: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line that it printed."""
        return (self.stdout.strip().splitlines() or [""])[-1]

    @property
    def complaint(self) -> str:
        """The last line of what it had to complain about."""
        return f"exit code {self.code}: {(self.stderr.strip().splitlines() or [''])[-1][:300]}"


def watched(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Ended:
    """Run a command in `folder` to its end, looking at its memory ten times a second."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peaks, over = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks, over), daemon=True)
    watcher.start()
    try:
        stdout, stderr = process.communicate()
    finally:
        process.kill()  # nothing to one that has ended; a bench that is broken off leaves nobody behind
        over.set()
        watcher.join()
    seconds = time.monotonic() - began
    return Ended(process.returncode, seconds, max(peaks), stdout, stderr)


def _watch(pid: int, peaks: list[int], over: threading.Event) -> None:
    while not over.wait(_EVERY_S):
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
            peaks.append(max(sum(each.memory_info().rss for each in tree), _high_water(pid)))
        except psutil.Error:  # one of them ended just now
            continue


def _high_water(pid: int) -> int:
    """Return the most that one process ever held, as Linux keeps it; elsewhere 0."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024
