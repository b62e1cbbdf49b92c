"""Replies written by this process, on its GPU or CPU, many at once.

All replies of a version are computed in one batch, each step a token of every one (`loop`, `lane`). A version is loaded
and tried beside the others before it is routed to, and dropped when its last reply has ended.
"""

import logging
import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from chatui.engine.apart import apart
from chatui.engine.budget import Budget
from chatui.engine.exam import Network
from chatui.engine.fitting import fit
from chatui.engine.lane import BatchLane, Lane
from chatui.engine.local_reply import LocalGeneration
from chatui.engine.loop import Loop
from chatui.engine.prompts import fit_prompt
from chatui.engine.protocol import EngineError, EngineState, Sampling
from chatui.engine.rows import Row
from chatui.engine.sampling import check
from chatui.engine.solo import SoloLane
from chatui.engine.stock import Stock, shape_of
from chatui.needs import LoadedVersion, LoadVersion, Template

log = logging.getLogger("rapport.engine")
_CHECK_S = 30.0  # a token that takes longer does not come
_SHARES = (
    "There is no memory for a second copy of the model (%.2f GiB): versions are served as adapters on one base, more "
    "slowly, and computed as they were loaded: --weights %s is not taken. More memory, a larger --engine-memory or a "
    "smaller model ends that at the next start."
)
_BASE, _COMING = "base", "coming"  # who holds the weights that all versions share, those that are about to be loaded
_DRAIN_S, _LOOK_S = 30.0, 0.05  # how long replies that hold the memory of a version to come are waited for
_HELLO = [("user", "Hello")]


@dataclass(frozen=True)
class Served:
    """A version that replies can be written with."""

    template: Template
    lane: Lane
    drop: Callable[[], None]


