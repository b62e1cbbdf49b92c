"""Versions on servers: their adapters, loaded on every server of a list that can be reached, or on none."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from chatui.engine.chat_request import learned, request_body
from chatui.engine.protocol import EngineError, Sampling
from chatui.engine.refusals import NotThere, RequestRefused, ServerAway, ServerBusy, ServerFails, ServerSilent
from chatui.engine.server import BY_ITSELF, LOADING_S, Piece, Server

log = logging.getLogger("rapport.engine")
# What serves waits so long for the other servers once one can serve it: no promotion may hold up the rollback after it.
_MOMENT_S, _A_WHILE_S = 3.0, 30.0  # going back to older versions; else
_TRY = Sampling(temperature=0.0, max_new_tokens=1)
_HOW = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"


def adapter_name(version: int) -> str:
    """Name a version as servers know it: never the same name for two, so that no cache mixes them."""
    return f"rapport-v{version}"


def model_name(server: Server, version: int) -> str:
    """Name the model that a request asks this server for."""
    if version == 0:
        return server.model
    return server.dialect.adapter_model.format(base=server.model, name=adapter_name(version))


async def load_everywhere(
    servers: Sequence[Server], model: str, paths: Mapping[int, str], back: bool
) -> dict[Server, str]:
    """Meet servers and have each load and try versions, by where it finds their adapters; return why which one lags.

    One that is out of reach lags, so that it holds up nobody. Where one refuses, or none is left, what was loaded here
    is unloaded again and EngineError raised. If what serves goes `back` to older versions, the newer ones must be left:
    one that refuses lags as well, one that is slow is hardly waited for, and where all are out of reach all lag.
    """
    loaded: list[tuple[Server, int]] = []
    tasks = {server: asyncio.create_task(take(server, model, paths, loaded)) for server in servers}
    try:
        await _settled(tasks.values(), _MOMENT_S if back else _A_WHILE_S)
        failed = {server: error for server, task in tasks.items() if (error := _error_of(server, task))}
        refused = [error for error in failed.values() if not _out_of_reach(error)]
        none = len(failed) == len(servers)
        if (refused and none) if back else (refused or none):
            raise next(iter(refused or failed.values()))
    except BaseException:
        for task in tasks.values():
            task.cancel()
        # Whatever it was, cancelled or refused: what nobody is routed to must not hold a place at the servers.
        await _all(unload(server, version) for server, version in loaded)
        raise
    return {server: str(error) for server, error in failed.items()}


async def take(
    server: Server, model: str, paths: Mapping[int, str], loaded: list[tuple[Server, int]] | None = None
) -> None:
    """Meet a server, and have it load and try versions; `loaded` is told those it had not. Raises EngineError."""
    await server.meet(model)
    for version, path in paths.items():
        if version and await load(server, version, path) and loaded is not None:
            loaded.append((server, version))
    for version in paths:
        await try_one(server, version)


async def _settled(tasks: Iterable[asyncio.Task[None]], seconds: float) -> None:
    """Wait for all of them; once one has succeeded only so many seconds for the others, and end these."""
    waiting, clock = set(tasks), asyncio.get_running_loop().time
    until: float | None = None
    while waiting:
        left = None if until is None else max(0.0, until - clock())
        done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            break
        if until is None and any(not task.exception() for task in done):
            until = clock() + seconds
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _error_of(server: Server, task: asyncio.Task[None]) -> EngineError | None:
    """Return what kept a server from taking versions. Raises what nobody foresaw."""
    if task.cancelled():
        return ServerSilent(f"The server at {server.url} has not answered yet.")
    error = task.exception()
    if error is None or isinstance(error, EngineError):
        return error
    raise error


def _out_of_reach(error: EngineError) -> bool:
    """Tell whether a server did not answer, or only that it cannot now, as what stands before one that is down does."""
    cause = error if isinstance(error, ServerFails) else error.__cause__
    if not isinstance(cause, ServerFails):
        return False
    return isinstance(cause, ServerAway | ServerSilent | ServerBusy) or cause.status in (502, 504)


async def try_everywhere(
    servers: Sequence[Server],
    versions: Iterable[int],
    until: float | None = None,
    path: Callable[[int], str] | None = None,
) -> None:
    """Let every server write one token with every version, all of them `until` then. Raises EngineError.

    With `path`, which tells where the servers find an adapter, one that a server has lost is loaded there again.
    """
    for version in versions:
        await _all(_try_until(until, server, version, path) for server in servers)


async def _try_until(until: float | None, server: Server, version: int, path: Callable[[int], str] | None) -> None:
    try:
        async with asyncio.timeout_at(until):
            await try_one(server, version, path)
    except TimeoutError as error:
        why = f"the server at {server.url} wrote no token in time."
        raise EngineError(f"Version {version} cannot serve: {why}") from error


async def try_one(server: Server, version: int, path: Callable[[int], str] | None = None) -> None:
    """Let one server write one token with one version, and learn which fields it takes; see `try_everywhere`."""
    body = request_body(server, model_name(server, version), [("user", "Hello")], _TRY, 1)
    try:
        if not has_token([piece async for piece in server.chat(body)]):
            raise ServerFails(f"The server at {server.url} ended the reply without a token.")
    except ServerFails as error:
        if learned(server, body, error):
            return await try_one(server, version, path)
        if path and version and isinstance(error, NotThere):
            await load(server, version, path(version))
            return await try_one(server, version)
        raise EngineError(f"Version {version} cannot serve: {error}") from error


def has_token(pieces: Iterable[Piece]) -> bool:
    """Tell whether a reply held a token: text, a number of tokens, or an end that only a token brings.

    The one token of a trial may be a text's end or half a character, which show no text. An answer of `[DONE]` alone
    shows none either, nor does one that was broken off or filtered; but these hold no token.
    """
    counted: int | None = None
    ended = False
    for piece in pieces:
        if piece.text:
            return True
        counted = counted if piece.completion_tokens is None else piece.completion_tokens
        ended = ended or piece.finish in {*BY_ITSELF, "length"}
    return ended if counted is None else counted > 0


async def load(server: Server, version: int, path: str) -> bool:
    """Load a version's adapter; return False if the server had it already. Raises EngineError."""
    if not server.dialect.adapters:
        kind = f" ({server.dialect.name})" if server.dialect.name else ""
        raise EngineError(
            f"Version {version} cannot serve: the server at {server.url}{kind} loads no adapters, so it serves "
            "version 0 only; use vLLM or SGLang for the others."
        )
    body = {"lora_name": adapter_name(version), "lora_path": path}
    try:
        await server.post(server.dialect.adapters + "load_lora_adapter", body, LOADING_S)
    except RequestRefused as error:
        if "already" in error.detail:
            await _require_same(server, version, path)
            return False
        raise EngineError(f"Version {version} cannot serve: {error}") from error
    except ServerFails as error:
        how = f" To load adapters, {_HOW}." if isinstance(error, NotThere) else ""
        raise EngineError(f"Version {version} cannot serve: {error}{how}") from error
    return True


async def unload(server: Server, version: int) -> None:
    """Unload a version; one that cannot be unloaded is only noted, as nothing is routed to it any more."""
    try:
        await server.post(server.dialect.adapters + "unload_lora_adapter", {"lora_name": adapter_name(version)})
    except ServerFails as error:
        if not isinstance(error, NotThere):
            log.warning("Version %s stays loaded: %s", version, error)
    server.unwanted.discard(version)


async def _require_same(server: Server, version: int, path: str) -> None:
    """Refuse a version's name if the server says that it stands for another folder's adapter."""
    cards = await server.models()
    name = adapter_name(version)
    root = next((card.get("root") for card in cards if card["id"] == name), None)
    if root and root != path:
        raise EngineError(
            f"Version {version} cannot serve: the server at {server.url} has {json.dumps(root)} loaded as {name!r}, "
            f"not {json.dumps(path)}; unload it there, or give each Rapport servers of its own."
        )


async def _all(work: Iterable[Awaitable[Any]]) -> None:
    """Do it all at once, to the end, then raise the first error."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
