"""Bottleneck adapters: after each layer a small network of its own, through a few dimensions and back.

Houlsby et al., "Parameter-efficient transfer learning for NLP", arXiv 1902.00751, one adapter a layer as in Pfeiffer
et al., arXiv 2005.00247. Being no linear map it cannot be merged into the weights.
"""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from finetune.model import write_json


class Bottleneck(nn.Module):
    """x + W_up gelu(W_down x); W_up begins at zero, so that it begins as nothing. Weights are kept in float32."""

    def __init__(self, size: int, inner: int, device: torch.device):
        super().__init__()
        self.down = nn.Linear(size, inner, device=device)
        self.up = nn.Linear(inner, size, device=device)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x's shape, (..., size), and type."""
        inner = F.gelu(F.linear(x, self.down.weight.to(x.dtype), self.down.bias.to(x.dtype)))
        return x + F.linear(inner, self.up.weight.to(x.dtype), self.up.bias.to(x.dtype))


def add(model: Any, inner: int) -> None:
    """Put a bottleneck after every layer of a transformers model, and freeze everything else."""
    model.requires_grad_(False)
    size = model.config.get_text_config().hidden_size
    for layer in _layers(model):
        layer.bottleneck = Bottleneck(size, inner, model.device)
        layer.register_forward_hook(_after)


def save(model: Any, folder: Path) -> None:
    """Write the bottlenecks alone: `bottleneck.safetensors`, and `bottleneck.json` for their size."""
    folder.mkdir(parents=True)
    added = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if ".bottleneck." in name}
    save_file(added, folder / "bottleneck.safetensors")
    inner = next(layer.bottleneck.down.out_features for layer in _layers(model))
    write_json(folder / "bottleneck.json", {"inner": inner})


def load(model: Any, folder: Path) -> None:
    """Put the bottlenecks of a folder into a base model. Raises OSError, ValueError, KeyError or RuntimeError."""
    add(model, int(json.loads((folder / "bottleneck.json").read_text())["inner"]))
    found = load_file(folder / "bottleneck.safetensors")
    wanted = {name for name in model.state_dict() if ".bottleneck." in name}
    if wanted != set(found):
        raise ValueError("its bottlenecks are those of another model")
    model.load_state_dict(found, strict=False)


def _after(layer: Any, _: Any, output: Any) -> Any:
    if isinstance(output, tuple):
        return (layer.bottleneck(output[0]), *output[1:])
    return layer.bottleneck(output)


def _layers(model: Any) -> list[Any]:
    """Find a model's layers: the list of as many modules as its configuration counts."""
    count = model.config.get_text_config().num_hidden_layers
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not lists:
        raise ValueError("the layers of this model are not found")
    return list(lists[0])
