"""What any engine promises: versions are loaded before they are routed to; one reply is one version's.

An engine is called from many threads. `begin` is quick and says everything that can be said before the
first token; iterating over what it returns writes the reply, in the caller's thread.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol


class EngineError(Exception):
    """A reply cannot be written; the message is one sentence for a person."""


class EngineBusy(EngineError):
    """Too many replies are waiting already; the same call may work in a moment."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is picked. Temperature 0 is greedy; top_k 0 and top_p 1 switch these off.

    The reply ends before any of the texts in `stop`; `seed` makes it repeatable, None draws anew.
    """

    temperature: float = 0.2
    top_p: float = 0.9
    top_k: int = 50
    repetition_penalty: float = 1.0
    max_new_tokens: int = 512
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Give the settings as they are kept with a reply."""
        return asdict(self)

    def changed(self, settings: Mapping[str, Any]) -> "Sampling":
        """Return the same but for these settings, as the record and callers hold them: stop strings as a list."""
        return replace(self, **{**settings, "stop": tuple(settings.get("stop", self.stop))})


@dataclass(frozen=True)
class EngineState:
    """Whether replies can be written now. `phase`: loading, ready or failed; `message` says more."""

    phase: str
    message: str = ""
    versions: tuple[int, ...] = ()


def every_token() -> float:
    """Is the pace of who wants a text for each token."""
    return 0.0


class Generation(Protocol):
    """One reply being written. Iterating yields the text so far, each time longer.

    Who iterates may set `pace`, which is asked after every text for how many seconds no other need come; then all that
    was written by then comes as one. The first text and the end come at once. It is 0 to begin with: a text a token.
    """

    version: int
    kept: list[int]  # places of the messages that were given to the model; older ones did not fit
    prompt_tokens: int
    completion_tokens: int
    finish: str | None  # end, length or stopped, once it is over
    unheeded: tuple[str, ...]  # names of sampling settings that this engine cannot honour
    pace: Callable[[], float]

    @property
    def waiting(self) -> int:
        """Its place in the line of replies that wait, from 1; 0 when it is being written or over."""

    def __iter__(self) -> Iterator[str]:
        """Write the reply. Raises EngineError."""

    def cancel(self) -> None:
        """End the reply after the token that is being computed."""


class Engine(Protocol):
    """Writes replies with a set of versions."""

    def state(self) -> EngineState:
        """Say whether replies can be written now."""

    def announce(self, phase: str, message: str) -> None:
        """Change what `state` says while nothing serves yet."""

    def serve(self, shares: Mapping[int, float]) -> None:
        """Load what is new, then route new replies to these versions. Raises EngineError, changing nothing."""

    def check(self) -> float:
        """Let every version that serves write one token; return the seconds it took. Raises EngineError."""

    def close(self) -> None:
        """End every reply and let go of the models."""

    def tokens_in(self, text: str) -> int | None:
        """Count the tokens of a text, None while nothing serves."""

    def begin(
        self,
        messages: Sequence[tuple[str, str]],
        sampling: Sampling,
        stay_with: int | None = None,
        begun: str = "",
    ) -> Generation:
        """Prepare a reply to (role, content) messages, by `stay_with` while that version serves.

        The reply begins with the text `begun` and goes on from there; what it yields begins with it too.

        Raises EngineError when nothing serves yet, the last message alone is too long or a sampling setting cannot
        be meant, EngineBusy when too many replies wait already.
        """
