"""The app as a process of its own, started as a person would start it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class AppProcess:
    """`python app.py` with arguments; `url` answers once the constructor has returned."""

    def __init__(self, *arguments: str, wait_s: float = 180):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAPPORT_")}
        started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "app.py", f"--port={self.port}", *arguments], cwd=ROOT, env=environment
        )
        with httpx.Client(timeout=2) as client:
            while not self._answers(client):
                assert self.process.poll() is None, "the app ended at its start"
                assert time.monotonic() - started < wait_s, f"no answer within {wait_s} s"
                threading.Event().wait(0.05)  # it needs the core more than who waits for it
        self.answered_after_s = time.monotonic() - started

    def _answers(self, client: httpx.Client) -> bool:
        try:
            return client.get(self.url).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end, as whoever runs services does; it must end by itself."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def finetune(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m finetune`."""
    return subprocess.run([sys.executable, "-m", "finetune", *arguments], cwd=ROOT, capture_output=True, text=True)
