"""Loading a model, and the one owner of its chat template, for training and for replying."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as quiet

from feedback.errors import RapportError
from finetune.clock import stopped
from finetune.marks import Marks
from finetune.spread import on_gpus

IGNORED = -100  # the label of a token that carries no loss
_NO_TEMPLATE = "its tokenizer has no chat template; take the chat (instruct) model instead."
_PEFT = "base_model.model."  # what PEFT writes before the name of each of its tensors
_LOADS = itertools.count(1)  # numbers the adapters that were put beside others on a shared model
_FLOAT32_UP_TO = 4 * 2**30  # bytes of weights; a larger model serves on a CPU in bfloat16, to fit


class LoadError(RapportError):
    """A model, tokenizer or adapter cannot be loaded."""


class Diverged(LoadError):
    """An adapter whose weights are not finite, which can be neither merged nor served."""


class TemplateRefuses(RapportError):
    """The chat template does not take these messages."""


@dataclass(frozen=True)
class Encoded:
    """Token ids and, beside them, labels and weights.

    A label is the id where the token carries loss, IGNORED elsewhere. A weight is that of the loss: negative for a
    token that must become less likely, 0 where there is none.
    """

    ids: list[int]
    labels: list[int]
    weights: list[float]


class ChatTemplate:
    """How messages become tokens and tokens become text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, today: bool = False):
        """Read template, end-of-turn tokens and context length. Raises LoadError without a chat template.

        Where the template writes the date it is the same one for ever or, for people who chat, that of `today`.
        """
        if not tokenizer.chat_template:
            raise LoadError(_NO_TEMPLATE)
        self.tokenizer, self._marks, self._today = tokenizer, Marks(tokenizer), today
        config = model.config.get_text_config()
        self.context = _turned_alike(config)  # tokens that are read here
        self.longest = int(config.max_position_embeddings)  # those that a server elsewhere may read
        self.end_ids = self._end_ids(model)
        self.end_of_turn = self._end_of_turn()

    def prompt(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Encode (role, content) messages up to where the reply begins. Raises TemplateRefuses."""
        if self._marks.are_in(messages):
            return self._marks.ids(self._render(self._marks.enclosed(messages), add_generation_prompt=True))
        text = self._render(messages, add_generation_prompt=True)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def pair(self, messages: Sequence[tuple[str, str]], completion: str, ends: bool, weight: float = 1.0) -> Encoded:
        """Encode a prompt and its completion; only the completion's tokens carry loss, each with `weight`.

        The end of turn follows, and carries loss too, if `ends`: where a reply was cut off it would
        teach the model to stop in mid-sentence. Raises TemplateRefuses.
        """
        before = self.prompt(messages)
        after = self.encode(completion)
        if ends:
            after.append(self.end_of_turn)
        return Encoded(before + after, [IGNORED] * len(before) + after, [0.0] * len(before) + [weight] * len(after))

    def encode(self, text: str) -> list[int]:
        """Encode the text of a reply, without any frame."""
        said = [("assistant", text)]
        if self._marks.are_in(said):
            return self._marks.ids(self._marks.enclosed(said)[0][1])
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def until_end(self, ids: Sequence[int]) -> tuple[list[int], bool]:
        """Return what was written before the end of turn, and whether there is one."""
        said = list(itertools.takewhile(lambda token: token not in self.end_ids, ids))
        return said, len(said) < len(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Turn a reply's token ids into its text."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _render(self, messages: Sequence[tuple[str, str]], add_generation_prompt: bool) -> str:
        try:
            return self._apply(messages, add_generation_prompt)
        # A template is a program that came with the model: it may raise anything.
        except Exception as error:
            joined = _joined(messages)
            if len(joined) == len(messages):
                raise TemplateRefuses(f"The model's chat template does not take these messages: {error}.") from error
        # Many templates want roles to take turns; a message that got no reply is then told with the next one.
        return self._render(joined, add_generation_prompt)

    def _apply(self, messages: Sequence[tuple[str, str]], add_generation_prompt: bool) -> str:
        turns = [{"role": role, "content": content} for role, content in messages]
        written = self.tokenizer.get_chat_template()
        if not self._today and "strftime_now" in written:
            written = stopped(written)
        return str(
            self.tokenizer.apply_chat_template(
                turns, chat_template=written, add_generation_prompt=add_generation_prompt, tokenize=False
            )
        )

    def _end_ids(self, model: PreTrainedModel) -> frozenset[int]:
        configured = model.generation_config.eos_token_id if model.generation_config else None
        ids = {*([configured] if isinstance(configured, int) else configured or [])}
        if self.tokenizer.eos_token_id is not None:
            ids.add(self.tokenizer.eos_token_id)
        if not ids:
            raise LoadError("The base model names no end-of-turn token; set eos_token_id in generation_config.json.")
        return frozenset(ids)

    def _end_of_turn(self) -> int:
        """Find the first end token that the template writes after a reply; without one, any end token."""
        mark = "REPLY"
        try:
            rendered = self._render([("user", "Hello"), ("assistant", mark)], add_generation_prompt=False)
        except TemplateRefuses:
            return min(self.end_ids)
        tail = self.tokenizer(rendered.rpartition(mark)[2], add_special_tokens=False)["input_ids"]
        return next((token for token in tail if token in self.end_ids), min(self.end_ids))


def _turned_alike(config: Any) -> int:
    """Return how many tokens the model reads alike, whatever else is read in the same step.

    With longrope one token beyond the original length has all tokens of its step turned by other factors: its
    neighbours', too, and not those that were read and kept before.
    """
    ropes = getattr(config, "rope_parameters", None) or {}
    of_layers = [ropes, *(rope for rope in ropes.values() if isinstance(rope, dict))]
    original = [r["original_max_position_embeddings"] for r in of_layers if r.get("rope_type") == "longrope"]
    return int(min([config.max_position_embeddings, *original]))


def _joined(messages: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join neighbours of one role into one message."""
    joined: list[tuple[str, str]] = []
    for role, content in messages:
        if joined and joined[-1][0] == role:
            joined[-1] = (role, joined[-1][1] + "\n\n" + content)
        else:
            joined.append((role, content))
    return joined


@dataclass(frozen=True)
class Loaded:
    """A model ready to use, and its template."""

    model: Any
    template: ChatTemplate
    device: torch.device
    adapter: str = ""  # its name, where it is one of several on a shared model
    merged: bool = False  # whether an adapter was put into the base's weights
    # What an adapter added to a layer, by the layer's name: `up @ down`, (outputs, rank) and (rank, inputs).
    low_rank: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def activate(self) -> None:
        """Make a shared model this version's; nothing where it has its own."""
        if not getattr(self.model, "_hf_peft_config_loaded", False):
            return
        if self.adapter:
            self.model.enable_adapters()
            self.model.set_adapter(self.adapter)
        else:
            self.model.disable_adapters()

    def drop(self) -> None:
        """Take this version's adapter out of a shared model; nothing where it has its own."""
        if self.adapter:
            self.model.delete_adapter(self.adapter)


def best_device() -> torch.device:
    """CUDA where there is one and is meant to be used, else the CPU."""
    return torch.device("cuda" if on_gpus() else "cpu")


def load_base(
    folder: Path, dtype: torch.dtype | None = None, device: torch.device | None = None, today: bool = False
) -> Loaded:
    """Load a base model from a folder. Raises LoadError with one sentence for anything that cannot be loaded."""
    device = device or best_device()
    quiet.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype or serving_dtype(folder, device),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
        model.to(device).eval()
        return Loaded(model, ChatTemplate(tokenizer, model, today), device)
    except LoadError:
        raise
    # Reading a stranger's folder can fail in as many ways as there are model files; each becomes one sentence.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"The model in {str(folder)!r} cannot be loaded: {reason}") from error


def load_template(folder: Path, today: bool = False) -> ChatTemplate:
    """Load a model's chat template without its weights. Raises LoadError."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
        return ChatTemplate(tokenizer, model, today)
    except LoadError:
        raise
    # As in load_base: each of the many ways to fail becomes one sentence.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"The tokenizer in {str(folder)!r} cannot be loaded: {reason}") from error


def check_usable(folder: Path) -> None:
    """Refuse what is no causal chat model, by its configuration and tokenizer alone. Raises LoadError."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    # As in load_base: each of the many ways to fail becomes one sentence.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"its configuration or tokenizer cannot be loaded: {reason}") from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise LoadError(f"a {config.model_type!r} model writes no text; give a causal language model.")
    if not tokenizer.chat_template:
        raise LoadError(_NO_TEMPLATE)


def load_version(
    base_dir: Path, version_dir: Path | None, device: torch.device | None = None, today: bool = False
) -> Loaded:
    """Load a version for serving: the base (None), a whole model, or an adapter, merged where it can be.

    `today` is for the chat, see ChatTemplate. Raises LoadError, and of these Diverged where the merged weights would
    not be finite.
    """
    if version_dir is None:
        return load_base(base_dir, device=device, today=today)
    if (version_dir / "model").is_dir():
        return load_base(version_dir / "model", device=device, today=today)
    from peft import PeftModel

    from finetune import bottleneck, virtual

    loaded = load_base(base_dir, device=device, today=today)
    try:
        if (version_dir / "bottleneck").is_dir():
            bottleneck.load(loaded.model, version_dir / "bottleneck")
            return replace(loaded, model=loaded.model.eval())
        tuned = PeftModel.from_pretrained(loaded.model, version_dir / "adapter", use_safetensors=True)
        _check_whole(tuned, tuned.active_adapter, version_dir / "adapter")
        if virtual.is_virtual(version_dir / "adapter"):
            return replace(loaded, model=virtual.stand_before(tuned).eval())
        added = _low_rank(tuned)
        return replace(loaded, model=_merged(tuned, version_dir), merged=True, low_rank=added)
    except LoadError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LoadError(f"The adapter in {str(version_dir)!r} cannot be loaded: {reason}") from error


def _check_whole(tuned: Any, name: str, adapter: Path) -> None:
    """Raise ValueError where a file lacks tensors of its adapter: PEFT leaves those as they begin."""
    from peft import get_peft_model_state_dict

    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        there = {key.removeprefix(_PEFT) for key in file.keys()}  # noqa: SIM118
    wanted = get_peft_model_state_dict(tuned, adapter_name=name, save_embedding_layers=False)
    if missing := sorted({key.removeprefix(_PEFT) for key in wanted} - there):
        raise ValueError(f"its file lacks {len(missing)} of {len(wanted)} tensors, {missing[0]!r} first")


def _merged(tuned: Any, version_dir: Path) -> Any:
    try:
        return tuned.merge_and_unload(safe_merge=True).eval()
    except ValueError as error:  # what a safe merge raises for weights that are not finite, and for nothing else
        raise Diverged(f"The adapter in {str(version_dir)!r} cannot be merged: {error}") from error


def _low_rank(tuned: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return what plain LoRA adds to each layer, see `Loaded.low_rank`; nothing if the adapter does anything else."""
    name, config = tuned.active_adapter, tuned.peft_config[tuned.active_adapter]
    if config.peft_type != "LORA" or config.use_dora or config.modules_to_save or config.bias != "none":
        return {}
    added = {}
    for path, layer in tuned.get_base_model().named_modules():
        if name in getattr(layer, "lora_A", {}):
            up = layer.lora_B[name].weight.detach() * layer.scaling[name]
            added[path] = (up, layer.lora_A[name].weight.detach())
    return added


def attach_version(shared: Loaded, version_dir: Path) -> Loaded:
    """Load a version as an adapter on a base model that others use too; `Loaded.activate` turns the model to it.

    Raises LoadError for one that needs a model of its own or whose adapter cannot be loaded.
    """
    from finetune import virtual

    adapter = version_dir / "adapter"
    # One for every time that it is loaded: a reply of its last spell may still be written when it serves again.
    name = f"{version_dir.name}-{next(_LOADS)}"
    try:
        if not adapter.is_dir() or virtual.is_virtual(adapter):
            what = "is a whole model" if (version_dir / "model").is_dir() else "needs a model of its own"
            raise LoadError(f"{str(version_dir)!r} {what}, and there is no memory for a second one.")
        shared.model.load_adapter(str(adapter), adapter_name=name, use_safetensors=True)
        _check_whole(shared.model, name, adapter)
    except LoadError:
        raise
    # As in load_base: each of the many ways to fail becomes one sentence.
    except Exception as error:
        # Its layers are there before its weights are read, or not yet: then there is nothing to delete.
        with suppress(Exception):
            shared.model.delete_adapter(name)
        reason = " ".join(str(error).split())[:200]
        raise LoadError(f"The adapter in {str(version_dir)!r} cannot be loaded: {reason}") from error
    shared.model.eval()
    return Loaded(shared.model, shared.template, shared.device, name)


def serving_dtype(folder: Path, device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU and for what would not fit a CPU's memory twice; float32 else, where it is as fast."""
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return torch.float32 if device.type == "cpu" and size <= _FLOAT32_UP_TO else torch.bfloat16


def training_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where a matrix product in it is faster than in float32, as tried just now; else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # beside other work several wait for one another, longer than a product takes
    try:
        timed = {dtype: _product_time(dtype) for dtype in (torch.float32, torch.bfloat16)}
    finally:
        torch.set_num_threads(threads)
    return min(timed, key=lambda dtype: timed[dtype])


def _product_time(dtype: torch.dtype) -> float:
    """Return the seconds of this thread's own computing that a product takes at best."""
    left, right = torch.ones(256, 576, dtype=dtype), torch.ones(576, 1536, dtype=dtype)
    times = []
    for _ in range(8):
        start = time.thread_time()
        left @ right
        times.append(time.thread_time() - start)
    return min(times)


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs alike, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    partial.replace(path)
