"""A chat server in this process that answers as vLLM's documentation and source say it does.

A test tells it what it serves and what goes wrong; it keeps every request that it was sent.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.chatui.scripted import wait_for


@dataclass
class StandIn:
    """What a server does; `url` is where it listens."""

    owner: str = "vllm"
    base: str = "base-model"
    key: str = ""
    context: int | None = None  # in words; a message's frame counts as two
    tells_context: bool = True
    knows: set[str] | None = None  # fields of a chat request that it takes; None: any
    alternates: bool = False  # whether its template wants roles to take turns
    adapters: dict[str, str] = field(default_factory=dict)
    away: int = 0  # a status with which whatever stands before it answers in its place
    page: str = ""  # a page of HTML that it shows where models are listed
    loads: bool = True  # whether adapters may be loaded at run time
    broken: set[str] = field(default_factory=set)  # adapters that it fails to load
    slow: set[str] = field(default_factory=set)  # adapters whose loading waits at the gate
    mute: set[str] = field(default_factory=set)  # models that it fails to write with
    pieces: list[str] = field(default_factory=lambda: ["Hel", "lo ", "you"])
    finish: str = "stop"
    gated: bool = False
    pings: bool = False  # whether comments keep the connection alive while a reply waits at its gate
    instead: deque[Response] = field(default_factory=deque)  # answers to the next chats
    trials: deque[Response] = field(default_factory=deque)  # answers to the next requests that try a version
    raw: bytes | None = None  # what a chat's stream holds instead; the connection then breaks

    url: str = ""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    writing: int = 0
    hung_up: threading.Event = field(default_factory=threading.Event)
    loop: asyncio.AbstractEventLoop | None = None

    def chats(self) -> list[dict[str, Any]]:
        """Return the chat requests, without those that try a version."""
        return [body for path, body in self.asked if path == "/v1/chat/completions" and body["max_tokens"] > 1]

    def changes(self) -> list[tuple[str, str]]:
        """Return what was done to adapters, in order."""
        return [(path.rpartition("/")[2].partition("_")[0], b["lora_name"]) for path, b in self.asked if "lora" in path]

    def release(self, pieces: int = 1) -> None:
        """Let a gated reply go on."""
        assert self.loop
        for _ in range(pieces):
            self.loop.call_soon_threadsafe(self.gate.release)

    # -- routes -----------------------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Keep the request, turn away who has no key, and answer."""
        if scope["type"] != "http":
            return await self._app()(scope, receive, send)
        request = Request(scope, receive)
        self.headers.append(dict(request.headers))
        body = await request.body()
        self.asked.append((scope["path"], json.loads(body) if body else {}))
        if self.away:
            return await PlainTextResponse("", self.away)(scope, receive, send)
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
        if scope["path"] == "/v1/chat/completions":
            return await self._chat(self.asked[-1][1], scope, receive, send)
        return await self._app()(scope, _once(body), send)

    def _app(self) -> Starlette:
        routes = [Route("/v1/models", self._models)]
        if self.owner == "llamacpp" and self.context:
            routes.append(Route("/props", self._props))
        if self.loads:
            prefix = "/" if self.owner == "sglang" else "/v1/"
            for verb in (self._load, self._unload):
                routes.append(Route(f"{prefix}{verb.__name__[1:]}_lora_adapter", verb, methods=["POST"]))
        return Starlette(routes=routes)

    async def _models(self, _: Request) -> Response:
        if self.page:
            return HTMLResponse(self.page)
        card = {
            "object": "model",
            "owned_by": self.owner,
            "max_model_len": self.context if self.tells_context and self.owner != "llamacpp" else None,
        }
        cards = [{**card, "id": self.base, "root": "/models/base", "parent": None}]
        cards += [{**card, "id": name, "root": path, "parent": self.base} for name, path in self.adapters.items()]
        return JSONResponse({"object": "list", "data": cards})

    async def _props(self, _: Request) -> Response:
        return JSONResponse({"default_generation_settings": {"n_ctx": self.context}})

    async def _load(self, request: Request) -> Response:
        asked = await request.json()
        name, path = asked["lora_name"], asked["lora_path"]
        if name in self.adapters:
            if self.owner == "sglang":
                return JSONResponse({"success": False, "error_message": f"LoRA adapter {name} is already loaded"}, 400)
            return _error(400, f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in "
                          "place, set 'load_inplace' to True.", "InvalidUserInput")  # fmt: skip
        if name in self.slow:
            await self.gate.acquire()
        if name in self.broken and self.owner == "sglang":
            return JSONResponse({"success": False, "error_message": f"No adapter found for {path}"}, 400)
        if name in self.broken:
            return _error(404, f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError")
        self.adapters[name] = path
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            if self.owner == "sglang":
                return JSONResponse({"success": False, "error_message": f"LoRA adapter {name} is not loaded"}, 400)
            return _error(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    def _refusal(self, body: dict[str, Any]) -> Response | None:
        model = body["model"].rpartition(":")[2]
        if model != self.base and model not in self.adapters:
            if self.owner == "sglang":
                message = f"Got LoRA adapter that has never been loaded: {model}\nAll loaded adapters: dict_keys([])."
                return JSONResponse({"object": "error", "message": message, "code": 400}, 400)
            return _error(404, f"The model `{model}` does not exist.", "NotFoundError", "model")
        if model in self.mute:
            return _error(500, "CUDA error: an illegal memory access was encountered", "InternalServerError")
        unknown = set(body) - self.knows if self.knows else set()
        if unknown:
            return JSONResponse({"detail": f"Unexpected fields in the request: {unknown}"}, 422)
        roles = [message["role"] for message in body["messages"]]
        if self.alternates and any(one == other for one, other in pairwise(roles)):
            return _error(400, "Conversation roles must alternate user/assistant/user/assistant/...", "BadRequestError")
        words = sum(2 + len(message["content"].split()) for message in body["messages"])
        if self.context and words + body["max_tokens"] > self.context:
            length = f" is {self.context} tokens" if self.tells_context else " is exceeded"
            return _error(400, f"This model's maximum context length{length}. However, you requested "
                          f"{words + body['max_tokens']} tokens.", "BadRequestError")  # fmt: skip
        return None

    async def _chat(self, body: dict[str, Any], scope: Any, receive: Any, send: Any) -> None:
        answers = self.trials if body["max_tokens"] == 1 else self.instead
        answer = answers.popleft() if answers else self._refusal(body)
        if answer is not None:
            return await answer(scope, receive, send)
        self.writing += 1
        try:
            await self._stream(body, receive, send)
        finally:
            self.writing -= 1

    async def _stream(self, body: dict[str, Any], receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        trial = body["max_tokens"] == 1
        if self.raw is not None and not trial:
            await send({"type": "http.response.body", "body": self.raw, "more_body": True})
            raise ConnectionAbortedError("as the test wants it")
        gone = asyncio.ensure_future(receive())
        for event in self._events(body, self.pieces[:1] if trial else self.pieces):
            if self.gated and not trial and "content" in json.dumps(event):
                free = asyncio.ensure_future(self.gate.acquire())
                while not free.done() and not gone.done():
                    await asyncio.wait({gone, free}, timeout=0.02, return_when=asyncio.FIRST_COMPLETED)
                    if self.pings:
                        await send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})
                if gone.done():
                    free.cancel()
                    self.hung_up.set()
                    return
            data = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
            await send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})
        gone.cancel()
        await send({"type": "http.response.body", "body": b""})

    def _events(self, body: dict[str, Any], pieces: list[str]) -> Iterator[Any]:
        def chunk(finish: str | None = None, **delta: str) -> dict[str, Any]:
            return {
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }

        yield chunk(role="assistant")
        for piece in pieces:
            yield chunk(content=piece)
        yield chunk("length" if body["max_tokens"] == 1 else self.finish)
        if body.get("stream_options", {}).get("include_usage"):
            yield {"choices": [], "usage": {"prompt_tokens": 17, "completion_tokens": 40, "total_tokens": 57}}
        yield "[DONE]"


def _error(status: int, message: str, kind: str, param: str | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)


def _once(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


@contextmanager
def listening(stand_in: StandIn, port: int = 0) -> Iterator[StandIn]:
    """Let a stand-in listen on 127.0.0.1, at a free port if none is given, until the block ends."""
    config = uvicorn.Config(stand_in, host="127.0.0.1", port=port, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    stand_in.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    stand_in.loop = server.servers[0].get_loop()
    try:
        yield stand_in
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
