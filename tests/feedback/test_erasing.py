"""Erasing: nothing that was said is left in the data dir, and all that is counted still adds up."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from sqlalchemy import JSON, Engine, Text, event, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from feedback import erase_command
from feedback.__main__ import main
from feedback.errors import BadInput, Busy, NotFound
from feedback.frozen import PairRow
from feedback.records import Opening
from feedback.schema import Base, Conversation, Message, Rating, now
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.transfer import ImportReport, export_file, import_file
from tests.databases import SERVER, of_sqlite
from tests.feedback.talk import ask, begin, exchange, give_to

SECRET = "zqxwv Kjhgf"
WORDS = b"zqxwv", b"Kjhgf"
PIECES = b"zqx", b"qxw"  # of which the search index is made


@pytest.fixture(autouse=True)
def plain_sqlite() -> Iterator[None]:
    """Have SQLite leave what is deleted where it is, as most builds of it do, though not those of Debian."""

    def leave(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA secure_delete=OFF")

    if SERVER:
        yield
        return
    event.listen(Engine, "connect", leave)
    yield
    event.remove(Engine, "connect", leave)


def run(data: DataSettings, *arguments: str) -> int:
    return main(["erase", *arguments, "--data-dir", str(data.data_dir)])


def left(folder: Path, *words: bytes) -> list[str]:
    """Name the files below a folder that hold one of the words."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in files if any(word in path.read_bytes() for word in words))


def told(store: Store) -> str:
    """Have a conversation with the secret wherever one can be told; return it."""
    own = store.keep_persona("Helper", "You help.")
    talk = store.new_conversation(opening=Opening(own, f"You know {SECRET}.", {"stop": [SECRET]}))
    store.add_base("tiny")
    asked, reply = store.begin_turn(talk, None, f"I am {SECRET}.", 0, {"stop": [SECRET]}, [])
    store.beat({reply: f"Hello {SECRET}, on the way"})
    store.end_reply(reply, f"Hello {SECRET}.", "complete", "end")
    store.rename(talk, SECRET)
    store.rate(reply, 1, [f"knows {SECRET}"], f"yes, {SECRET}")
    store.correct(reply, f"Good day, {SECRET}.")
    store.review(reply, "approved")
    failed = store.begin_reply(asked, 0, {}, [{"message": asked}])
    store.end_reply(failed, "", "error", error=f"{SECRET} was too much")
    return talk


def freeze(store: Store, data: DataSettings, *replies: str) -> int:
    """Make a run that learned from replies, with its files; return it."""
    run_id = store.open_run({})
    store.freeze_dataset(run_id, {}, {}, [PairRow(reply, None, "thumb_up", 1.0, "train") for reply in replies], now())
    folder = data.runs_dir / str(run_id) / "dataset"
    folder.mkdir(parents=True)
    (folder / "data-00000.arrow").write_text(" ".join(store.message(reply).content for reply in replies))
    (folder.parent / "log.txt").write_text("building")
    store.update_run(run_id, status="failed")
    return run_id


def reply_in(store: Store, talk: str) -> str:
    with store.reading() as session:
        (key,) = session.scalars(select(Rating.message_id).where(Rating.conversation_id == talk))
        return key


