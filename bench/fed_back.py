"""Whether a reply is what its version writes alone: its very tokens are fed back through that version.

An engine gives text, from which tokens cannot be had back for certain. So versions are handed to it with a template
that spells a reply's tokens out as numbers; the text is then made of these.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from bench.subject import Wrapped
from chatui.engine.protocol import Engine, EngineError, Sampling
from finetune.model import Loaded

NEAR = 0.1  # nats below the best token that a greedy engine's other rounding may take it to
Messages = Sequence[tuple[str, str]]


class Spelled(Wrapped):
    """A chat template that decodes tokens into their numbers."""

    def decode(self, ids: Sequence[int]) -> str:
        """Write the numbers, so that the text of two parts is the text of both."""
        return "".join(f"{int(token)} " for token in ids)


def spelled(loaded: Loaded) -> Loaded:
    """Return a version whose replies are read as numbers."""
    template: Any = Spelled(loaded.template)
    return replace(loaded, template=template)


@dataclass
class Reply:
    """One reply as an engine wrote it."""

    messages: Messages
    began: float
    version: int | None = None
    ids: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)  # when each token came, in seconds of time.monotonic
    finish: str | None = None
    dropped: str = ""  # why it did not come to its end


def ask(engine: Engine, messages: Messages, sampling: Sampling) -> Reply:
    """Have a reply written, to its end or to whatever stopped it."""
    reply, text = Reply(messages, time.monotonic()), ""
    try:
        generation = engine.begin(messages, sampling)
        reply.version = generation.version
        for so_far in generation:
            reply.at.append(time.monotonic())
            text = so_far
        reply.finish = generation.finish
    except EngineError as error:
        reply.dropped = str(error)
    # An engine that raises anything else has dropped the reply too; the figures say so.
    except Exception as error:  # noqa: BLE001
        reply.dropped = f"{type(error).__name__}: {error}"
    reply.ids = [int(number) for number in text.split()]
    cut_short = reply.finish == "length" and len(reply.ids) != sampling.max_new_tokens
    if not reply.dropped and (reply.finish not in ("end", "length") or cut_short):
        reply.dropped = f"it finished by {reply.finish!r} after {len(reply.ids)} tokens"
    return reply


def evenly(replies: Sequence[Reply], most: int = 200) -> list[Reply]:
    """Take at most so many replies that came to their end, from the first to the last of them."""
    whole = [reply for reply in replies if not reply.dropped]
    step = max(1, -(-len(whole) // most))
    return whole[::step]


def near_best(loaded: Loaded, replies: Sequence[Reply]) -> tuple[int, int]:
    """Feed replies back one by one; return how many of their tokens are near the best, and how many there are.

    Where a reply ended by itself, its end counts as a token: the best of those that end a turn.
    """
    near = total = 0
    for reply in replies:
        below = _below_best(loaded, reply)
        near, total = near + int((below <= NEAR).sum()), total + len(below)
    return near, total


def _below_best(loaded: Loaded, reply: Reply) -> torch.Tensor:
    """Return (tokens,) nats that each token of a reply is below the best one at its place."""
    prompt = loaded.template.prompt(reply.messages)
    ids = torch.tensor([prompt + reply.ids], device=loaded.device)
    with torch.inference_mode():
        out = loaded.model(input_ids=ids, use_cache=False, logits_to_keep=len(reply.ids) + 1)
    logits = out.logits[0].float()
    best = logits.max(-1).values
    written = torch.tensor(reply.ids, device=loaded.device)
    below: torch.Tensor = best[:-1] - logits[:-1].gather(1, written[:, None])[:, 0]
    if reply.finish != "end":
        return below
    ends = logits[-1, sorted(loaded.template.end_ids)].max()
    return torch.cat([below, (best[-1] - ends)[None]])
