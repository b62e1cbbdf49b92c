"""What went wrong with the database, as one sentence for a person: a full disk, a lock, or that it is out of reach."""

import sqlite3
from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

DatabaseTrouble = SQLAlchemyError  # whatever a verb of the record raises that is no named error

# SQLite's result codes (https://www.sqlite.org/rescode.html), PostgreSQL's SQLSTATE (its manual, appendix A)
_FULL = (sqlite3.SQLITE_FULL, "53100")
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, "55P03", "40P01", "40001")
_READONLY = (sqlite3.SQLITE_READONLY, "25006")


def in_words(error: DatabaseTrouble) -> str:
    """Say what happened and what to do, with nothing of the statement that failed."""
    codes = set(_codes(error))
    if codes.intersection(_FULL):
        return "This was not done, as the disk is full; free some space, then try again."
    if codes.intersection(_BUSY):
        return "This was not done, as something else was writing to the record all the while; try again in a moment."
    if codes.intersection(_READONLY):
        return "This was not done, as the record may not be written to; let Rapport write to its data dir, try again."
    return "The record cannot be reached, so this was not done; try again, and if it stays so, look into the log."


def _codes(error: BaseException | None) -> Iterator[int | str | None]:
    """Yield what the driver said, of what went wrong first too: SQLite undoes all by itself, and undoing then fails."""
    while error is not None:
        driver = getattr(error, "orig", None)
        number = getattr(driver, "sqlite_errorcode", None)
        yield getattr(driver, "sqlstate", None) if number is None else number & 0xFF  # the rest of it says which kind
        error = error.__context__
