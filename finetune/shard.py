"""A frozen base model divided among the processes of a run, for `accelerate launch --use_fsdp`.

Each layer's weights lie in equal parts in all processes, and are put together for as long as the layer computes
(FSDP: Zhao et al., "PyTorch FSDP", arXiv 2304.11277). What is trained is small and stays whole in every process, so
that gradients, optimizer and checkpoints are those of any other run.
"""

import os
from typing import Any

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from finetune.methods import MethodRefuses
from finetune.spread import Spread

_METHODS = ("lora",)  # those tried; dora reads a layer's weights outside of its computing, full has no frozen base


def is_asked_for(spread: Spread) -> bool:
    """Tell whether the launcher was told to divide the model."""
    return spread.count > 1 and os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true", "yes")


def shard(model: Any, method: str, spread: Spread) -> None:
    """Divide the layers of a base model, in place; embeddings and head stay whole. Raises MethodRefuses.

    From then on every process has to make the same number of passes. What layers compute is computed again on the
    way back instead of being kept: whoever divides a model has no memory to spare.
    """
    if method not in _METHODS:
        raise MethodRefuses(f"--method {method!r} cannot be trained on a divided model (FSDP); take lora.")
    mesh = init_device_mesh(model.device.type, (spread.count,))
    layers = [module for module in model.modules() if type(module).__name__ in model._no_split_modules]
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    inside = {weight for layer in layers for weight in layer.parameters()}
    fully_shard(model, mesh=mesh, ignored_params={weight for weight in model.parameters() if weight not in inside})
    model.gradient_checkpointing_enable({"use_reentrant": False})
    spread.hears = False
