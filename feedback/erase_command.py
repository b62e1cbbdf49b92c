"""python -m feedback erase: asks, then erases conversations from the files of runs and from the record, for good."""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from filelock import FileLock, Timeout

from feedback.erasing import Erasure
from feedback.errors import Busy, RapportError
from feedback.schema import now
from feedback.settings import MOST_DAYS, DataSettings
from feedback.store import Store

_WAIT_S = 1.0  # the app holds the lock for a moment now and then, which is no run


def add_to(commands: Any) -> None:
    """Add the command to a parser's."""
    command = commands.add_parser("erase", help="erase what was said, for good, from the record and from runs' files")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("conversation", nargs="*", default=[], help="ids of conversations")
    text = "all that were deleted more than so many days ago"
    which.add_argument("--deleted-before", type=_days, metavar="DAYS", help=text)
    which.add_argument("--person", metavar="NAME", help="all conversations of a person, and their own personas")
    command.add_argument("--yes", action="store_true", help="do not ask")
    DataSettings.add_to(command)


def erase(store: Store, data: DataSettings, args: argparse.Namespace) -> int:
    """Erase what the arguments name; return 0, or 2 where it was not confirmed. Raises RapportError."""
    store.interrupt_dead_replies()
    ids = args.conversation
    if args.person is not None:
        ids = store.conversations_of(args.person)
    elif args.deleted_before is not None:
        ids = store.deleted_before(now() - args.deleted_before)
    if not ids and args.person is None:
        print("There is nothing to erase.")
        return 0
    if not (args.yes or _confirmed(store.erasure(ids))):
        print("Nothing was erased.", file=sys.stderr)
        return 2
    with _no_run(data):
        erasure = store.erasure(ids)
        for run in erasure.runs:
            _delete_dataset(data, run)
        store.erase(erasure.conversations, args.person)
    print(_told(erasure))
    return 0


def _days(value: str) -> timedelta:
    if not value.isdecimal() or int(value) > MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{value!r} is no whole number of days from 0 to {MOST_DAYS}")
    return timedelta(days=int(value))


def _confirmed(erasure: Erasure) -> bool:
    question = f"Erase {_counted(erasure)} for good? Backups are yours to delete. (yes/no) "
    try:
        return input(question).strip().lower() == "yes"
    except EOFError:  # nobody is there to be asked
        return False


@contextmanager
def _no_run(data: DataSettings) -> Iterator[None]:
    """Hold the lock that a run would hold. Raises Busy."""
    data.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(data.lock_file, timeout=_WAIT_S):
            yield
    except Timeout:
        raise Busy("A run, or another erasing, is under way; wait for its end, then erase.") from None


def _delete_dataset(data: DataSettings, run: int) -> None:
    """Delete the files that a run learned from, whole: those of one conversation cannot be taken out of them."""
    folder = data.runs_dir / str(run) / "dataset"
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise RapportError(
            f"{str(folder)!r} cannot be deleted ({error.strerror}), so nothing is erased from the record yet; "
            "delete it, then erase."
        ) from error


def _told(erasure: Erasure) -> str:
    files = ""
    if erasure.runs:
        files = f", and the dataset files of run {', '.join(map(str, erasure.runs))} are deleted, all that was in them"
    verb = "is" if len(erasure.conversations) == 1 else "are"
    return f"{_counted(erasure)} {verb} erased{files}. Backups and exported files still hold what they held."


def _counted(erasure: Erasure) -> str:
    return f"{_many(len(erasure.conversations), 'conversation')} with {_many(erasure.messages, 'message')}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
