"""Who is writing a row: a process on a host, so that a row whose writer is gone can be told from a live one."""

import os
import socket
from functools import cache

import psutil

_CLOCK_STEP_S = 5.0  # a start time is reckoned from the system clock, which may be set right meanwhile


def this_writer() -> str:
    """Name this process: host, process id and start time (a process id alone is used again)."""
    return _name_of(os.getpid())


def is_here(writer: str) -> bool:
    """Tell whether `writer` is a process of this host."""
    return writer.split("|")[0] == socket.gethostname()


def is_dead(writer: str) -> bool:
    """Tell whether `writer` surely no longer runs; a writer on another host is never surely dead."""
    _, pid, started = writer.split("|")
    if not is_here(writer) or writer == this_writer():
        return False
    try:
        process = psutil.Process(int(pid))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return bool(abs(process.create_time() - float(started)) > _CLOCK_STEP_S)
    except psutil.NoSuchProcess:
        return True


@cache  # the same name for as long as the process lives, whatever the clock does
def _name_of(pid: int) -> str:
    return f"{socket.gethostname()}|{pid}|{psutil.Process(pid).create_time():.2f}"
