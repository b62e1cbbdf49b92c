"""The store: every read and write of the record, as verbs. The verbs stand in the modules named here.

Whatever a verb has returned from is on disk. No session outlives a verb, so none is held while a model
writes.
"""

from typing import Self

from feedback.asking import Asking
from feedback.cards import Cards
from feedback.comparisons import Comparisons
from feedback.computing import Computing
from feedback.conversations import Conversations
from feedback.counting import Counting
from feedback.database import Database
from feedback.diary import Diaries
from feedback.erasing import Erasing
from feedback.exchange import Exchange
from feedback.frozen import Datasets
from feedback.harvest import Harvest
from feedback.insight import Insight
from feedback.lineage import Lineage
from feedback.permission import Permissions
from feedback.personas import Personas
from feedback.pruning import Pruning
from feedback.ratings import Ratings, person
from feedback.reviews import Reviews
from feedback.revocation import Revocations
from feedback.runs import Runs
from feedback.schema import LOCAL, Person
from feedback.seen import Seen
from feedback.tally import Tallies
from feedback.turns import Turns


class Store(
    Permissions,
    Conversations,
    Personas,
    Turns,
    Comparisons,
    Ratings,
    Counting,
    Harvest,
    Reviews,
    Insight,
    Asking,
    Tallies,
    Runs,
    Diaries,
    Computing,
    Datasets,
    Cards,
    Pruning,
    Lineage,
    Revocations,
    Erasing,
    Seen,
    Exchange,
):
    """The record of one data dir (or one database)."""

    @classmethod
    def open(cls, url: str, begins: bool = True, reads: bool = False) -> Self:
        """Open the database at an SQLAlchemy URL, migrated and with its one person. Raises BadInput.

        Unless it `begins` a record, an empty database is left so: raises NoRecord (see `existing.py`). Who only
        `reads` may open one that cannot be written.
        """
        store = cls(Database(url, begins, reads))
        with store.reading() as session:
            known = store.read_only or session.get(Person, LOCAL) is not None
        if not known:
            with store.writing() as session:
                person(session, LOCAL)
                session.get_one(Person, LOCAL).role = "admin"
        return store

    @property
    def read_only(self) -> bool:
        """Whether the record cannot be written where it lies; only verbs that read work then."""
        return self._database.read_only

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()
