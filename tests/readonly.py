"""Folders that cannot be written, for whoever runs the tests."""

import os
from pathlib import Path

import pytest


def cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the right to write a folder and its files; root keeps it, so there the question is answered instead."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():  # what it leads to is somebody else's
            path.chmod(path.stat().st_mode & ~0o222)
    if os.access(folder, os.W_OK):
        real = os.access
        monkeypatch.setattr(
            os,
            "access",
            lambda path, mode: not (mode & os.W_OK and Path(path).is_relative_to(folder)) and real(path, mode),
        )


def state(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder with what they hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
