"""What every test may use: a tiny model, a data dir, a store; and the promise that nothing is fetched."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads of a sum wait for each other: where workers share the cores, two of them are slower than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in [name for name in os.environ if name.startswith("RAPPORT_")]:
    del os.environ[name]

import certifi
import pytest

from feedback.settings import DataSettings
from feedback.store import Store
from tests.databases import SERVER, database, url_of

# Files that take a worker a minute or more, longest first.
_LONGEST = ("bench", "scheduler", "pipeline", "exchange", "spread", "crash")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: left to the end, they keep one worker busy for minutes, and the others idle."""
    places = {f"test_{name}.py": place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let clients trust one authority: httpx reads all of them for every request of a client of its own, in 25 ms.

    Nothing here is reached by TLS.
    """
    end = "-----END CERTIFICATE-----\n"
    first = Path(certifi.where()).read_text(encoding="utf-8").split(end)[0] + end
    file = tmp_path_factory.mktemp("certificates") / "one.pem"
    file.write_text(first, encoding="utf-8")
    os.environ["SSL_CERT_FILE"] = str(file)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny chat model."""
    from tests.tiny import make_tiny  # torch takes seconds to import, and the record's tests need none

    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh record that is copied: its file, or the name of its database on the server."""
    if SERVER:
        with database() as name:
            Store.open(url_of(name)).close()
            yield name
    else:
        path = tmp_path_factory.mktemp("migrated") / "chat.db"
        Store.open(f"sqlite:///{path}").close()
        yield str(path)


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of `data`'s database, "" for its file; on a server commands are told of it, and it is empty or a copy."""
    if not SERVER:
        yield ""
        return
    copied_from = request.getfixturevalue("migrated") if "store" in request.fixturenames else "template1"
    with database(copied_from) as name:
        monkeypatch.setenv("RAPPORT_DATABASE_URL", url_of(name))
        yield url_of(name)


@pytest.fixture
def data(tmp_path: Path, tiny: Path, elsewhere: str) -> DataSettings:
    """Settings of an empty data dir whose base model is the tiny one."""
    return DataSettings(data_dir=tmp_path / "data", base_model=str(tiny), database_url=elsewhere)


@pytest.fixture
def store(data: DataSettings, migrated: str) -> Iterator[Store]:
    """A fresh record, by the hundred: migrated once, then copied. One that lies there already stays."""
    file = data.data_dir / "chat.db"
    if not SERVER and not file.exists():
        data.data_dir.mkdir(exist_ok=True)
        shutil.copy(migrated, file)
    opened = Store.open(data.database)
    yield opened
    opened.close()
