"""The connection: how SQLite is set up, migrations, and several at it at once."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import IntegrityError

import feedback
from feedback.database import Database
from feedback.errors import BadInput
from feedback.formats import Incoming, IncomingMessage
from feedback.schema import Base, Message, Rating, Reply
from feedback.settings import DataSettings
from feedback.store import Store
from tests.databases import of_sqlite
from tests.feedback.talk import answer, ask, say

ROOT = Path(__file__).parents[2]


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Do the work in so many threads that start at the same moment."""
    barrier = Barrier(count)

    def one(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@of_sqlite
@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
@pytest.mark.parametrize("side", ["reading", "writing"])
def test_every_connection_is_set_up_to_keep_what_it_commits(store: Store, side: str, pragma: str, value: Any) -> None:
    with getattr(store, side)() as session:
        assert session.scalar(text(f"PRAGMA {pragma}")) == value


def test_the_migrations_lead_to_the_models(url: str) -> None:
    database = Database(url)
    with database.engine.connect() as connection:
        # The search index is SQLite's own and stands in no model.
        ours = {"compare_type": True, "include_name": lambda name, kind, _: not str(name).startswith("message_search")}
        context = MigrationContext.configure(connection, opts=ours)
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_opening_again_neither_migrates_nor_loses_anything(url: str) -> None:
    first = Store.open(url)
    conversation = ask(first, "Is this kept?")
    first.close()
    again = Store.open(url)
    assert [said.content for said in again.history(conversation)] == ["Is this kept?"]
    again.close()


def test_a_newer_schema_is_refused_and_left_as_it_is(url: str) -> None:
    database = Database(url)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(BadInput, match=r"'9999'.*update Rapport"):
        Store.open(url)
    with database.reading() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    database.close()


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        "",
        "foo://u:secret@h:1/db",
        "postgresql://u:secret@h:abc/db",
        "sqlite:///{tmp}/garbage.db",
        "sqlite:///{tmp}/garbage.db/under/chat.db",
        "sqlite:///{tmp}",
    ],
)
def test_what_cannot_be_opened_is_named_in_one_sentence_without_its_password(tmp_path: Path, bad: str) -> None:
    (tmp_path / "garbage.db").write_bytes(b"no database at all" * 500)
    with pytest.raises(BadInput, match=r"cannot be opened.*check --data-dir and --database-url") as caught:
        Store.open(bad.format(tmp=tmp_path))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["wh?at", "per%cent", "pl%41us", "ha#sh", "sp ace&x=1", "größe", "semi;colon"])
def test_the_record_lies_in_its_data_dir_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    settings = DataSettings(data_dir=tmp_path / name)
    Store.open(settings.database).close()
    assert (settings.data_dir / "chat.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_row_that_refers_to_nothing_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError), store.writing() as session:
        session.add(Reply(message_id="nobody", version=0, sampling={}, prompt=[], writer="x"))


def test_a_block_that_fails_leaves_nothing_behind(store: Store) -> None:
    conversation = ask(store)
    with pytest.raises(RuntimeError), store.writing() as session:
        session.add(Message(id="half", conversation_id=conversation, seq=2, role="user", content="half"))
        session.flush()
        raise RuntimeError
    assert len(store.history(conversation)) == 1


@pytest.mark.parametrize("attempt", range(6))  # a race: one attempt in five showed SQLite refusing to wait
def test_several_may_open_a_fresh_record_at_the_same_moment(url: str, attempt: int) -> None:
    stores = together(4, lambda _: Store.open(url))
    assert {store.stats()["conversations"] for store in stores} == {0}
    for store in stores:
        store.close()


OPENING = """
import sys
from feedback.store import Store
print("ready", flush=True)
sys.stdin.readline()
store = Store.open(sys.argv[1])
store.add_base("tiny")
print(store.promotions())
"""


def test_several_processes_may_begin_a_record_at_the_same_moment(url: str) -> None:
    command = [sys.executable, "-c", OPENING, url]
    started = [Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, cwd=ROOT) for _ in range(3)]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], told
    assert len({out for out, _ in told}) == 1  # one base model, promoted once


def test_writers_at_the_same_moment_wait_for_each_other_and_lose_nothing(url: str) -> None:
    stores = [Store.open(url) for _ in range(4)]
    conversation = stores[0].new_conversation()

    def work(number: int) -> None:
        for turn in range(8):
            say(stores[number], conversation, f"{number}.{turn}")

    together(4, work)
    said = stores[0].history(conversation)
    assert sorted(m.content for m in said) == sorted(f"{n}.{t}" for n in range(4) for t in range(8))
    for store in stores:
        store.close()


def test_a_reader_sees_one_state_while_somebody_writes(url: str) -> None:
    reader, writer = Store.open(url), Store.open(url)
    conversation = ask(writer, "before")
    with reader.reading() as session:
        count = session.query(Message).count()
        say(writer, conversation, "meanwhile")
        assert session.query(Message).count() == count == 1
    assert len(reader.history(conversation)) == 2
    reader.close()
    writer.close()


def test_who_reads_on_postgresql_asks_for_one_state_of_the_record_and_who_writes_does_not(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = SimpleNamespace(paramstyle="pyformat", __version__="1.31.2")  # no server is called
    engine = create_engine("postgresql+pg8000://nobody@nowhere/db", module=driver)
    monkeypatch.setattr("feedback.database.create_engine", lambda *_, **__: engine)
    monkeypatch.setattr(Database, "_migrate", lambda *_: None)
    database = Database("postgresql+pg8000://nobody@nowhere/db")
    with database.reading() as session:
        assert session.get_bind().get_execution_options()["isolation_level"] == "REPEATABLE READ"
    with database._write() as session:
        assert "isolation_level" not in session.get_bind().get_execution_options()


@of_sqlite
def test_on_sqlite_nothing_is_asked_for_as_it_reads_one_state_anyway(store: Store) -> None:
    with store.reading() as session:
        assert "isolation_level" not in session.get_bind().get_execution_options()


def test_what_was_taken_in_before_files_dates_were_kept_has_the_time_that_it_had(url: str) -> None:
    store = Store.open(url)
    store.rate(answer(store, ask(store)), 1)
    then = datetime(2023, 5, 1, tzinfo=UTC)
    liked = IncomingMessage("assistant", "a", rating=1, correction="b")
    assert store.take_in([Incoming("there", (IncomingMessage("user", "q"), liked), created_at=then)]) == [None]
    store.close()
    config = Config()
    config.set_main_option("script_location", str(Path(feedback.__file__).parent / "migrations"))
    database = Database(url)
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0007")
    database.close()
    again = Store.open(url)
    there, here = again.feedback()
    assert there.corrected_at == there.changed_at == there.said_at and there.imported == ("local",)
    assert here.imported == ()
    with again.reading() as session:
        assert session.scalars(select(Rating.said_at).order_by(Rating.id)).all() == [None, then]
    again.close()
