"""Trouble with the database in words: what happened and what to do, and nothing of the statement."""

import sqlite3

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError, TimeoutError

from feedback.schema import Message
from feedback.trouble import DatabaseTrouble, in_words

STATEMENT = str(select(Message))


def of_sqlite(code: int) -> OperationalError:
    cause = sqlite3.OperationalError("database is in trouble")
    cause.sqlite_errorcode = code
    return OperationalError(STATEMENT, {"text": "what was typed"}, cause)


def of_postgres(state: str | None) -> OperationalError:
    cause = RuntimeError("could not extend file")
    cause.sqlstate = state  # type: ignore[attr-defined]
    return OperationalError(STATEMENT, {"text": "what was typed"}, cause)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (of_sqlite(sqlite3.SQLITE_FULL), "disk is full; free some space"),
        (of_postgres("53100"), "disk is full; free some space"),
        (of_sqlite(sqlite3.SQLITE_BUSY), "something else was writing"),
        (of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), "something else was writing"),
        (of_postgres("55P03"), "something else was writing"),
        (of_postgres("40P01"), "something else was writing"),
        (of_sqlite(sqlite3.SQLITE_READONLY_DIRECTORY), "may not be written to"),
        (of_sqlite(sqlite3.SQLITE_IOERR), "cannot be reached"),
        (of_postgres(None), "cannot be reached"),
        (TimeoutError("QueuePool limit of size 5 overflow 10 reached"), "cannot be reached"),
    ],
)
def test_trouble_is_one_sentence_with_what_to_do(error: DatabaseTrouble, said: str) -> None:
    words = in_words(error)
    assert said in words and "try again" in words and words.endswith(".")
    for word in ("SELECT", "messages", "typed", "QueuePool", "sqlite", "\n"):
        assert word not in words
