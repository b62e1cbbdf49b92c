"""Do the record's tests pass on PostgreSQL? A server of its own, in a folder that is deleted, runs them and ends.

`make proof-postgres`, or `bench/postgres.py [arguments of pytest]`. Needs PostgreSQL's programs (in PATH, or where
Debian puts them) and a driver (bench/requirements.txt). Exits as pytest does, with 2 if something is missing.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/feedback",)
_USER = "postgres"  # who runs the server where root runs this: a server refuses to be root's


def main(arguments: list[str]) -> int:
    """Run the tests on a server of their own; return how pytest ended."""
    programs = _programs()
    if programs is None:
        return _missing("PostgreSQL's initdb and pg_ctl are neither in PATH nor under /usr/lib/postgresql; install it.")
    if importlib.util.find_spec("psycopg") is None:
        return _missing("The driver psycopg is not installed; pip install -r bench/requirements.txt.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends then, too
    with _server(programs) as url:
        environment = {**os.environ, "TEST_DATABASE_URL": url}
        command = [sys.executable, "-m", "pytest", *(arguments or TESTS)]
        return subprocess.run(command, cwd=ROOT, env=environment).returncode


def _missing(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


def _programs() -> Path | None:
    """Find the folder of the newest server's programs."""
    if (found := shutil.which("initdb")) and shutil.which("pg_ctl"):
        return Path(found).parent
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(installed, key=lambda folder: float(folder.parent.name), default=None)


@contextmanager
def _server(programs: Path) -> Iterator[str]:
    """Run a server that only this machine reaches, by a socket in a folder of its own; yield its URL."""
    user = _USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="rapport-") as folder:
        if user:
            shutil.chown(folder, user)

        def run(program: str, *options: str) -> None:
            command = [str(programs / program), "--pgdata", f"{folder}/data", *options]
            subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

        run("initdb", "--auth=trust", f"--username={_USER}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=200"
        run("pg_ctl", "start", "--wait", f"--options={settings}", f"--log={folder}/log")
        try:
            yield f"postgresql+psycopg://{_USER}@/{_USER}?host={folder}"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=immediate")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
