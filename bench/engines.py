"""The library's own ways to write replies, as one would use them without Rapport.

Each engine is a context manager: opened for a subject and the most streams it will have, it gives a function from
prompts and a number of tokens to one `Stream` per prompt.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from threading import Thread
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

from bench.streams import Failed, Stream, together
from bench.subject import Subject
from finetune.model import Loaded

Write = Callable[[Sequence[str], int], list[Stream]]
Open = Callable[[Subject, int], AbstractContextManager[Write]]
_PAGE = 256  # tokens per block of the paged cache, the library's default
_LONGEST = 768  # tokens of a benched prompt and its reply, rounded up to whole pages


@contextmanager
def generate(subject: Subject, _: int) -> Iterator[Write]:
    """`generate` and a streamer: per request a thread, at once, with no lock, as tutorials build it."""
    loaded = subject.plain()

    def one(prompt: str, new_tokens: int) -> Stream:
        streamer = TextIteratorStreamer(loaded.template.tokenizer, skip_prompt=True, timeout=600)
        stream = Stream(time.monotonic())
        ids = torch.tensor([loaded.template.prompt([("user", prompt)])], device=loaded.device)
        arguments = {"attention_mask": torch.ones_like(ids), "max_new_tokens": new_tokens, "streamer": streamer}
        thread = Thread(target=loaded.model.generate, args=(ids,), kwargs=arguments, daemon=True)
        thread.start()
        stream.at = [time.monotonic() for _ in streamer]
        thread.join()
        stream.at.pop()  # what the streamer held back, given out at the end: no token
        stream.tokens = len(stream.at)
        return stream

    yield lambda prompts, new_tokens: together([partial(one, prompt, new_tokens) for prompt in prompts])


class _Steps(StoppingCriteria):  # type: ignore[misc]
    """Notes when each step of a batch is done; stops nothing."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Note the time."""
        if input_ids.is_cuda:
            torch.cuda.synchronize()
        self.at.append(time.monotonic())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@contextmanager
def generate_batch(subject: Subject, _: int, dtype: torch.dtype | None = None) -> Iterator[Write]:
    """One padded `generate` for all streams, which have to come together and end together."""
    loaded = subject.plain(dtype)

    def write(prompts: Sequence[str], new_tokens: int) -> list[Stream]:
        began, steps = time.monotonic(), _Steps()
        ids, mask = _padded(loaded, prompts)
        out = loaded.model.generate(
            ids, attention_mask=mask, max_new_tokens=new_tokens, stopping_criteria=StoppingCriteriaList([steps])
        )
        return [Stream(began, list(steps.at), out.shape[1] - ids.shape[1]) for _ in prompts]

    yield write


def _padded(loaded: Loaded, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode prompts as (rows, tokens) ids padded on the left, and their mask."""
    rows = [loaded.template.prompt([("user", prompt)]) for prompt in prompts]
    width, filler = max(map(len, rows)), loaded.model.generation_config.pad_token_id
    ids = [[filler] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=loaded.device), torch.tensor(mask, device=loaded.device)


@contextmanager
def continuous_batching(subject: Subject, streams: int) -> Iterator[Write]:
    """The library's continuous batching, its cache sized for these streams."""
    loaded = subject.plain()
    # Without a number of blocks it would take most of the memory; a switch to flash attention may ask the network.
    config = ContinuousBatchingConfig(num_blocks=(streams + 1) * _LONGEST // _PAGE, auto_switch_to_flash=False)
    manager = loaded.model.init_continuous_batching(loaded.model.generation_config, config)
    manager.start()
    try:
        yield lambda prompts, new_tokens: asyncio.run(_batched(loaded, manager, prompts, new_tokens))
    finally:
        manager.stop(timeout=60)


async def _batched(loaded: Loaded, manager: Any, prompts: Sequence[str], new_tokens: int) -> list[Stream]:
    """Send all prompts and follow them; every handler is on this one loop, which outlives them all."""
    streams = [Stream(time.monotonic()) for _ in prompts]
    ended = asyncio.Event()
    wait_for = set(range(len(prompts)))

    def came(place: int, result: Any) -> None:
        streams[place].at.append(time.monotonic())
        streams[place].tokens = len(result.generated_tokens)
        if result.is_finished():
            wait_for.discard(place)
        if not wait_for:
            ended.set()

    for place, prompt in enumerate(prompts):
        name = f"{streams[place].began}-{place}"
        manager.register_result_handler(name, partial(came, place))
        ids = loaded.template.prompt([("user", prompt)])
        manager.add_request(ids, request_id=name, max_new_tokens=new_tokens, streaming=True)
    while not ended.is_set():
        try:
            await asyncio.wait_for(ended.wait(), 1)
        except TimeoutError:
            if not manager.is_running():
                raise Failed("its loop ended before the replies did") from None
    return streams
