"""Replies written by OpenAI-compatible servers elsewhere: vLLM, SGLang, llama.cpp and others.

Replies are spread over the servers. A version other than the base model is an adapter that every server of the list
has loaded and tried before a reply is routed to it there, and that is unloaded when its last reply has ended. A server
that was out of reach meanwhile holds up nobody: it lags, and is used again when it has what serves.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from chatui.engine.adapters import load, load_everywhere, take, try_everywhere, unload
from chatui.engine.background import Background
from chatui.engine.lagging import Lagging
from chatui.engine.protocol import EngineError, EngineState, Sampling
from chatui.engine.remote_reply import Order, RemoteGeneration, Write
from chatui.engine.server import Patience, Server
from chatui.engine.window import Messages, share
from chatui.needs import Template

_CHECK_S = 9.0  # a check takes no longer, however patient replies are; who asks for one at /health waits 10 s


class RemoteEngine:
    """Writes replies with servers."""

    def __init__(
        self,
        urls: Sequence[str],
        adapter_path: Callable[[int], str],
        key: str = "",
        model: str = "",
        read_template: Callable[[], Template] | None = None,
        patience: Patience | None = None,
        dice: random.Random | None = None,
    ):
        """Know servers by their addresses; nothing is asked of them before `serve`.

        `adapter_path` tells where the servers find a version's adapter; `key` goes to the servers and nowhere else;
        `model` is the base model's name there (empty: the first that they list). With `read_template` prompts are
        counted before they are sent; without it a server's refusal tells that one is too long.
        """
        self._patience = patience or Patience()
        self._servers = [Server(url, key, self._patience) for url in urls]
        self._adapter_path, self._model, self._read_template = adapter_path, model, read_template
        self._dice = dice or random.Random()
        self._template: Template | None = None
        self._lock = threading.Lock()
        self._shares: dict[int, float] = {}
        self._turn = 0
        self._closing = False
        self._state = EngineState("loading", "The servers are being asked.")
        self._background = Background("remote-engine")
        # Known to the event loop alone: who is being written, what must stay loaded, and that one changes it at a time.
        self._replies: Counter[int] = Counter()
        self._needed: set[int] = set()
        self._changing = asyncio.Lock()
        self._lagging = Lagging(self._catch_up)

    def state(self) -> EngineState:
        """Say whether replies can be written now, and which servers lag."""
        return replace(self._state, message=self._lagging.told()) if self._shares else self._state

    def announce(self, phase: str, message: str) -> None:
        """Change what `state` says while nothing serves yet."""
        self._state = EngineState(phase, message, self._state.versions)

    def serve(self, shares: Mapping[int, float]) -> None:
        """Load and try what is new on every server that can be reached, then route to `shares`, then unload the rest.

        Going back to older versions must succeed wherever it can: a server that refuses these is left out, too.
        """
        back = max(shares, default=0) < max(self._shares, default=0)
        try:
            self._template = self._template or self._template_read()
            self._background.call(self._make_ready(list(shares), back))
        except EngineError as error:
            if not self._shares:
                self.announce("failed", str(error))
            raise
        with self._lock:
            left, self._shares = set(self._shares) - set(shares), dict(shares)
            self._state = EngineState("ready", "", tuple(shares))
        self._background.start(self._let_go(left))

    def check(self) -> float:
        """Let every server write one token with every version; return the seconds it took.

        One that a server has lost is given it again: where a server is asked only after a good check, no reply would.
        Raises EngineError, also for a server that writes none in time or lags.
        """
        began = time.monotonic()
        with self._lock:
            versions = list(self._shares)
        if not versions:
            raise EngineError(self._state.message)
        self._background.call(self._check(versions))
        return time.monotonic() - began

    def close(self) -> None:
        """End every reply and let go of the connections; adapters stay loaded for the next start."""
        with self._lock:
            self._shares, self._state = {}, EngineState("failed", "The engine has been closed.")
            self._closing = True
        self._background.close(self._hang_up)

    def tokens_in(self, text: str) -> int | None:
        """Count the tokens of a text, None while nothing serves or without a template."""
        return len(self._template.encode(text)) if self._template and self._shares else None

    def begin(
        self,
        messages: Sequence[tuple[str, str]],
        sampling: Sampling,
        stay_with: int | None = None,
        begun: str = "",
    ) -> RemoteGeneration:
        """Prepare a reply; see the protocol. That servers are busy is known only when the reply is iterated."""
        if not messages:
            raise EngineError("There is nothing to reply to; say something first.")
        with self._lock:
            if not self._shares:
                raise EngineError(self._state.message or "The servers are being asked; try again in a moment.")
            version = stay_with if stay_with in self._shares else self._draw()
            servers = self._in_turn(begun)
        kept, tokens, most = self._fit(messages, sampling.max_new_tokens, begun)

        async def load_again(server: Server) -> None:
            await load(server, version, self._path(version))

        order = Order(version, servers, messages, sampling, begun, load_again, self._counted, self._patience.again_s)
        return RemoteGeneration(order, self._background, kept, tokens, most)

    def _draw(self) -> int:
        numbers = list(self._shares)
        return self._dice.choices(numbers, [self._shares[n] for n in numbers])[0]

    def _in_turn(self, begun: str) -> list[Server]:
        """Order the servers for a reply: those that failed just now last, the least busy first, else each in turn."""
        current = [server for server in self._servers if server not in self._lagging]
        if not current:
            raise EngineError(self._lagging.told())
        able = [server for server in current if server.dialect.goes_on or not begun]
        if not able:
            raise EngineError("The server cannot go on from a reply that was cut short; ask for another reply instead.")
        self._turn += 1
        start = self._turn % len(able)
        return sorted(able[start:] + able[:start], key=lambda server: (server.failing, server.writing))

    def _fit(self, messages: Messages, max_new_tokens: int, begun: str) -> tuple[list[int], int, int]:
        """Return the places of the messages that fit, their tokens (0: unknown), and how many may be written.

        Raises EngineError when the last message alone does not fit, or the reply is too long to go on.
        """
        template = self._template
        contexts = [server.context for server in self._servers if server.context]
        context = min([*contexts, *([template.longest] if template else [])], default=None)
        if template is None or context is None:
            most = min(max_new_tokens, context // 2) if context else max_new_tokens
            return list(range(len(messages))), 0, most
        already = len(template.encode(begun))
        try:
            kept, tokens, most = share(
                messages, lambda some: len(template.prompt(some)), context, max_new_tokens, already
            )
        # A stranger's chat template is a program; whatever it raises is the reader's notice.
        except Exception as error:
            raise EngineError(str(error)) from error
        return kept, tokens + already, most

    def _template_read(self) -> Template | None:
        try:
            return self._read_template() if self._read_template else None
        # It can be missing or broken in any way its files can; the reader must learn which.
        except Exception as error:
            raise EngineError(str(error)) from error

    def _path(self, version: int) -> str:
        try:
            return self._adapter_path(version)
        # It looks into the record, which may be out of reach or know no such version.
        except Exception as error:
            raise EngineError(f"Version {version} cannot serve: {error}") from error

    def _paths(self, versions: Iterable[int]) -> dict[int, str]:
        return {version: self._path(version) if version else "" for version in versions}

    async def _make_ready(self, versions: list[int], back: bool) -> None:
        """Have the servers load and try these versions. Raises EngineError, having changed nothing."""
        paths = self._paths(versions)
        async with self._changing:
            await self._lagging.pause()
            try:
                self._lagging.are(await load_everywhere(self._servers, self._model, paths, back))
                self._needed = set(versions)
            finally:
                if not self._closing:
                    self._lagging.begin()

    async def _catch_up(self, server: Server) -> None:
        """Give a server what serves now, and take from it what does not."""
        await take(server, self._model, self._paths(self._needed))
        await self._rid(server)

    async def _check(self, versions: list[int]) -> None:
        """Try versions as replies of theirs: one that leaves meanwhile is unloaded after it, not under it."""
        until = asyncio.get_running_loop().time() + _CHECK_S
        current = [server for server in self._servers if server not in self._lagging]
        for version in versions:
            await self._counted(version, partial(try_everywhere, current, [version], until, self._path))
        if lag := self._lagging.told():
            raise EngineError(lag)

    async def _counted(self, version: int, write: Write) -> None:
        """Write a reply, and let go of its version if it was the last of one that serves no more."""
        self._replies[version] += 1
        try:
            await write()
        finally:
            self._replies[version] -= 1
            if version not in self._needed and not self._closing:
                self._background.start(self._let_go([version]))

    async def _let_go(self, versions: Iterable[int]) -> None:
        """Unload versions that serve no more, except those that still write a reply.

        A server that lags would be waited for; it is rid of them before it is used again.
        """
        async with self._changing:
            for server in self._servers:
                server.unwanted.update(version for version in versions if version)
            await asyncio.gather(*(self._rid(server) for server in self._servers if server not in self._lagging))

    async def _rid(self, server: Server) -> None:
        """Take from a server what it may hold and serves no more."""
        while unwanted := {version for version in server.unwanted - self._needed if not self._replies[version]}:
            await unload(server, min(unwanted))

    async def _hang_up(self) -> None:
        for server in self._servers:
            await server.close()
