"""One OpenAI-compatible server: what it is, and the requests that are made of it."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from chatui.engine.dialects import LLAMA_CPP, STANDARD, Dialect, dialect_of
from chatui.engine.refusals import (
    NotThere,
    ServerAway,
    ServerFails,
    ServerSilent,
    message_of,
    not_loaded,
    refusal,
    said,
    shortened,
)
from chatui.engine.sse import Event, NotEvents, events

_QUICK_S = 15.0  # for everything but replies and the loading of adapters
LOADING_S = 300.0  # a server may read an adapter from a slow disk
_FIGURES_S = 5.0  # after a reply's end its figures may follow
_NOT_NOW = (0, 401, 403, 429, 502, 503, 504)  # out of reach, refused, or what a proxy says of one that is down
_PUT_OFF_S = 30.0  # a server that failed is asked last for so long
_MOST_BODY = 64 * 1024
# What stands for a reason that is still to come: older SGLang and Ollama write '', KoboldCpp 'null'.
_NOT_YET = ("", "null")
# Why a model may end a reply by itself, in the words of one server or another. For any other reason (a limit, a filter,
# an abort, one that is not known) the reply was cut short: it may go on, and no version is taught to end there.
BY_ITSELF = {"stop", "eos", "eos_token", "stop_sequence", "end_turn", "tool_calls", "function_call"}


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds: for a connection, for the next token (the first one too), before trying again."""

    connect_s: float = 5.0
    token_s: float = 120.0
    again_s: float = 0.5  # a reply that has not begun is tried once more after so long


