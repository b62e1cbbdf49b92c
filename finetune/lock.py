"""The lock of a data dir: whoever holds it is the one run there is in it, so every other open run of it is dead.

Data dirs that share a record (`--database-url`) have a lock each: there a run is known by its process or its heartbeat.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from feedback.errors import Busy
from feedback.records import RunLine
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.leftovers import sweep

_WAIT_S = 1.0  # `dead_run` holds the lock for a moment, which is no run


@contextmanager
def the_only_run(store: Store, data: DataSettings) -> Iterator[RunLine | None]:
    """Hold the lock for the block, and give it the dead run that is to be taken up, if there is one.

    Raises Busy while another run holds it, or is at work in another data dir.
    """
    data.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(data.lock_file, timeout=_WAIT_S):
            if live := _elsewhere(store, data):
                raise Busy(f"Run {live.id} is under way in another data dir; wait for its end.")
            yield settled(store, data)
    except Timeout:
        raise Busy(f"Another run holds {str(data.lock_file)!r}; wait for its end.") from None


def dead_run(store: Store, data: DataSettings) -> RunLine | None:
    """Return the open run that the next start takes up, as its process is gone; None while there is a live one.

    Those that nobody goes on with are ended: older ones, and what somebody wanted cancelled.
    """
    data.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(data.lock_file, timeout=0):
            return settled(store, data)
    except Timeout:
        return None


def settled(store: Store, data: DataSettings) -> RunLine | None:
    """Settle what dead runs left; return the one that is to be taken up, if any. For whoever holds the lock.

    While a run is at work elsewhere nothing is settled.
    """
    if _elsewhere(store, data):
        return None
    dead = store.settle_open_runs()
    sweep(data, going_on=dead.id if dead else None)
    return dead


def _elsewhere(store: Store, data: DataSettings) -> RunLine | None:
    """Return the run that is at work in another data dir; a record that lies in this one has no other."""
    return store.live_run() if data.database_url else None
