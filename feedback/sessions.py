"""What every group of verbs stands on: a way to read and a way to write."""

from contextlib import AbstractContextManager

from sqlalchemy.orm import Session

from feedback.database import Database


class Sessions:
    """Holds the database; only the store's groups of verbs open a session on it."""

    def __init__(self, database: Database):
        """Take over an open database."""
        self._database = database

    def reading(self) -> AbstractContextManager[Session]:
        """Give a session that sees one state of the record."""
        return self._database.reading()

    def writing(self) -> AbstractContextManager[Session]:
        """Give a session whose changes are all on disk when the block ends, or none of them."""
        return self._database.writing()
