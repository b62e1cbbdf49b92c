"""The store: every read and write of the record, as verbs. The verbs stand in the modules named here.

Whatever a verb has returned from is on disk. No session outlives a verb, so none is held while a model
writes.
"""

from typing import Self

from feedback.comparisons import Comparisons
from feedback.computing import Computing
from feedback.conversations import Conversations
from feedback.database import Database
from feedback.diary import Diaries
from feedback.exchange import Exchange
from feedback.frozen import Datasets
from feedback.harvest import Harvest
from feedback.permission import Permissions
from feedback.personas import Personas
from feedback.pruning import Pruning
from feedback.ratings import Ratings, person
from feedback.reviews import Reviews
from feedback.runs import Runs
from feedback.schema import LOCAL, Person
from feedback.turns import Turns
from feedback.versions import Versions


class Store(
    Permissions,
    Conversations,
    Personas,
    Turns,
    Comparisons,
    Ratings,
    Harvest,
    Reviews,
    Runs,
    Diaries,
    Computing,
    Datasets,
    Versions,
    Pruning,
    Exchange,
):
    """The record of one data dir (or one database)."""

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at an SQLAlchemy URL, migrated and with its one person. Raises BadInput."""
        store = cls(Database(url))
        with store.reading() as session:
            known = session.get(Person, LOCAL) is not None
        if not known:
            with store.writing() as session:
                person(session, LOCAL)
                session.get_one(Person, LOCAL).role = "admin"
        return store

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
