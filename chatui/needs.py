"""What the chat side needs of others, handed in by app.py: how to load a version, how to retrain."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Template(Protocol):
    """How messages become tokens and tokens become text; `finetune.model.ChatTemplate` is the one there is."""

    context: int  # tokens that are read here
    longest: int  # tokens that a server elsewhere may read
    end_ids: frozenset[int]

    def prompt(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Encode (role, content) messages up to where the reply begins."""

    def encode(self, text: str) -> list[int]:
        """Encode the text of a reply, without any frame."""

    def decode(self, ids: Sequence[int]) -> str:
        """Turn a reply's token ids into its text."""


class LoadedVersion(Protocol):
    """A model version ready to write replies."""

    @property
    def model(self) -> Any:
        """The transformers model, in evaluation mode."""

    @property
    def template(self) -> Template:
        """Its chat template."""

    @property
    def device(self) -> Any:
        """The torch device that it is on."""

    @property
    def low_rank(self) -> Mapping[str, tuple[Any, Any]]:
        """What training added to a layer, by its name: `up @ down`, (outputs, rank) and (rank, inputs)."""

    def activate(self) -> None:
        """Make a model that several versions share this version's; nothing where it has its own."""

    def drop(self) -> None:
        """Take this version's part out of a model that several share; nothing where it has its own."""


class LoadVersion(Protocol):
    """Loads a version by its number; whatever it raises is shown to a person as it stands."""

    def __call__(self, number: int, onto: LoadedVersion | None = None) -> LoadedVersion:
        """Load version `number` with weights of its own or, given the base as `onto`, as an adapter on it."""


class Learner(Protocol):
    """Starts runs, ends them, and says when the next one comes."""

    def retrain(self) -> str:
        """Start a run now, whatever the schedule says; return one sentence about it."""

    def outlook(self) -> str:
        """Say in one sentence why no run is under way, or when the next one comes."""

    def cancel(self, run_id: int) -> str:
        """Ask for a run's end; return one sentence about it."""

    def log_tail(self, run_id: int, lines: int) -> list[str]:
        """Return the last lines of a run's log."""

    def trial_rule(self) -> Mapping[str, Any]:
        """Return the rule by which thumbs would decide a trial that begins now."""

    def compare_versions(self, one: int, other: int, prompts: Sequence[str]) -> str:
        """Let two versions reply to the same prompts, in a process of its own; return the comparison's id."""

    def comparison(self) -> dict[str, Any] | None:
        """Return the newest comparison, None before the first: `a`, `b`, `status`, `reason`, `rows`.

        Status is running, done or failed; a row has `prompt`, and `a` and `b` with their `text`.
        """
