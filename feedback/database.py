"""The connection to the record: how SQLite is set up, and which migration it is at.

SQLite runs in WAL mode with full synchronisation and foreign keys. A writer says BEGIN IMMEDIATE, so
that it waits for its turn at the start instead of failing with "database is locked" in the middle.
"""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session, sessionmaker

from feedback.as_it_lies import as_it_lies, cannot_be_written
from feedback.errors import BadInput, Busy, RapportError

_LOCK_WAIT_S = 30
_MIGRATING = 0x5261_7070_6F72_74  # names our lock among those that a PostgreSQL server keeps for its applications


class NoRecord(RapportError):
    """There is no record where one was to be read."""


class Database:
    """One database, migrated to the newest schema; gives out short sessions for reading and writing."""

    def __init__(self, url: str, begins: bool = True, reads: bool = False):
        """Open `url` and migrate it. Raises BadInput when it cannot be opened or is newer than this code.

        Unless it `begins` a record, one that is empty is left so: raises NoRecord. Who only `reads` may open an SQLite
        file that cannot be written; that is not migrated: raises BadInput if it is older than this code, too.
        """
        try:
            self.read_only = reads and cannot_be_written(url)
            where = as_it_lies(url) if self.read_only else url
            # What people wrote goes into no log, whatever fails.
            # Before a connection is used it is asked whether it lives: a server that was restarted has closed it.
            self.engine = create_engine(
                where, connect_args=_connect_args(url, begins), hide_parameters=True, pool_pre_ping=True
            )
            if self.engine.dialect.name == "sqlite":
                _set_up_sqlite(self.engine, self.read_only)
            self._writer = self.engine.execution_options(begin_immediate=not self.read_only)
            self._migrate(begins)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, DBAPIError, OSError, ValueError) as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise BadInput(
                f"The database {_without_password(url)!r} cannot be opened: {reason}; "
                "check --data-dir and --database-url."
            ) from error
        self._read = sessionmaker(_of_one_state(self.engine), expire_on_commit=False)
        self._write = sessionmaker(self._writer, expire_on_commit=False)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session that sees one state of the record."""
        with self._read() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session whose changes are all on disk when the block ends, or none of them."""
        with self._write.begin() as session:
            yield session

    def rewrite(self) -> None:
        """Leave in SQLite's file and log no byte of what was deleted; other databases see to that themselves.

        VACUUM writes the file anew (https://www.sqlite.org/lang_vacuum.html), where `secure_delete` would pass by what
        was freed before. Raises Busy while somebody reads, and sqlite3.Error.
        """
        if self.engine.dialect.name != "sqlite":
            return
        with closing(self.engine.raw_connection()) as connection:  # outside a transaction
            cursor = connection.cursor()
            cursor.execute("VACUUM")
            busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Busy("somebody was reading all the while")

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()

    def _migrate(self, begins: bool) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        scripts = ScriptDirectory.from_config(config)
        with self._writer.begin() as connection:
            if self.engine.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
                connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
            at = MigrationContext.configure(connection).get_current_revision()
            if at == scripts.get_current_head():
                return
            if at is None and not begins:
                raise NoRecord(f"The database {_without_password(str(self.engine.url))!r} holds no record.")
            if at is not None and at not in {script.revision for script in scripts.walk_revisions()}:
                raise BadInput(
                    f"The database is at schema {at!r}, which this version of Rapport does not know; update Rapport."
                )
            if self.read_only:
                raise BadInput(
                    f"The database is at schema {at!r}, older than this version of Rapport reads, and cannot be "
                    "migrated where it cannot be written; copy its folder to where it can, and name it by --data-dir."
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _of_one_state(engine: Engine) -> Engine:
    """Have all that a session reads be of one moment, as SQLite does anyway; PostgreSQL's own way is one a statement.

    Who writes keeps that: having waited for a lock, it must see what was written meanwhile.
    """
    if engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ")


def _connect_args(url: str, begins: bool) -> dict[str, Any]:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return {}
    if parsed.database and begins:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    return {"timeout": _LOCK_WAIT_S}


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        return re.sub(r"//.*@", "//***@", url)


def _switch_to_wal(connection: Any) -> None:
    """Wait for our turn ourselves: when several switch a fresh file at once, SQLite fails at once instead."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _set_up_sqlite(engine: Engine, read_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so, below
        if read_only:
            return
        _switch_to_wal(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("begin_immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
