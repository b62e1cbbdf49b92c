"""One reply being written by a server: which server, what is sent again in other words, what is shown."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from chatui.engine.adapters import model_name
from chatui.engine.background import Background
from chatui.engine.chat_request import learned, request_body
from chatui.engine.dialects import unheeded
from chatui.engine.halves import Halves
from chatui.engine.protocol import EngineError, Sampling, every_token
from chatui.engine.refusals import NotThere, RequestRefused, ServerBusy, ServerFails, ServerSilent
from chatui.engine.server import BY_ITSELF, Piece, Server
from chatui.engine.stopping import cut
from chatui.engine.told import Told
from chatui.engine.window import joined, too_long_to_go_on, without_oldest

Write = Callable[[], Coroutine[Any, Any, None]]

_NOT_TOLD = "not told"


@dataclass(frozen=True)
class Order:
    """What is to be written, and by whom."""

    version: int
    servers: Sequence[Server]  # in the order in which they are asked
    messages: Sequence[tuple[str, str]]
    sampling: Sampling
    begun: str
    load_again: Callable[[Server], Awaitable[None]]  # gives a server the version that it has lost
    counted: Callable[[int, Write], Coroutine[Any, Any, None]]  # runs the writing as that of a version's reply
    again_s: float


class RemoteGeneration:
    """One reply being written; see the protocol. What is written by whom is decided before its first token.

    Its `pace` is kept: pieces are read from the connection as they come, and stop texts found there, but who iterates
    is woken no more often than it asks for.
    """

    waiting = 0  # servers keep their own line and do not tell a place in it

    def __init__(self, order: Order, background: Background, kept: list[int], prompt_tokens: int, most: int):
        """Prepare a reply of at most `most` tokens to the messages `kept`, which count `prompt_tokens` (0: unknown)."""
        self.version, self.kept = order.version, kept
        self.prompt_tokens, self.completion_tokens = prompt_tokens, 0
        self.finish: str | None = None
        self.unheeded = self._unheeded_by(order.sampling, order.servers[0])
        self.pace: Callable[[], float] = every_token
        self._order, self._background, self._most = order, background, most
        self._written, self._shown, self._end = "", "", ""
        self._halves = Halves()
        self._join = False
        self._reloaded: set[Server] = set()
        self._cancelled = threading.Event()
        self._future: Future[None] | None = None

    def cancel(self) -> None:
        """End the reply; the server learns it by the closing of the connection."""
        self._cancelled.set()
        if self._future:
            self._future.cancel()

    def __iter__(self) -> Iterator[str]:
        """Write the reply, yielding the text so far. Raises EngineError."""
        if self._cancelled.is_set():
            self.finish = "stopped"
            return
        texts: Told[str] = Told()
        self._future = self._background.start(self._order.counted(self.version, lambda: self._write(texts.put)))
        self._future.add_done_callback(lambda _: texts.end())
        if self._cancelled.is_set():  # just now, by somebody who saw no future yet
            self._future.cancel()
        try:
            while came := self._taken(texts):
                yield came[-1]
                texts.rest(self.pace())
            stopped, end = self._cancelled.is_set() or self._future.cancelled(), self._end
            if not stopped:
                self._future.result()
            # One that was stopped just after its end has ended, and all of it may not have been taken yet.
            if end and (came := texts.take()):
                yield came[-1]
            self.finish = end or "stopped"
        finally:
            self._future.cancel()

    def _taken(self, texts: Told[str]) -> list[str]:
        """Wait for texts, each longer than the one before; none: the reply is over."""
        return texts.take(None if self.pace() > 0 or self._cancelled.is_set() else 1)

    async def _write(self, show: Callable[[str], None]) -> None:
        """Have the reply written by the first server that begins it; twice around if none can be reached."""
        failures = await self._ask_each(show)
        if failures and all(_may_pass(failure) for failure in failures):
            await asyncio.sleep(self._order.again_s)
            failures = await self._ask_each(show)
        if failures:
            raise next((failure for failure in failures if isinstance(failure, ServerBusy)), failures[0])

    async def _ask_each(self, show: Callable[[str], None]) -> list[ServerFails]:
        """Return why each server did not begin the reply, nothing once one has written it."""
        failures = []
        for server in self._order.servers:
            try:
                await self._write_with(server, show)
                return []
            except RequestRefused:
                raise  # no other server would take it either
            except ServerFails as failure:
                server.failed()
                if self._written:
                    raise
                failures.append(failure)
        return failures

    async def _write_with(self, server: Server, show: Callable[[str], None]) -> None:
        """Have the reply written by one server, asking in other words where it wants them. Raises EngineError."""
        self.unheeded = self._unheeded_by(self._order.sampling, server)
        while True:
            body = self._body(server)
            try:
                await self._follow(server, body, show)
                return
            except ServerFails as failure:
                if self._end:
                    return  # the reply was over; only its figures are missing
                if self._written or not await self._amend(server, body, failure):
                    raise

    def _body(self, server: Server) -> dict[str, Any]:
        order = self._order
        messages = [order.messages[place] for place in self.kept]
        messages = joined(messages) if self._join else messages
        return request_body(server, model_name(server, self.version), messages, order.sampling, self._most, order.begun)

    async def _follow(self, server: Server, body: dict[str, Any], show: Callable[[str], None]) -> None:
        self._halves, self.completion_tokens = Halves(), 0
        server.writing += 1
        try:
            async with aclosing(server.chat(body)) as pieces:
                async for piece in pieces:
                    server.failed(False)
                    if self._take(piece, show):
                        return  # a stop text has come: what would follow is not wanted
        finally:
            server.writing -= 1
        if not self._end:
            self._end_untold(server, show)

    def _end_untold(self, server: Server, show: Callable[[str], None]) -> None:
        """End a reply whose server said that it is over and not why. Raises ServerFails when it holds no word.

        Some proxies never say it (of Gemini, for one), others leave it out only when what they stand before broke off.
        Nothing tells these apart, so it counts as cut short: a whole reply loses little by that, as its text is still
        learnt from, while a cut one that counts as whole could not go on, and would teach to end in mid-sentence.
        """
        if not self._written:
            raise ServerFails(f"The server at {server.url} ended the reply before its first word.")
        self._take(Piece(finish=_NOT_TOLD), show)

    def _take(self, piece: Piece, show: Callable[[str], None]) -> bool:
        """Add a piece to the reply, and show what has become certain of it; say whether a stop text has come."""
        if not self._end:
            self._written += self._halves.add(piece.text)
            self.completion_tokens += bool(piece.text)
        if piece.finish in BY_ITSELF:  # one that was cut short may write the other half when it goes on
            self._written += self._halves.rest()
        text, stopped = cut(self._written, self._order.sampling.stop)
        if piece.finish and not stopped:
            text = self._written
        if len(text) > len(self._shown):
            self._shown = text
            show(self._order.begun + text)
        if stopped or piece.finish:
            self._end = self._end or ("end" if stopped or piece.finish in BY_ITSELF else "length")
        self.completion_tokens = piece.completion_tokens or self.completion_tokens
        self.prompt_tokens = piece.prompt_tokens or self.prompt_tokens
        return stopped

    async def _amend(self, server: Server, body: dict[str, Any], failure: ServerFails) -> bool:
        """Change what is asked so that this server may take it; say whether there is something to change.

        Raises EngineError when the last message alone is too long, or the reply is too long to go on.
        """
        if not isinstance(failure, RequestRefused):
            return await self._loaded_again(server, failure)
        if failure.too_long:
            return self._shorten(server, failure)
        if learned(server, body, failure):
            self.unheeded = self._unheeded_by(self._order.sampling, server)
            return True
        messages = [self._order.messages[place] for place in self.kept]
        could_join = not self._join and len(joined(messages)) < len(messages)
        self._join = self._join or could_join
        return could_join

    def _shorten(self, server: Server, failure: RequestRefused) -> bool:
        server.context, begun = failure.context or server.context, self._order.begun
        # A beginning may fill half of what the server reads, as it was told to write no more: half of the rest is left.
        most = min(self._most, server.context // (4 if begun else 2)) if server.context else self._most
        fewer = without_oldest(self._order.messages, self.kept)
        if most < self._most:
            self._most = most
        elif fewer is not None:
            self.kept, self.prompt_tokens = fewer, 0  # what was counted were the messages meant
        elif not begun:
            raise EngineError(f"The message is longer than the server at {server.url} reads; shorten it.") from failure
        elif self._most > 1:
            self._most //= 2
        else:
            raise EngineError(too_long_to_go_on(server.context)) from failure
        return True

    async def _loaded_again(self, server: Server, failure: ServerFails) -> bool:
        """Give the version back to a server that has lost it, as one does that was started anew.

        Raises ServerFails with the reason if it does not take it: another server may have it.
        """
        if not isinstance(failure, NotThere) or not self.version or server in self._reloaded:
            return False
        self._reloaded.add(server)
        try:
            await self._order.load_again(server)
        except EngineError as error:
            raise NotThere(str(error), failure.status) from error
        return True

    @staticmethod
    def _unheeded_by(sampling: Sampling, server: Server) -> tuple[str, ...]:
        return unheeded(server.dialect, sampling, server.refused)


def _may_pass(failure: ServerFails) -> bool:
    """Whether it failed in a way that may be over in a moment, as a connection that broke."""
    told = isinstance(failure, ServerBusy | ServerSilent | NotThere)
    return (failure.status == 0 or failure.status >= 500) and not told
