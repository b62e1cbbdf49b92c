"""What is sent to a server for one reply."""

from collections.abc import Sequence
from typing import Any

from chatui.engine.dialects import sampling_fields
from chatui.engine.protocol import Sampling
from chatui.engine.refusals import RequestRefused, ServerFails
from chatui.engine.server import Server

# Without these fields the reply would be another one, or none.
_NEEDED = {"model", "messages", "stream", "max_tokens", "continue_final_message", "add_generation_prompt"}


def request_body(
    server: Server,
    model: str,
    messages: Sequence[tuple[str, str]],
    sampling: Sampling,
    most: int,
    begun: str = "",
) -> dict[str, Any]:
    """Write a chat request for a reply of at most `most` tokens that goes on from the text `begun`."""
    turns = [{"role": role, "content": content} for role, content in messages]
    body: dict[str, Any] = {"model": model, "messages": turns, "stream": True, "max_tokens": most}
    body |= sampling_fields(server.dialect, sampling, server.refused)
    if "stream_options" not in server.refused:
        body["stream_options"] = {"include_usage": True}
    if begun:
        turns.append({"role": "assistant", "content": begun})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return body


def learned(server: Server, body: dict[str, Any], failure: ServerFails) -> bool:
    """Note which fields of a request the server objects to; say whether it may now take one without them."""
    if not isinstance(failure, RequestRefused) or failure.too_long:
        return False
    named = failure.names(body.keys() - _NEEDED) - server.refused
    server.refused |= named
    return bool(named)