@of_sqlite
def test_no_byte_of_what_was_said_is_left_while_the_app_looks_on(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = told(store)
    run_id = freeze(store, data, reply_in(store, talk))
    assert set(left(data.data_dir, *WORDS)) >= {"data-00000.arrow"} and left(data.data_dir, *PIECES)
    assert run(data, talk, "--yes") == 0
    assert left(data.data_dir, *WORDS, *PIECES) == []
    assert (data.runs_dir / str(run_id) / "log.txt").exists()
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"1 conversation with 4 messages is erased, and the dataset files of run {run_id}" in printed.out


def test_what_others_said_stays(store: Store, data: DataSettings, tmp_path: Path) -> None:
    talk, other = told(store), exchange(store, "What is the Danube?", "A river.")
    store.rate(other, 1, ["clear"], "thanks")
    store.correct(other, "A long river.")
    before = store.message(other)
    mine, theirs = freeze(store, data, reply_in(store, talk)), freeze(store, data, other)
    assert run(data, talk, "--yes") == 0
    assert store.message(other) == before
    assert [found.line.id for found in store.search("Danube")] == [store.conversation_of(other)]
    assert not (data.runs_dir / str(mine) / "dataset").exists()
    assert (data.runs_dir / str(theirs) / "dataset").exists()


def test_it_is_in_nothing_that_is_listed_exported_or_learned(store: Store, data: DataSettings, tmp_path: Path) -> None:
    talk = told(store)
    reply = reply_in(store, talk)
    assert run(data, talk, "--yes") == 0
    assert [*store.conversations(), *store.search(SECRET), *store.search("hello")] == []
    assert list(store.feedback(kept=True)) == []
    assert export_file(store, tmp_path / "out.jsonl") == 0
    assert store.stats()["conversations"] == 0
    assert store.review_queue("unrated") == store.review_queue("corrected") == []
    with pytest.raises(NotFound):
        store.rate(reply, -1, comment=SECRET)
    with pytest.raises(NotFound):
        store.correct(reply, SECRET)


def test_what_was_learned_from_it_is_traced_as_of_one_that_was_deleted(store: Store, data: DataSettings) -> None:
    talk = told(store)
    reply = reply_in(store, talk)
    run_id = freeze(store, data, reply)
    version = store.next_version()
    store.add_version(version, "adapter", "versions/001", run_id, "promoted", "", {})
    store.delete(talk)
    before, taken_back = store.trace(conversation=talk), store.revoked()
    assert taken_back and before["pairs"]
    assert run(data, talk, "--yes") == 0
    assert store.trace(conversation=talk) == before == store.trace(message=reply)
    assert store.revoked() == taken_back
    assert store.version_saw(version).revoked == 1


def test_one_that_was_not_deleted_counts_as_taken_back(store: Store, data: DataSettings) -> None:
    talk = told(store)
    run_id = freeze(store, data, reply_in(store, talk))
    store.add_version(1, "adapter", "versions/001", run_id, "promoted", "", {})
    assert run(data, talk, "--yes") == 0
    (row,) = store.revoked()
    assert (row["what"], row["conversation"]) == ("conversation", talk)


def test_it_cannot_be_brought_back(store: Store, data: DataSettings) -> None:
    talk = told(store)
    assert run(data, talk, "--yes") == 0
    with pytest.raises(BadInput, match=rf"Conversation '{talk}' was erased; nothing is left to bring back\."):
        store.undelete(talk)


def test_a_file_that_holds_it_brings_nothing_back(store: Store, data: DataSettings, tmp_path: Path) -> None:
    said = [{"role": "user", "content": SECRET}, {"role": "assistant", "content": SECRET, "rating": 1}]
    rows = [{"conversation_id": "c", "title": SECRET, "messages": said}, {"messages": said}]
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_file(store, file)
    assert run(data, *(line.id for line in store.conversations()), "--yes") == 0
    assert import_file(store, file) == ImportReport(0, [], deleted=2)
    assert left(data.data_dir, *WORDS) == []


def test_a_reply_that_is_being_written_is_waited_for(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = ask(store, SECRET)
    reply = begin(store, talk)
    assert run(data, talk, "--yes") == 2
    assert capsys.readouterr().err == (
        f"A reply is still being written in conversation {talk!r}; stop it or wait for its end, then erase.\n"
    )
    store.end_reply(reply, "Done.", "complete", "end")
    assert store.history(talk)[0].content == SECRET
    assert run(data, talk, "--yes") == 0


def test_a_writer_that_was_taken_for_gone_writes_nothing_into_it(store: Store, data: DataSettings) -> None:
    talk = ask(store, "Who is it?")
    reply = begin(store, talk)
    with store.writing() as session:  # silent for too long: another process called it interrupted
        session.get_one(Message, reply).status = "interrupted"
    assert run(data, talk, "--yes") == 0
    store.end_reply(reply, SECRET, "complete", "end")
    assert store.message(reply).content == ""


def open_run(store: Store, data: DataSettings) -> Any:
    store.open_run({})


def held_lock(store: Store, data: DataSettings) -> Any:
    lock = FileLock(data.lock_file)
    lock.acquire()
    return lock


@pytest.mark.parametrize(
    ("begun", "sentence"), [(open_run, "Run 1 is not over yet"), (held_lock, "A run, or another erasing, is under way")]
)
def test_a_run_under_way_is_waited_for(
    store: Store,
    data: DataSettings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    begun: Callable[[Store, DataSettings], Any],
    sentence: str,
) -> None:
    monkeypatch.setattr(erase_command, "_WAIT_S", 0)
    talk = told(store)
    held = begun(store, data)
    assert run(data, talk, "--yes") == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence) and len(error.splitlines()) == 1
    assert store.history(talk)[0].content == f"You know {SECRET}."
    del held


def test_those_deleted_longer_ago_are_erased_and_no_others(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, there = (ask(store, f"{SECRET} {number}") for number in range(3))
    store.delete(old)
    store.delete(new)
    with store.writing() as session:
        session.get_one(Conversation, old).deleted_at = now() - timedelta(days=31)
    assert run(data, "--deleted-before", "30", "--yes") == 0
    assert "1 conversation with 1 message is erased" in capsys.readouterr().out
    store.undelete(new)
    assert {line.id for line in store.conversations()} == {new, there}
    assert run(data, "--deleted-before", "30", "--yes") == 0
    assert capsys.readouterr().out == "There is nothing to erase.\n"


def test_all_of_one_person_is_erased_their_personas_too(store: Store, data: DataSettings) -> None:
    other = ask(store, "Mine.")
    for _ in range(2):
        give_to(store, told(store), "ada")
    store.keep_persona(SECRET, SECRET, {"stop": [SECRET]}, owner="ada")
    assert run(data, "--person", "ada", "--yes") == 0
    assert left(data.data_dir, *WORDS) == []
    assert [line.id for line in store.conversations()] == [other]
    assert store.conversations(owner="ada") == [] and store.personas(owner="ada") == []
    assert [line.name for line in store.personas()] == ["Helper", "Helper"]


@pytest.mark.parametrize(("answer_given", "code", "erased"), [("yes", 0, True), ("y", 2, False), ("", 2, False)])
def test_it_asks_first(
    store: Store,
    data: DataSettings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer_given: str,
    code: int,
    erased: bool,
) -> None:
    talk = told(store)
    questions: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or answer_given)
    assert run(data, talk) == code
    assert questions == ["Erase 1 conversation with 4 messages for good? Backups are yours to delete. (yes/no) "]
    assert (store.conversations() == []) is erased
    assert ("Nothing was erased." in capsys.readouterr().err) is not erased


def test_nobody_to_ask_is_no(store: Store, data: DataSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    talk = told(store)
    assert run(data, talk) == 2
    assert len(store.conversations()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody"], "There is no conversation 'nobody'."),
        (["--person", "nobody"], "There is no person 'nobody'."),
    ],
)
def test_what_is_not_there_gets_one_sentence(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert run(data, *arguments, "--yes") == 2
    assert capsys.readouterr().err == sentence + "\n"


@pytest.mark.parametrize(
    "arguments", [[], ["c", "--person", "ada"], ["--deleted-before", "-1"], ["--deleted-before", "soon"]], ids=" ".join
)
def test_one_way_of_naming_them_is_given(store: Store, data: DataSettings, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(data, *arguments)
    assert caught.value.code == 2


@of_sqlite
def test_while_somebody_reads_the_file_keeps_its_bytes_and_that_is_said(
    store: Store, data: DataSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedback.database._LOCK_WAIT_S", 0.05)
    talk = told(store)
    with store.reading() as session:
        session.scalars(select(Message)).all()
        assert run(data, talk, "--yes") == 2
    error = capsys.readouterr().err
    assert "file still holds their bytes (somebody was reading" in error and len(error.splitlines()) == 1
    assert run(data, talk, "--yes") == 0
    assert left(data.data_dir, *WORDS) == []


def test_every_column_of_text_is_erased_or_known_to_hold_none(store: Store, data: DataSettings) -> None:
    kept = {
        "replies.prompt",  # ids
        *("personas.system_prompt", "personas.sampling"),  # a person's, whose other conversations hold it too
        *("runs.reason", "runs.settings", "runs.metrics", "run_events.reason", "datasets.rule", "datasets.counts"),
        *("model_versions.reason", "model_versions.metrics", "promotions.reason"),
        *("trials.rule", "trials.reason", "trials.figures"),
    }
    talk = told(store)
    held = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Text | JSON) or column.name == "title"
    }
    with store.reading() as session:
        secret = {name for name in held if any(SECRET in str(value) for value in values(session, name))}
        assert held - kept == secret
    assert run(data, talk, "--yes") == 0
    with store.reading() as session:
        assert not any(SECRET in str(value) for name in held for value in values(session, name))


def values(session: Session, name: str) -> list[Any]:
    table, column = name.split(".")
    return list(session.scalars(select(Base.metadata.tables[table].c[column])))


def test_postgresql_can_be_told_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, sent = told(store), []

    def listen(connection: Any, element: Any, *rest: Any) -> None:
        if hasattr(element, "compile"):
            sent.append(str(element.compile(dialect=postgresql.dialect())))

    event.listen(store._database.engine, "before_execute", listen)
    store.erase([talk])
    tables = ("conversations", "messages", "replies", "ratings", "rating_events", "corrections")
    assert all(any(one.startswith(f"UPDATE {table} ") for one in sent) for table in tables)
    assert any("FOR NO KEY UPDATE" in one for one in sent)


def test_what_is_running_is_refused_by_the_record_too(store: Store) -> None:
    talk = ask(store)
    begin(store, talk)
    with pytest.raises(Busy):
        store.erase([talk])
