"""How far training is, on disk: written whole after every epoch, so that a run that was killed goes on from there.

`WORK/epoch-N/` holds `state.json` and `tensors.safetensors`: the trained weights, the optimizer's two moments, the
weights kept as the best, with what the method gave them, and what it remembers. It is renamed into place when whole,
and the one before it is deleted then.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from finetune.model import write_json
from finetune.spread import Spread

_MOMENTS = ("exp_avg", "exp_avg_sq")  # as torch's AdamW names them


@dataclass
class State:
    """How far training is, and what it measured on the way."""

    epoch: int = 0  # epochs done
    step: int = 0
    loss_sum: float = 0.0
    tokens: int = 0
    validation: list[float] = field(default_factory=list)
    general: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)  # the validation rows' losses that epochs are held against
    kept: int = 0  # the epoch whose weights are kept; 0: none
    worse: int = 0  # epochs since, that were worse


def save(
    work_dir: Path,
    key: str,
    state: State,
    weights: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    kept: Mapping[str, Tensor],
    inner: Mapping[str, Tensor],
) -> None:
    """Write a checkpoint and delete those before it.

    `key` names the settings and data that it belongs to, `inner` is what the method remembers beside its weights.
    """
    tensors = {f"weight/{name}": weight.detach() for name, weight in weights.items()}
    tensors |= {f"kept/{name}": weight for name, weight in kept.items()}
    tensors |= {f"inner/{name}": tensor for name, tensor in inner.items()}
    for name, weight in weights.items():
        tensors |= {f"{moment}/{name}": optimizer.state[weight][moment] for moment in _MOMENTS}
    home = work_dir / f"epoch-{state.epoch:04d}"
    partial = work_dir / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial / "tensors.safetensors")
    write_json(partial / "state.json", {"key": key, **asdict(state)})
    shutil.rmtree(home, ignore_errors=True)
    partial.rename(home)
    for older in work_dir.glob("epoch-*"):
        if older != home:
            shutil.rmtree(older)


def newest(
    work_dir: Path, key: str, weights: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[State, dict[str, Tensor], dict[str, Tensor]] | None:
    """Put weights and optimizer back as the newest checkpoint has them; return its state, kept weights and `inner`.

    None, and nothing is touched, where there is none of these settings and data.
    """
    for home in sorted(work_dir.glob("epoch-*"), reverse=True):
        state = json.loads((home / "state.json").read_text())
        if state.pop("key") != key:
            continue
        tensors = load_file(home / "tensors.safetensors")
        for name, weight in weights.items():
            weight.data.copy_(tensors[f"weight/{name}"])
            moments = {moment: tensors[f"{moment}/{name}"].to(weight.device) for moment in _MOMENTS}
            optimizer.state[weight] = {"step": _beside(weight, state["step"]), **moments}
        return State(**state), _part(tensors, "kept/"), _part(tensors, "inner/")
    return None


def level(
    state: State, weights: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, spread: Spread
) -> None:
    """Give the optimizers of a run's other processes the moments that the main one has from its checkpoint."""
    for weight in weights.values():
        if not spread.main:
            moments = {moment: torch.zeros_like(weight) for moment in _MOMENTS}
            optimizer.state[weight] = {"step": _beside(weight, state.step), **moments}
        spread.level([optimizer.state[weight][moment] for moment in _MOMENTS])


def _beside(weight: Tensor, step: int) -> Tensor:
    """Return the count of steps as a fused optimizer keeps it: beside its weight, not on the CPU."""
    return torch.tensor(float(step), device=weight.device)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
