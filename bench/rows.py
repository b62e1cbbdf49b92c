"""Rows of a long bench, kept in a file as they come, so that it can be broken off and taken up again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import machine

Row = dict[str, Any]


class Rows:
    """What was measured so far. Rows without figures (`error`, `skipped`) are left behind when a file is taken up.

    A row bears the device that it was measured on; one of a file that knew none is the CPU's.
    """

    def __init__(self, file: Path | None, threads: int):
        self.file, self.threads, self.device = file, threads, machine.name(machine.device())
        found = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}
        self.all: list[Row] = [row for row in found.get("rows", []) if measured(row)]

    @property
    def here(self) -> list[Row]:
        """The rows of this device."""
        return [row for row in self.all if row.get("device", "cpu") == self.device]

    def find(self, key: Mapping[str, Any]) -> Row | None:
        """Return this device's row with these values."""
        return next((row for row in self.here if key.items() <= row.items()), None)

    def add(self, row: Row) -> Row:
        """Take a row in, and write all of them down."""
        row = row | {"device": self.device}
        self.all.append(row)
        if self.file:
            about = machine.facts(machine.device(), self.threads)
            partial = self.file.with_name(self.file.name + ".partial")
            partial.write_text(json.dumps({"machine": about, "rows": self.all}, indent=1), encoding="utf-8")
            partial.replace(self.file)
        return row


def measured(row: Mapping[str, Any]) -> bool:
    """Tell whether a row has figures."""
    return not {"error", "skipped"} & row.keys()


def reason(row: Mapping[str, Any]) -> str:
    """Say why a row has none."""
    return f"skipped: {row['skipped']}" if "skipped" in row else f"failed: {row['error']}"


def sentence(error: Exception) -> str:
    """Write an error as a row's reason."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