class LocalEngine:
    """Writes replies with models in this process."""

    def __init__(
        self,
        load: LoadVersion,
        max_streams: int = 32,
        max_waiting: int = 64,
        memory_gb: float = 0.0,
        form: str = "auto",
        dice: random.Random | None = None,
    ):
        """`load` makes a version ready. At most `max_streams` replies are computed at once, `max_waiting` more wait.

        `memory_gb` bounds weights and caches together; 0 gives caches half of what a second copy of the model would
        leave free on a GPU, a quarter on a CPU. `form` is that of the weights on a CPU, auto the fastest that passes
        the exam.
        """
        self._load, self._form, self._dice = load, form, dice or random.Random()
        self._budget, self._loop = Budget(memory_gb), Loop(max_streams, max_waiting)
        self._threads = self._using = torch.get_num_threads()
        self._lock = threading.Lock()
        self._served: dict[int, Served] = {}
        self._shares: dict[int, float] = {}
        self._leaving: set[Lane] = set()  # lanes of versions that serve no more and still end their replies
        self._shared: LoadedVersion | None = None  # the base that all versions share where two copies do not fit
        self._batches = True  # whether what shares it is computed in batches
        self._state = EngineState("loading", "The model is loading.")

    def state(self) -> EngineState:
        """Say whether replies can be written now."""
        return self._state

    def announce(self, phase: str, message: str) -> None:
        """Change what `state` says while nothing serves yet."""
        self._state = EngineState(phase, message, self._state.versions)

    def serve(self, shares: Mapping[int, float]) -> None:
        """Load what is new and try it for one token, then route to `shares`, then drop the rest."""
        apart(lambda: self._serve(shares))

    def _serve(self, shares: Mapping[int, float]) -> None:
        made: dict[int, Served] = {}
        try:
            for number in shares:
                if number not in self._served:
                    made[number] = self._make(number)
        except EngineError as error:
            for one in made.values():
                self._retire(one)
            if not self._shares:
                self.announce("failed", str(error))
            raise
        with self._lock:
            former = self._served
            self._served = {number: made.get(number) or former[number] for number in shares}
            self._shares, self._state = dict(shares), EngineState("ready", "", tuple(shares))
        for number, one in former.items():
            if number not in shares:
                self._retire(one)

    def _retire(self, one: Served) -> None:
        """Let a version end its replies, and only then count its weights no more."""

        def let_go() -> None:
            self._leaving.discard(one.lane)
            self._let_go(one.lane)
            one.drop()

        self._leaving.add(one.lane)
        self._loop.retire(one.lane, let_go)

    def _hold(self, who: object, size: int, device: Any, alone: bool = False, instead: object = None) -> None:
        """Count weights, and shrink caches to what all of them leave; see `Budget.hold`. Raises EngineError."""
        self._budget.hold(who, size, device, alone, instead)
        self._share_memory()
        self._spared()

    def _spared(self) -> bool:
        """Drop what is only kept while caches take more than they may; say whether that was enough."""
        return bool(self._loop.call(lambda: self._loop.room(0)))

    def _let_go(self, who: object) -> None:
        self._budget.let_go(who)
        self._share_memory()

    def _share_memory(self) -> None:
        with self._lock:  # so that of two at once the later has the last word
            self._loop.memory = self._budget.caches()

    def share_cores(self, beside: bool) -> None:
        """Compute with half of the threads while something else computes on this machine, else with all of them.

        Threads of a step wait for its slowest: beside another process that wants every core, a step of two threads may
        take ten times as long as one of a single thread. The number belongs to the thread that computes.
        """
        threads = max(1, self._threads - self._threads // 2) if beside else self._threads
        if threads != self._using:
            self._loop.call(lambda: torch.set_num_threads(threads))
            self._using = threads

    def check(self) -> float:
        """Let every version that serves write one token; return the seconds it took. Raises EngineError."""
        began = time.monotonic()
        with self._lock:
            served = dict(self._served)
        if not served:
            raise EngineError(self._state.message or "Nothing serves yet.")
        for number, one in served.items():
            self._try(number, one.template, one.lane)
        return time.monotonic() - began

    def close(self) -> None:
        """End every reply and let go of the models."""
        self._loop.close()
        with self._lock:
            self._served, self._shares, self._shared = {}, {}, None
            self._state = EngineState("failed", "The engine is closed; start the app again.")

    def tokens_in(self, text: str) -> int | None:
        """Count the tokens of a text; every version reads with the same tokenizer."""
        with self._lock:
            one = next(iter(self._served.values()), None)
        return len(one.template.encode(text)) if one else None

    def begin(
        self,
        messages: Sequence[tuple[str, str]],
        sampling: Sampling,
        stay_with: int | None = None,
        begun: str = "",
    ) -> LocalGeneration:
        """Prepare a reply; see the protocol."""
        check(sampling)
        with self._lock:
            if not self._shares:
                raise EngineError(self._state.message or "The model is loading; try again in a moment.")
            number = stay_with if stay_with in self._shares else self._draw()
            one = self._served[number]
            self._loop.reserve(one.lane)  # here: a promotion may follow at once
        try:
            prompt = fit_prompt(one.template, messages, sampling.max_new_tokens, begun)
            row = Row(prompt.ids, prompt.most, sampling)
        except BaseException:
            self._loop.release(one.lane)
            raise
        generation = LocalGeneration(
            number, prompt.kept, row, one.template, prompt.begun, lambda: self._loop.submit(row, one.lane)
        )
        generation.leave = weakref.finalize(generation, self._loop.release, one.lane)
        return generation

    def _draw(self) -> int:
        numbers = list(self._shares)
        return self._dice.choices(numbers, [self._shares[n] for n in numbers])[0]

    # --- making a version ready

    def _make(self, number: int) -> Served:
        try:
            one = self._on_shared(number) if self._shared else self._of_its_own(number)
            self._loop.open(one.lane)
        # A version can fail to load in any way its files can be broken; what serves must stay as it was.
        except Exception as error:
            raise EngineError(f"Version {number} cannot serve: {error}") from error
        try:
            self._try(number, one.template, one.lane)
        except EngineError as error:
            self._retire(one)
            raise EngineError(f"Version {number} cannot serve: {error}") from error
        return one

    def _of_its_own(self, number: int) -> Served:
        """Load a version with weights of its own; where those do not fit twice, begin to share the base."""
        first = not self._budget.largest
        if not first:
            self._clear(self._budget.largest)
        try:
            loaded = self._load(number)
            network = fit(loaded, self._form)
            self._budget.seat((network.shape if network else shape_of(loaded.model)).bytes_per_token)
            size = network.bytes if network else _size(loaded.model)
            if first and not self._budget.holds_two(size, loaded.device):
                del loaded, network
                log.warning(_SHARES, size / 2**30, self._form)
                return self._on_shared(number)
            lane = self._lane(loaded, network)
            self._hold(lane, size, loaded.device, instead=_COMING)
        finally:
            self._let_go(_COMING)
        # Its own `drop` does nothing and holds its model: beside packed weights that would stay in memory, uncounted.
        return Served(loaded.template, lane, lambda: None)

    def _clear(self, size: int) -> None:
        """Free the memory of a version before it is loaded: what is only kept, then what ends within a while."""
        until = time.monotonic() + _DRAIN_S
        while self._leaving and not self._budget.fits(size) and time.monotonic() < until:
            time.sleep(_LOOK_S)
        self._hold(_COMING, size, None)
        while self._budget.limited and not self._spared():
            if time.monotonic() >= until:
                self._let_go(_COMING)
                raise EngineError(
                    "replies that are being written hold the memory that it needs; it is tried again. Allow "
                    "--engine-memory more if that goes on."
                )
            time.sleep(_LOOK_S)

    def _on_shared(self, number: int) -> Served:
        """Load a version as an adapter on the base that is there, or begin with the base."""
        if self._shared is None:
            base = self._load(0)
            batches = fit(base, shared=True) is not None  # as adapters change layers only, it holds for all versions
            self._budget.seat(shape_of(base.model).bytes_per_token)
            self._hold(_BASE, _size(base.model), base.device, alone=True)
            self._shared, self._batches = base, batches
        loaded, size = self._loop.call(lambda: self._attached(number)) if number else (self._shared, 0)
        lane = self._lane(loaded, Stock(loaded.model, loaded.activate) if self._batches else None)
        try:
            self._hold(lane, size, loaded.device)
        except EngineError:
            self._loop.call(loaded.drop)
            raise
        return Served(loaded.template, lane, loaded.drop)

    def _attached(self, number: int) -> tuple[LoadedVersion, int]:
        """Put a version's adapter on the base, between two steps, since those use the model; tell its bytes."""
        assert self._shared is not None, "no base to put an adapter on"
        before = _size(self._shared.model)
        loaded = self._load(number, self._shared)
        return loaded, _size(loaded.model) - before

    def _lane(self, loaded: LoadedVersion, network: Network | None) -> Lane:
        """Compute a version's replies in batches, or one by one where no network does it."""
        ends, room = loaded.template.end_ids, self._loop.room
        if network:
            return BatchLane(network, ends, room)
        return SoloLane(loaded.model, shape_of(loaded.model), ends, room, loaded.activate)

    def _try(self, number: int, template: Template, lane: Lane) -> None:
        """Let a lane say one token, ahead of the line. Raises EngineError."""
        row = Row(template.prompt(_HELLO), 1, Sampling(0.0), urgent=True)
        self._loop.submit(row, lane, first=True)
        try:
            row.told.take(timeout=_CHECK_S)
        except Exception as error:
            row.cancel()
            raise EngineError(f"Version {number} wrote no token within {_CHECK_S:.0f} s.") from error
        if row.ended and row.ended.error:
            raise EngineError(row.ended.error)


def _size(model: Any) -> int:
    return sum(int(p.nbytes) for p in model.parameters())
