"""The end of a log file, whatever its size."""

import os
from pathlib import Path

_A_LINE = 400  # bytes; of longer ones fewer are read


def tail(file: Path, lines: int) -> list[str]:
    """Return at most `lines` last lines of a file, none if it is not there."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            begin = max(0, size - max(1, lines) * _A_LINE)
            opened.seek(begin)
            found = opened.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return found[1 if begin else 0 :][-max(1, lines) :]
