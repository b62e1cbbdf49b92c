"""Files in and out: a whole file imported or exported through the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from feedback.again import Before
from feedback.errors import BadInput
from feedback.exchange import DELETED
from feedback.formats import BadLine, Incoming, line_of, read_lines
from feedback.store import Store
from feedback.trl import trl_lines

OWN = "own"
_BATCH = 200  # lines in one transaction


@dataclass
class ImportReport:
    """What an import did: lines taken in, the bad ones, and how many are of conversations that were deleted here."""

    taken: int = 0
    bad: list[BadLine] = field(default_factory=list)
    deleted: int = 0


def import_file(store: Store, path: Path, report: ImportReport | None = None) -> ImportReport:
    """Take in every good line of a file; name the bad ones. Raises BadInput if it cannot be read."""
    with opened(path) as lines:
        return import_lines(store, lines, report)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to import, before the record that it goes to is begun. Raises BadInput if it cannot be read."""
    try:
        with path.open("rb") as lines:
            yield lines
    except OSError as error:
        raise BadInput(f"The file {str(path)!r} cannot be read: {error.strerror}.") from error


def import_lines(store: Store, lines: BinaryIO, report: ImportReport | None = None) -> ImportReport:
    """Take in every good line; name the bad ones.

    `report` is written as the lines are read, for who wants to know how far it came.
    """
    report, there = report or ImportReport(), store.before_import()
    batch: list[tuple[int, Incoming]] = []
    for number, parsed in read_lines(lines):
        if isinstance(parsed, BadLine):
            report.bad.append(parsed)
        else:
            batch.append((number, parsed))
        if len(batch) == _BATCH:
            _take(store, batch, report, there)
            batch = []
    _take(store, batch, report, there)
    report.bad.sort(key=lambda line: line.number)
    return report


def export_file(store: Store, path: Path, form: str = OWN) -> int:
    """Write every conversation in our own format, or what is good and bad as rows for TRL (see `trl.py`).

    Under a temporary name until it is whole; returns the number of lines.
    """
    lines = map(line_of, store.give_out()) if form == OWN else trl_lines(store.feedback(), form)
    count = 0
    # A pipe or a device: nothing to rename, and what /dev/stdout leads to is not ours to replace.
    special = path.is_relative_to("/dev") or (path.exists() and not path.is_file())
    target = path if special else path.resolve()
    partial = target if special else target.with_name(target.name + ".partial")
    try:
        with partial.open("a" if special else "w", encoding="utf-8") as out:
            for line in lines:
                out.write(line)
                count += 1
        if not special:
            partial.replace(target)
    except OSError as error:
        raise BadInput(f"The file {str(path)!r} cannot be written: {error.strerror}.") from error
    return count


def _take(store: Store, batch: list[tuple[int, Incoming]], report: ImportReport, there: Before) -> None:
    reasons = store.take_in([incoming for _, incoming in batch], there)
    for (number, _), reason in zip(batch, reasons, strict=True):
        if reason is None:
            report.taken += 1
        elif reason == DELETED:
            report.deleted += 1
        else:
            report.bad.append(BadLine(number, reason))
