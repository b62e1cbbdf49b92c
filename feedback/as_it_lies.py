"""An SQLite record that cannot be written, such as a backup on a medium of its own: it is read as it lies."""

import os
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.engine import make_url

from feedback.errors import BadInput


def cannot_be_written(url: str) -> bool:
    """Tell whether a URL names an SQLite file that is there, and that or its folder cannot be written."""
    file = _file(url)
    return file is not None and file.is_file() and not all(os.access(path, os.W_OK) for path in (file, file.parent))


def as_it_lies(url: str) -> URL:
    """Return the URL under which SQLite reads such a file and creates nothing beside it. Raises BadInput.

    Without its log the file is whole, and SQLite is told that nobody changes it: else it would begin one (see
    https://www.sqlite.org/wal.html#read_only_databases). With both files of the log somebody may be writing.
    """
    parsed, file = make_url(url), Path(make_url(url).database or "").resolve()
    log, index = (file.with_name(file.name + end) for end in ("-wal", "-shm"))
    how = {"uri": "true", "mode": "ro"}
    if not log.exists() or (not index.exists() and log.stat().st_size == 0):
        how["immutable"] = "1"
    elif not index.exists():
        raise BadInput(
            f"The record {str(file)!r} cannot be written, and its newest part still stands in {log.name!r}, which is "
            "not read without that; copy the folder to where it can be written, and name it by --data-dir."
        )
    return parsed.set(database=file.as_uri()).update_query_dict(how)


def _file(url: str) -> Path | None:
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None
