"""What training adds to the base model, or changes in it, and how that is kept: one setting chooses.

| method | what is trained | serves |
|---|---|---|
| lora | low-rank sums to every linear layer (Hu et al., arXiv 2106.09685) | merged |
| dora | the same, length and direction apart (Liu et al., arXiv 2402.09353) | merged |
| adalora | the same, ranks given where they tell (Zhang et al., arXiv 2303.10512) | merged |
| ia3 | a factor for each key, value and inner value (Liu et al., arXiv 2205.05638) | merged |
| prefix | keys and values before every conversation (Li and Liang, arXiv 2101.00190) | slower, one reply at a time |
| prompt | embeddings before every conversation (Lester et al., arXiv 2104.08691) | slower, one reply at a time |
| bottleneck | a small network after each layer (Houlsby et al., arXiv 1902.00751) | slower |
| full | every weight | as a whole model |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)
from torch import Tensor
from transformers import DynamicCache

from feedback.errors import RapportError
from finetune import bottleneck
from finetune.model import Loaded
from finetune.settings import TrainSettings

_ALLOCATOR = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # how PEFT's RankAllocator names what it remembers
_RANKS = "rank_pattern/"  # before a layer's name
_BEGINS_AS = "You are a helpful, friendly assistant. Answer what was asked, briefly and well."


@dataclass(frozen=True)
class Method:
    """What a method's versions are: `rate` is its own peak learning rate, `part` the folder in a version's.

    `again`: where memory runs out, what a layer computed can be forgotten and computed again on the way back.
    `packs`: what it adds is the same for every token, so that rows can be read together; nothing stands before them.
    """

    rate: float
    merged: bool
    part: Literal["adapter", "bottleneck", "model"] = "adapter"
    again: bool = True
    packs: bool = True


METHODS = {
    "lora": Method(2e-3, True),
    "dora": Method(2e-3, True),
    "adalora": Method(5e-3, True),
    "ia3": Method(2e-2, True),
    # Keys and values that stand before a row are a cache, which transformers drops where it computes again.
    "prefix": Method(1e-2, False, again=False, packs=False),
    "prompt": Method(2e-2, False, packs=False),
    "bottleneck": Method(2e-3, False, "bottleneck"),
    "full": Method(5e-5, False, "model"),
}


class MethodRefuses(RapportError):
    """A method cannot be used on this base model."""


def adapt(loaded: Loaded, settings: TrainSettings, steps: int) -> Any:
    """Make the base model trainable by `settings.method`, in place; return what to train. Raises MethodRefuses."""
    method, model = settings.method, loaded.model
    try:
        if method == "full":
            return model.float().requires_grad_()
        if method == "bottleneck":
            bottleneck.add(model, 4 * settings.lora_rank)
            return model
        tuned = get_peft_model(model, _config(settings, steps))
        if method in ("prefix", "prompt"):
            _begin_as_words(tuned, loaded, method)
        return tuned
    except (ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MethodRefuses(f"--method {method!r} does not fit this base model ({reason}); take lora.") from error


def _config(settings: TrainSettings, steps: int) -> PeftConfig:
    rank, task, everywhere = settings.lora_rank, "CAUSAL_LM", "all-linear"
    if settings.method == "adalora":
        return AdaLoraConfig(
            task_type=task,
            target_modules=everywhere,
            init_r=rank + max(1, rank // 2),  # always more than are left: taking none away is an error in PEFT
            target_r=rank,
            lora_alpha=2 * rank,
            total_step=max(steps, 4),
            tinit=steps // 10,
            tfinal=steps // 2,
            deltaT=1,
        )
    if settings.method == "ia3":
        return IA3Config(task_type=task)
    if settings.method == "prefix":
        return PrefixTuningConfig(task_type=task, num_virtual_tokens=settings.virtual_tokens)
    if settings.method == "prompt":
        return PromptTuningConfig(task_type=task, num_virtual_tokens=settings.virtual_tokens)
    dora = settings.method == "dora"
    return LoraConfig(task_type=task, target_modules=everywhere, r=rank, lora_alpha=2 * rank, use_dora=dora)


def _begin_as_words(tuned: Any, loaded: Loaded, method: str) -> None:
    """Begin with what plain words give, not with noise, which few pairs never get away from (Li and Liang, 7.3)."""
    base, count = tuned.get_base_model(), tuned.active_peft_config.num_virtual_tokens
    words = loaded.template.encode(_BEGINS_AS)
    ids = torch.tensor([(words * -(-count // len(words)))[:count]], device=loaded.device)
    with torch.no_grad():
        if method == "prompt":
            tuned.prompt_encoder[tuned.active_adapter].embedding.weight.copy_(base.get_input_embeddings()(ids)[0])
            return
        cache = DynamicCache(config=base.config)
        base(input_ids=ids, past_key_values=cache, use_cache=True)
        kept = torch.stack([part[0] for layer in cache.layers for part in (layer.keys, layer.values)])
        # (layers x 2, heads, tokens, size) to a row of all of them for each token
        tuned.prompt_encoder[tuned.active_adapter].embedding.weight.copy_(kept.permute(2, 0, 1, 3).flatten(1))


def regularise(model: Any, method: str) -> None:
    """Add the gradient of AdaLoRA's pull towards orthogonal factors, weight * mean |P'P - I| (Zhang et al., eq. 4)."""
    if method != "adalora":
        return
    factors = [
        p if "lora_A" in name else p.T
        for name, p in model.named_parameters()
        if ".lora_A." in name or ".lora_B." in name
    ]
    apart = [torch.linalg.norm(p @ p.T - torch.eye(len(p), device=p.device)) for p in factors]
    (model.active_peft_config.orth_reg_weight * torch.stack(apart).mean()).backward()


def after_step(model: Any, method: str, step: int) -> None:
    """Let AdaLoRA give its ranks to the layers that need them; nothing to do for others."""
    if method == "adalora":
        model.base_model.update_and_allocate(step)


def inner_state(model: Any, method: str) -> dict[str, Tensor]:
    """Return what a method remembers from step to step beside its weights: how much AdaLoRA thinks of each rank."""
    if method != "adalora":
        return {}
    allocator = model.base_model.rankallocator
    state = {f"{part}/{name}": t for part in _ALLOCATOR for name, t in getattr(allocator, part).items()}
    return state | given_ranks(model, method)


def set_inner_state(model: Any, method: str, state: Mapping[str, Tensor]) -> None:
    """Put back what `inner_state` returned."""
    if method != "adalora":
        return
    for key, tensor in state.items():
        part, name = key.split("/", 1)
        if part in _ALLOCATOR:
            getattr(model.base_model.rankallocator, part)[name] = tensor.to(model.device)
    give_ranks(model, method, state)


def given_ranks(model: Any, method: str) -> dict[str, Tensor]:
    """Return which rows of each layer AdaLoRA leaves in, as masks: they belong to the weights as they are now.

    Nothing for other methods, and before it took any away.
    """
    pattern = model.active_peft_config.rank_pattern if method == "adalora" else None
    return {_RANKS + name: torch.tensor(rows) for name, rows in (pattern or {}).items()}


def give_ranks(model: Any, method: str, state: Mapping[str, Tensor]) -> None:
    """Put back what `given_ranks` returned, alone or among other things: saving cuts away all other rows."""
    if method == "adalora":
        given = {key.removeprefix(_RANKS): mask.tolist() for key, mask in state.items() if key.startswith(_RANKS)}
        model.active_peft_config.rank_pattern = given or None


def save(model: Any, loaded: Loaded, method: str, version_dir: Path) -> None:
    """Write what was trained into a version's folder, as safetensors: `model.load_version` reads it."""
    target = version_dir / METHODS[method].part
    if method == "bottleneck":
        bottleneck.save(model, target)
        return
    if method == "full":
        model.to(torch.bfloat16 if loaded.device.type == "cuda" else torch.float32)
        loaded.template.tokenizer.save_pretrained(target)
    model.save_pretrained(target, safe_serialization=True)
