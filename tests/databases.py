"""Where tests keep a record: a file each, or a database each on the PostgreSQL server that TEST_DATABASE_URL names.

`make proof-postgres` starts such a server; the URL's user must be one who may make databases.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine, make_url, text

SERVER = os.environ.get("TEST_DATABASE_URL", "")

of_sqlite = pytest.mark.skipif(bool(SERVER), reason="about SQLite's file, its settings or its search index")
of_postgres = pytest.mark.skipif(not SERVER, reason="needs a PostgreSQL server: make proof-postgres")


@contextmanager
def database(copied_from: str = "template1") -> Iterator[str]:
    """Make a database on the server, empty or as another one is; yield its name, and drop it at the end."""
    name = f"rapport_{uuid.uuid4().hex}"
    _on_server(f"CREATE DATABASE {name} TEMPLATE {copied_from}")
    yield name
    _on_server(f"DROP DATABASE {name} WITH (FORCE)")


def url_of(name: str) -> str:
    """Return the URL of a database on the server."""
    return make_url(SERVER).set(database=name).render_as_string(hide_password=False)


def _on_server(statement: str) -> None:
    engine = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
