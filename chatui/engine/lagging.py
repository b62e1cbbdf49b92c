"""Servers that have not what serves: they were out of reach, or failed, while it was loaded on the others.

None of them is given a reply. Each is asked again until it has loaded and tried all that serves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from chatui.engine.server import Server

_AGAIN_S = 5.0


class Lagging:
    """The servers that lag, each with the reason; changed in the engine's event loop alone."""

    def __init__(self, take: Callable[[Server], Awaitable[object]]):
        """`take` has a server load and try what serves, and raises where that fails."""
        self._take = take
        self._why: dict[Server, str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def __contains__(self, server: Server) -> bool:
        """Tell whether a server lags."""
        return server in self._why

    def told(self) -> str:
        """Say in one sentence which servers lag and why; nothing where none does."""
        why = dict(self._why)
        if not why:
            return ""
        urls, have = ", ".join(server.url for server in why), "it has" if len(why) == 1 else "they have"
        return f"No replies go to {urls} until {have} what serves now: {next(iter(why.values()))}"

    def are(self, why: Mapping[Server, str]) -> None:
        """Note which servers lag from now on, in place of those before."""
        self._why = dict(why)

    def begin(self) -> None:
        """Ask each of them again and again."""
        self._tasks = [asyncio.create_task(self._until_taken(server)) for server in self._why]

    async def pause(self) -> None:
        """Ask none of them until `begin`: what serves is about to change."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _until_taken(self, server: Server) -> None:
        while True:
            await asyncio.sleep(_AGAIN_S)
            try:
                await self._take(server)
            # Whatever it was, it is asked again: else it would be left out for ever.
            except Exception as error:  # noqa: BLE001
                self._why = self._why | {server: str(error)}
            else:
                self._why = {other: why for other, why in self._why.items() if other is not server}
                server.failed(False)
                return
