"""Serving what prefix and prompt tuning trained: keys and values that stand before every conversation.

They cannot be merged into weights. They are put into the cache before a conversation's first token; where the engine
keeps caches of its own shape for many replies at once, it computes such a version reply by reply instead.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


def is_virtual(adapter: Path) -> bool:
    """Tell whether a PEFT folder holds virtual tokens. Raises OSError, ValueError or KeyError."""
    kind = json.loads((adapter / "adapter_config.json").read_text())["peft_type"]
    return kind in ("PREFIX_TUNING", "PROMPT_TUNING")


def stand_before(tuned: Any) -> Any:
    """Return a PEFT model's base with its virtual tokens standing before every conversation that begins."""
    model = tuned.get_base_model()
    layers = _keys_values(tuned, model)

    def begin(_: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        count = layers[0][0].shape[2]
        rows = len(given["input_ids"] if given.get("input_ids") is not None else given["inputs_embeds"])
        cache = given.get("past_key_values")
        given["past_key_values"] = cache = DynamicCache(config=model.config) if cache is None else cache
        if cache.get_seq_length() == 0:
            for number, (keys, values) in enumerate(layers):
                # The model may have been brought elsewhere, or into another type, since they were made.
                both = (part.to(model.device, model.dtype).expand(rows, -1, -1, -1) for part in (keys, values))
                cache.update(*both, number)
        if given.get("attention_mask") is not None:
            mask = given["attention_mask"]
            given["attention_mask"] = torch.cat([mask.new_ones(rows, count), mask], 1)
        if given.get("position_ids") is not None:
            given["position_ids"] = given["position_ids"] + count
        return args, given

    model.register_forward_pre_hook(begin, with_kwargs=True)
    return model


def _keys_values(tuned: Any, model: Any) -> list[tuple[Tensor, Tensor]]:
    """Return each layer's keys and values, (1, heads, virtual tokens, size), of the virtual tokens."""
    with torch.no_grad():
        prompt = tuned.get_prompt(batch_size=1)
        if isinstance(prompt, Tensor):  # embeddings: let the model make keys and values of them
            cache = DynamicCache(config=model.config)
            model(inputs_embeds=prompt.to(model.dtype), past_key_values=cache, use_cache=True)
        else:
            cache = prompt
    return [(layer.keys.detach(), layer.values.detach()) for layer in cache.layers]
