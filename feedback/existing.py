"""Opening a record that is there already: what only looks at one, or changes one, must not begin another by mistake."""

from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from feedback.database import NoRecord
from feedback.settings import DataSettings
from feedback.store import Store


def existing(data: DataSettings, reads: bool = False) -> Store:
    """Open the record of a data dir and create nothing. Raises NoRecord where there is none, BadInput as `Store.open`.

    Who only `reads` may open one that cannot be written. Other commands begin one: the app, an import, a run and a
    schedule, which may wait for the first feedback.
    """
    try:
        if not _is_missing(data.database):
            return Store.open(data.database, begins=False, reads=reads)
    except NoRecord:
        pass  # a database, but an empty one
    where, option = (_shown(data), "--database-url") if data.database_url else (repr(str(data.data_dir)), "--data-dir")
    raise NoRecord(
        f"There is no record in {where}; check {option}, or begin one there: chat (`make chat`), or "
        "`python -m feedback import FILE`."
    )


def _is_missing(url: str) -> bool:
    """Tell whether a URL names an SQLite file that is not there; what else is wrong with it is told on opening."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return False
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return False
    try:
        return not Path(parsed.database).is_file()
    except OSError:  # a folder that may not be looked into
        return False


def _shown(data: DataSettings) -> str:
    return repr(make_url(data.database_url).render_as_string(hide_password=True))
