"""Replies written by this process, on its GPU or CPU, with transformers.

Each reply is a token loop of its own in its caller's thread, with its own cache, so several conversations
go on at once and none can disturb another. A version is loaded beside the others before it is routed to,
and dropped when its last reply has ended.
"""

import random
import threading
from collections.abc import Iterator, Mapping, Sequence

import torch
from transformers import DynamicCache

from chatui.engine.protocol import EngineError, EngineState, Sampling
from chatui.engine.sampling import Picker
from chatui.needs import LoadedVersion, LoadVersion

_PREFILL = 512  # prompt tokens read in one step, so that a long prompt can be cancelled too
_HALF_A_CHARACTER = "\ufffd"


class LocalEngine:
    """Writes replies with models in this process."""

    def __init__(self, load: LoadVersion, max_streams: int = 8, dice: random.Random | None = None):
        """`load` makes a version ready; at most `max_streams` replies are computed at once, others wait."""
        self._load = load
        self._dice = dice or random.Random()
        self._places = threading.BoundedSemaphore(max_streams)
        self._lock = threading.Lock()
        self._loaded: dict[int, LoadedVersion] = {}
        self._shares: dict[int, float] = {}
        self._state = EngineState("loading", "The model is loading.")

    def state(self) -> EngineState:
        """Say whether replies can be written now."""
        return self._state

    def announce(self, phase: str, message: str) -> None:
        """Change what `state` says while nothing serves yet."""
        self._state = EngineState(phase, message, self._state.versions)

    def serve(self, shares: Mapping[int, float]) -> None:
        """Load what is new and try it for one token, then route to `shares`, then drop the rest."""
        try:
            ready = {number: self._loaded.get(number) or self._load_and_try(number) for number in shares}
        except EngineError as error:
            if not self._shares:
                self.announce("failed", str(error))
            raise
        with self._lock:
            self._loaded, self._shares = ready, dict(shares)
            self._state = EngineState("ready", "", tuple(shares))

    def tokens_in(self, text: str) -> int | None:
        """Count the tokens of a text; every version reads with the same tokenizer."""
        with self._lock:
            loaded = next(iter(self._loaded.values()), None)
        return len(loaded.template.encode(text)) if loaded else None

    def begin(
        self,
        messages: Sequence[tuple[str, str]],
        sampling: Sampling,
        stay_with: int | None = None,
        begun: str = "",
    ) -> "LocalGeneration":
        """Prepare a reply; see the protocol."""
        with self._lock:
            if not self._shares:
                raise EngineError(self._state.message or "The model is loading; try again in a moment.")
            number = stay_with if stay_with in self._shares else self._draw()
            loaded = self._loaded[number]
        begun_ids = loaded.template.encode(begun)
        kept, ids, most = _fit(loaded, messages, sampling.max_new_tokens, len(begun_ids))
        return LocalGeneration(number, loaded, kept, ids + begun_ids, most, sampling, self._places, len(begun_ids))

    def _draw(self) -> int:
        numbers = list(self._shares)
        return self._dice.choices(numbers, [self._shares[n] for n in numbers])[0]

    def _load_and_try(self, number: int) -> LoadedVersion:
        try:
            loaded = self._load(number)
            ids = loaded.template.prompt([("user", "Hello")])
            said = LocalGeneration(number, loaded, [0], ids, 1, Sampling(0.0), threading.BoundedSemaphore(1))
            list(said)
        # A version can fail to load in any way its files can be broken; what serves must stay as it was.
        except Exception as error:
            raise EngineError(f"Version {number} cannot serve: {error}") from error
        return loaded


class LocalGeneration:
    """One reply being written by one version, first token to last."""

    def __init__(
        self,
        version: int,
        loaded: LoadedVersion,
        kept: list[int],
        ids: list[int],
        max_new_tokens: int,
        sampling: Sampling,
        places: threading.BoundedSemaphore,
        begun: int = 0,
    ):
        self.version, self.kept = version, kept
        self.prompt_tokens, self.completion_tokens = len(ids), 0
        self.finish: str | None = None
        self._loaded, self._ids, self._most, self._places = loaded, ids, max_new_tokens, places
        self._begun = ids[len(ids) - begun :]
        self._picker = Picker(sampling, loaded.device)
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End the reply after the token that is being computed."""
        self._cancelled.set()

    def __iter__(self) -> Iterator[str]:
        """Write the reply, yielding the text so far. Raises EngineError."""
        while not self._places.acquire(timeout=0.05):
            if self._cancelled.is_set():
                self.finish = "stopped"
                return
        try:
            yield from self._write()
        except torch.OutOfMemoryError as error:
            raise EngineError("The GPU has no memory left for this reply; start a new conversation.") from error
        finally:
            self._places.release()

    def _write(self) -> Iterator[str]:
        template, written = self._loaded.template, list(self._begun)
        for token in self._tokens():
            written.append(token)
            self.completion_tokens += 1
            text = template.decode(written)
            if not text.endswith(_HALF_A_CHARACTER):
                yield text
        if written and template.decode(written).endswith(_HALF_A_CHARACTER):
            yield template.decode(written).rstrip(_HALF_A_CHARACTER)

    def _tokens(self) -> Iterator[int]:
        device = self._loaded.device
        so_far = torch.tensor([self._ids], device=device)
        cache, unread = DynamicCache(config=self._loaded.model.config), so_far
        for _ in range(self._most):
            logits = self._read(unread, cache)
            if logits is None:
                return
            token = self._picker.pick(logits, so_far)
            if token in self._loaded.template.end_ids:
                self.finish = "end"
                return
            yield token
            unread = torch.tensor([[token]], device=device)
            so_far = torch.cat([so_far, unread], 1)
        self.finish = "length"

    def _read(self, unread: torch.Tensor, cache: DynamicCache) -> torch.Tensor | None:
        """Read tokens into the cache; return the logits after the last, or None when cancelled."""
        logits = None
        for part in torch.split(unread, _PREFILL, 1):
            if self._cancelled.is_set():
                self.finish = "stopped"
                return None
            with torch.inference_mode():
                out = self._loaded.model(input_ids=part, past_key_values=cache, use_cache=True, logits_to_keep=1)
            logits = out.logits[:, -1]
        return logits


def _fit(
    loaded: LoadedVersion, messages: Sequence[tuple[str, str]], max_new_tokens: int, begun: int
) -> tuple[list[int], list[int], int]:
    """Leave out the oldest messages until the prompt fits; a system message in front always stays.

    `begun` tokens of the reply are there already. Returns the places kept, the prompt's token ids, and how many
    tokens may be written.
    """
    context = loaded.template.context
    most = min(max_new_tokens, context // 2)
    fixed = [0] if messages and messages[0][0] == "system" else []
    rest = [i for i in range(len(messages)) if i not in fixed]
    while True:
        kept = fixed + rest
        ids = _encode(loaded, [messages[i] for i in kept])
        if len(ids) + begun + most <= context:
            return kept, ids, most
        if len(rest) <= 1:
            raise EngineError(
                f"The message has {len(ids) + begun:,} tokens with its frame; the model reads at most "
                f"{context - most:,}: shorten it."
            )
        rest = rest[max(1, len(rest) // 8) :]
        while len(rest) > 1 and messages[rest[0]][0] == "assistant":
            rest = rest[1:]


def _encode(loaded: LoadedVersion, messages: Sequence[tuple[str, str]]) -> list[int]:
    try:
        return loaded.template.prompt(messages)
    # A stranger's chat template is a program; whatever it raises is the reader's notice.
    except Exception as error:
        raise EngineError(str(error)) from error