@dataclass
class Piece:
    """What one event of a chat stream tells."""

    text: str = ""
    finish: str | None = None  # why the reply is over, in the server's word
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Server:
    """A server's address, kind and load. Its methods run in the engine's event loop."""

    def __init__(self, url: str, key: str, patience: Patience):
        """Know a server by its address; nothing is asked of it yet."""
        self.url, self._key, self._patience = url, key, patience
        self.dialect: Dialect = STANDARD
        self.model = ""
        self.context: int | None = None
        self.refused: set[str] = set()  # fields of a request that it objected to
        self.unwanted: set[int] = set()  # versions that it may hold and that serve no more
        self.writing = 0
        self._failed_at = float("-inf")
        self._client: httpx.AsyncClient | None = None

    @property
    def failing(self) -> bool:
        """Whether it failed just now."""
        return time.monotonic() - self._failed_at < _PUT_OFF_S

    def failed(self, does: bool = True) -> None:
        """Note that it failed, or that it answers again."""
        self._failed_at = time.monotonic() if does else float("-inf")

    async def meet(self, model: str) -> None:
        """Ask what it is and what it serves; `model` is the base model's name there, empty: the first it lists.

        Raises ServerFails when it cannot be reached, or lists nothing and no name was given.
        """
        try:
            cards = await self.models()
        except ServerFails as error:
            if not model or error.status in _NOT_NOW:
                raise
            cards = []  # the list is not what is needed, as long as the name is known
        bases = [card for card in cards if not card.get("parent")]
        if not model and not bases:
            raise ServerFails(f"The server at {self.url} lists no model; name one with --engine-model.")
        card = next((card for card in cards if card.get("id") == model), bases[0] if bases else {})
        self.model = model or str(card["id"])
        if cards:
            self.dialect = dialect_of([str(card.get("owned_by")) for card in cards])
        self.context = _length(card.get("max_model_len")) or await self._window() or self.context
        self.refused.clear()

    async def _window(self) -> int | None:
        """Ask llama.cpp how much it reads: its list of models does not tell."""
        if self.dialect is not LLAMA_CPP:
            return None
        try:
            return _length(json.loads(await self._ask("GET", "/props"))["default_generation_settings"]["n_ctx"])
        except (ServerFails, ValueError, KeyError, TypeError):
            return None  # older ones do not say; their refusal will

    async def models(self) -> list[dict[str, Any]]:
        """List the models that it serves, adapters among them. Raises ServerFails."""
        body = await self._ask("GET", "/v1/models")
        try:
            return [card for card in json.loads(body)["data"] if isinstance(card, dict) and "id" in card]
        except (ValueError, KeyError, TypeError) as error:
            raise ServerFails(
                f"The server at {self.url} answers /v1/models with something else than a list of models; "
                "is it OpenAI-compatible?"
            ) from error

    async def post(self, path: str, body: dict[str, Any], within_s: float = _QUICK_S) -> bytes:
        """Ask for something to be done. Raises ServerFails."""
        return await self._ask("POST", path, body, within_s)

    async def chat(self, body: dict[str, Any]) -> AsyncGenerator[Piece]:
        """Stream a chat completion. Raises ServerFails, before the first piece or between any two.

        It may be over without a piece that has a `finish`, if the server says so (`[DONE]`) and no more.
        Closing the iterator closes the connection, by which the server learns that it need not go on.
        """
        async with self._answer("POST", "/v1/chat/completions", body, self._patience.token_s) as response:
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                what = kind.partition(";")[0] or "nothing known"
                raise ServerFails(
                    f"The server at {self.url} answers a chat with {what!r} instead of a stream of events; "
                    "is it OpenAI-compatible?"
                )
            pieces, within_s = self._pieces(events(response.aiter_bytes())), self._patience.token_s
            while (piece := await self._next(pieces, within_s)) is not None:
                yield piece
                if piece.finish:
                    within_s = min(within_s, _FIGURES_S)

    async def close(self) -> None:
        """Let go of its connections."""
        if self._client:
            await self._client.aclose()

    async def _next(self, pieces: AsyncIterator[Piece], within_s: float) -> Piece | None:
        """Wait for the next piece; comments that only keep the connection alive do not count as one."""
        try:
            async with asyncio.timeout(within_s):
                return await anext(pieces, None)
        except NotEvents as error:
            what = self._shown(str(error))
            raise ServerFails(f"The server at {self.url} sends what is no chat stream: {what!r}.") from error

    async def _pieces(self, stream: AsyncIterator[Event]) -> AsyncIterator[Piece]:
        finished = False
        async for event in stream:
            if event.data.strip() == "[DONE]":
                return
            if not event.data.strip():
                continue  # it keeps the connection alive, as a comment does
            piece = self._piece(event)
            finished = finished or piece.finish is not None
            yield piece
        if not finished:
            raise ServerAway(f"The server at {self.url} ended the connection in the middle of the reply.")

    def _piece(self, event: Event) -> Piece:
        if event.is_error:
            raise self._failure(said(event.data.encode()))
        try:
            chunk = json.loads(event.data)
            if chunk.get("error") or chunk.get("object") == "error":
                raise self._failure(message_of(chunk))
            choice = (chunk.get("choices") or [{}])[0]
            usage = chunk.get("usage") or {}
            text = (choice.get("delta") or {}).get("content") or ""
            if not isinstance(text, str):
                raise TypeError("a piece of text must be a text")
            reason = choice.get("finish_reason")
            figures = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
            finish = reason if isinstance(reason, str) and reason not in _NOT_YET else None
            return Piece(text, finish, *(n if isinstance(n, int) else None for n in figures))
        except (ValueError, AttributeError, TypeError, LookupError) as error:
            raise NotEvents(event.data[:80]) from error

    def _failure(self, why: str) -> ServerFails:
        kind = NotThere if not_loaded(why) else ServerFails  # older SGLang tells it in its stream
        return kind(f"The server at {self.url} failed{': ' + self._shown(why) if why else ''}.")

    def _shown(self, text: str) -> str:
        return shortened(text.replace(self._key, "***") if self._key else text)

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, within_s: float = _QUICK_S
    ) -> bytes:
        async with self._answer(method, path, body, within_s) as response, asyncio.timeout(within_s):
            return await response.aread()

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: dict[str, Any] | None, within_s: float
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and give its answer if it is a 200, with its body still to be read. Raises ServerFails."""
        try:
            request = self._open().build_request(method, self.url + path, json=body)
            async with asyncio.timeout(within_s):
                response = await self._open().send(request, stream=True)
            try:
                if response.status_code != 200:
                    raise await self._refusal(response)
                yield response
            finally:
                await response.aclose()
        except TimeoutError as error:
            raise ServerSilent(f"The server at {self.url} sent nothing for {within_s:g} s.") from error
        except httpx.ConnectTimeout as error:
            raise ServerSilent(f"The server at {self.url} does not answer.") from error
        except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise ServerAway(f"The server at {self.url} cannot be reached: {shortened(str(error))}.") from error
        except httpx.HTTPError as error:
            raise ServerAway(f"The connection to the server at {self.url} broke.") from error

    async def _refusal(self, response: httpx.Response) -> ServerFails:
        body = b""
        async with asyncio.timeout(_QUICK_S):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MOST_BODY:
                    break
        return refusal(self.url, response.status_code, body, response.headers.get("location", ""), self._key)

    def _open(self) -> httpx.AsyncClient:
        """The connections: made in the event loop that uses them; proxies and keys of the environment are not used.

        Each request has a connection of its own: one that was kept may be dead, and is found so only by a failure.
        """
        if self._client is None:
            self._client = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=httpx.Timeout(None, connect=self._patience.connect_s),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                verify=ssl.create_default_context(),
                trust_env=False,
                follow_redirects=False,
            )
        return self._client


def _length(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def address(url: str) -> str:
    """Return a server's address as it is used. Raises ValueError with what is wrong and how to write it."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give http:// or https:// addresses between commas, such as http://gpu:8000")
    if parts.username or parts.password:
        raise ValueError("an address holds no user or password; the key is read from RAPPORT_ENGINE_KEY")
    if parts.query or parts.fragment:
        raise ValueError("an address ends before any ? or #, such as http://gpu:8000")
    parts.port  # noqa: B018 (raises ValueError for what is no port)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
