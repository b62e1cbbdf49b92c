"""Fresh records by the hundred: migrated once, then copied."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.settings import DataSettings
from feedback.store import Store


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a fresh record."""
    path = tmp_path_factory.mktemp("migrated") / "chat.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    """Settings of an empty data dir."""
    return DataSettings(data_dir=tmp_path / "data")


@pytest.fixture
def store(data: DataSettings, migrated: Path) -> Iterator[Store]:
    """A fresh record."""
    data.data_dir.mkdir()
    shutil.copy(migrated, data.data_dir / "chat.db")
    opened = Store.open(data.database)
    yield opened
    opened.close()


@pytest.fixture
def empty(tmp_path: Path, migrated: Path) -> Iterator[Store]:
    """Another fresh record, to import into."""
    opened = Store.open(f"sqlite:///{shutil.copy(migrated, tmp_path / 'empty.db')}")
    yield opened
    opened.close()
