"""A data dir without a model, and databases that hold nothing yet."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.settings import DataSettings
from feedback.store import Store
from tests.databases import SERVER, database, url_of


@pytest.fixture
def data(tmp_path: Path, elsewhere: str) -> DataSettings:
    """Settings of an empty data dir."""
    return DataSettings(data_dir=tmp_path / "data", database_url=elsewhere)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The URL of a database that holds nothing yet."""
    if SERVER:
        with database() as name:
            yield url_of(name)
    else:
        yield f"sqlite:///{tmp_path / 'chat.db'}"


@pytest.fixture
def empty(tmp_path: Path, migrated: str) -> Iterator[Store]:
    """Another fresh record, to import into."""
    if SERVER:
        with database(migrated) as name:
            opened = Store.open(url_of(name))
            yield opened
            opened.close()
    else:
        opened = Store.open(f"sqlite:///{shutil.copy(migrated, tmp_path / 'empty.db')}")
        yield opened
        opened.close()
