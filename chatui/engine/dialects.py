"""What each kind of OpenAI-compatible server understands beyond the standard.

A server tells its kind in `owned_by` of `/v1/models`. One that tells nothing known is taken to understand
the standard alone: temperature, top_p, max_tokens, stop and seed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatui.engine.protocol import Sampling

# What a server may refuse without the reply being lost: our settings by the name they travel under.
_STANDARD = {"temperature": "temperature", "top_p": "top_p", "seed": "seed", "stop": "stop"}


@dataclass(frozen=True)
class Dialect:
    """A kind of server."""

    name: str
    extras: Mapping[str, str] = field(default_factory=dict)  # a sampling setting -> the field that it travels in
    all_tokens: int = 0  # the top_k that means: all
    goes_on: bool = False  # whether it can go on from a reply that was cut short
    adapters: str = ""  # where adapters are loaded and unloaded: the path before `load_lora_adapter`
    adapter_model: str = "{name}"  # how a request names an adapter


VLLM = Dialect(
    "vLLM", {"top_k": "top_k", "repetition_penalty": "repetition_penalty"}, all_tokens=-1, goes_on=True, adapters="/v1/"
)
SGLANG = Dialect(
    "SGLang",
    {"top_k": "top_k", "repetition_penalty": "repetition_penalty"},
    all_tokens=-1,
    goes_on=True,
    adapters="/",
    adapter_model="{base}:{name}",
)
LLAMA_CPP = Dialect("llama.cpp", {"top_k": "top_k", "repetition_penalty": "repeat_penalty"})
STANDARD = Dialect("")
_BY_OWNER = {"vllm": VLLM, "sglang": SGLANG, "llamacpp": LLAMA_CPP}


def dialect_of(owners: Collection[str]) -> Dialect:
    """Tell the kind of a server from who owns the models that it lists."""
    return next((_BY_OWNER[owner] for owner in owners if owner in _BY_OWNER), STANDARD)


def sampling_fields(dialect: Dialect, sampling: Sampling, refused: Collection[str]) -> dict[str, Any]:
    """Write sampling settings as a request's fields, without those that this server refused before."""
    fields: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    for setting, name in dialect.extras.items():
        fields[name] = getattr(sampling, setting)
    if "top_k" in fields and not sampling.top_k:
        fields["top_k"] = dialect.all_tokens
    return {name: value for name, value in fields.items() if name not in refused}


def unheeded(dialect: Dialect, sampling: Sampling, refused: Collection[str]) -> tuple[str, ...]:
    """Name the settings that such a server does not follow and that would matter; stop texts are cut off here."""
    travels = {**_STANDARD, **dialect.extras}
    matters = {
        "temperature": True,
        "top_p": sampling.top_p < 1,
        "top_k": sampling.top_k > 0,
        "repetition_penalty": sampling.repetition_penalty != 1,
        "seed": sampling.seed is not None,
    }
    if sampling.temperature == 0:
        matters |= {"top_p": False, "top_k": False, "seed": False}
    heeded = {setting for setting, name in travels.items() if name not in refused}
    return tuple(setting for setting, does in matters.items() if does and setting not in heeded)
