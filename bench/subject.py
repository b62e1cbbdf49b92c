"""The model that is benched: the starter, another folder, or random weights of a given size."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from chatui.engine.apart import apart
from feedback.settings import DataSettings
from finetune.base import ensure_base
from finetune.model import ChatTemplate, Loaded, best_device, load_base

ROOT = Path(__file__).resolve().parent.parent
STARTER_SHAPE = "135M"
_HALF_A_CHARACTER = "\ufffd"
# Layers and widths of the Llama models of these sizes; the starter's smaller vocabulary is made up for in layers.
_SHAPES = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 35, "tie_word_embeddings": False},
}
SHAPES = (STARTER_SHAPE, *_SHAPES)


class Wrapped:
    """A chat template in which something is otherwise."""

    def __init__(self, template: ChatTemplate):
        self._template = template

    def __getattr__(self, name: str) -> Any:
        """Take everything else from the template."""
        if name == "_template":  # asked for by a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self._template, name)


class Endless(Wrapped):
    """A chat template without an end: replies go on until they have all their tokens."""

    end_ids: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Subject:
    """What every engine of one bench is given; `folder` has the tokenizer, and of the starter's shape the weights."""

    folder: Path
    shape: str = STARTER_SHAPE
    threads: int = field(default_factory=torch.get_num_threads)
    device: torch.device = field(default_factory=best_device)

    @property
    def plain_dtype(self) -> torch.dtype:
        """What a tutorial would load it in: float32, or bfloat16 where it is large and there is a GPU for it."""
        small = self.shape == STARTER_SHAPE or (self.device.type == "cpu" and self.shape == "1B")
        return torch.float32 if small else torch.bfloat16

    def load(self, dtype: torch.dtype | None = None) -> Loaded:
        """Load or make the model; without a dtype, in the one that Rapport serves it in."""
        if self.shape == STARTER_SHAPE:
            return apart(lambda: load_base(self.folder, dtype, self.device))
        return apart(lambda: _random(self, dtype or self.plain_dtype))

    def endless(self) -> Loaded:
        """Load it as Rapport serves it, but for the end of a turn, which no longer ends a reply."""
        loaded = self.load()
        template: Any = Endless(loaded.template)
        return replace(loaded, template=template)

    def plain(self, dtype: torch.dtype | None = None) -> Loaded:
        """Load it for the library's own generation: greedy, never ending early."""
        loaded = self.load(dtype or self.plain_dtype)
        filler = loaded.template.tokenizer.pad_token_id
        loaded.model.generation_config = GenerationConfig(
            do_sample=False, pad_token_id=loaded.template.end_of_turn if filler is None else filler
        )
        return loaded


def starter_folder() -> Path:
    """Return the folder of the unpacked starter model, unpacking it the first time (half a minute)."""
    settings = DataSettings.given(data_dir=ROOT / "data-bench", base_model="")
    ensure_base(settings)
    return settings.base_dir


def _random(subject: Subject, dtype: torch.dtype) -> Loaded:
    """Make a model of random weights, the same each time."""
    tokenizer = AutoTokenizer.from_pretrained(subject.folder, local_files_only=True)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        **_SHAPES[subject.shape],
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with subject.device:
            model = LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)
    _show_every_token(model, tokenizer)
    return Loaded(model, ChatTemplate(tokenizer, model), subject.device)


def _show_every_token(model: Any, tokenizer: Any) -> None:
    """Take away what cannot be seen alone: an engine shows no half characters, and its updates would not be tokens."""
    texts: Sequence[str] = tokenizer.batch_decode([[n] for n in range(len(tokenizer))])
    hidden = [n for n, text in enumerate(texts) if _HALF_A_CHARACTER in text or n in tokenizer.all_special_ids]
    with torch.no_grad():
        model.get_output_embeddings().weight[hidden] = 0.0
