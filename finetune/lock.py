"""The lock of a data dir: whoever holds it is the one run there is, so every other open run is dead."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from feedback.errors import Busy
from feedback.settings import DataSettings
from feedback.store import Store

_WAIT_S = 1.0  # `declare_dead_runs` holds the lock for a moment, which is no run


@contextmanager
def the_only_run(store: Store, data: DataSettings) -> Iterator[None]:
    """Hold the lock for the block, with dead runs declared failed. Raises Busy while another run holds it."""
    data.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(data.lock_file, timeout=_WAIT_S):
            store.fail_open_runs()
            yield
    except Timeout:
        raise Busy(f"Another run holds {str(data.lock_file)!r}; wait for its end.") from None


def declare_dead_runs(store: Store, data: DataSettings) -> None:
    """Fail every open run, unless a live one holds the lock."""
    data.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(data.lock_file, timeout=0):
            store.fail_open_runs()
    except Timeout:
        pass
