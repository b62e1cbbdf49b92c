"""Tiny versions for the engine's tests, and an engine that serves them as they are, to the bit."""

from pathlib import Path

import torch

from chatui.engine.local import LocalEngine
from chatui.engine.local_reply import LocalGeneration
from chatui.engine.protocol import Sampling
from finetune.model import Loaded, load_base

GREEDY = Sampling(temperature=0, max_new_tokens=24)
HELLO = [("user", "hello world")]


def loaded_from(folder: Path) -> Loaded:
    """Load a model in float32 on the CPU."""
    return load_base(folder, torch.float32, torch.device("cpu"))


def engine_of(models: dict[int, Path], **settings) -> LocalEngine:
    """Make an engine that loads its versions from these folders."""
    return LocalEngine(lambda number, onto=None: loaded_from(models[number]), **{"form": "float32", **settings})


def written(engine: LocalEngine, messages=HELLO, sampling: Sampling = GREEDY, stay_with: int | None = None) -> str:
    """Return a reply's text."""
    return text_of(engine.begin(messages, sampling, stay_with))


def text_of(generation: LocalGeneration) -> str:
    """Write a reply to its end."""
    return ["", *generation][-1]
