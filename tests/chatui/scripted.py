"""An engine that writes what a test tells it to, one piece for each time the test lets it."""

import threading
from collections.abc import Iterator

from chatui.engine.protocol import EngineError, EngineState


class ScriptedGeneration:
    """Writes the given pieces; with a gate, waits at it before each further piece."""

    def __init__(self, version: int, places: int, pieces: list[str], gate: threading.Semaphore | None, begun: str = ""):
        self._begun = begun
        self.version, self.kept = version, list(range(places))
        self.prompt_tokens, self.completion_tokens = places, 0
        self.finish: str | None = None
        self._pieces, self._gate, self._cancelled = pieces, gate, threading.Event()

    unheeded: tuple[str, ...] = ()
    waiting = 0

    def cancel(self) -> None:
        self._cancelled.set()
        if self._gate:
            self._gate.release()

    def __iter__(self) -> Iterator[str]:
        text = self._begun
        for piece in self._pieces:
            if self._gate:
                self._gate.acquire()
            if self._cancelled.is_set():
                self.finish = "stopped"
                return
            if piece == "!":
                raise EngineError("The model broke.")
            text += piece
            self.completion_tokens += 1
            yield text
        self.finish = "end"


class ScriptedEngine:
    """Replies with `pieces`; a piece `!` breaks the reply."""

    def __init__(self, pieces: list[str], gated: bool = False):
        self.pieces, self.version = pieces, 0
        self.gated = gated
        self.gates: list[threading.Semaphore] = []  # one per reply, in the order they were begun
        self.asked: list[list[tuple[str, str]]] = []
        self.stayed: list[int | None] = []

    def state(self) -> EngineState:
        return EngineState("ready", "", (self.version,))

    def serve(self, shares) -> None:
        self.version = max(shares)

    def check(self) -> float:
        return 0.0

    def close(self) -> None:
        pass

    def tokens_in(self, text: str) -> int | None:
        return len(text.encode())

    def begin(self, messages, sampling, stay_with=None, begun="") -> ScriptedGeneration:
        self.asked.append(list(messages))
        self.stayed.append(stay_with)
        self.gates.append(threading.Semaphore(0))
        gate = self.gates[-1] if self.gated else None
        return ScriptedGeneration(self.version, len(messages), self.pieces, gate, begun)


def wait_for(condition, seconds: float = 60.0) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    waiter = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        waiter.wait(0.005)
    raise AssertionError("what was waited for did not come")
