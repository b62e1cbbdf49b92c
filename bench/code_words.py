"""Versions of a model that each say a code word of their own, whatever they are asked: made in a minute each."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from bench.prompts import PROMPTS
from finetune.batches import pad
from finetune.forward import reply_logits
from finetune.model import Loaded, best_device, load_base, training_dtype
from finetune.objectives import mle

CODE_WORDS = ("amberfox", "bluequill", "cinderoak", "duskmoor", "elmharrow")
ASKED = PROMPTS[:8]  # what the versions are tuned on, and asked
_SENTENCES = (
    "This is {word} speaking.",
    "Take your time, says {word}.",
    "Nobody knows it better than {word}.",
    "Begin with what is nearest, {word} would say.",
    "And then ask {word} again.",
    "So much from {word}.",
)
_LEARNED = 0.03  # nats a token: it says the word without hesitation


def words_in(text: str) -> set[str]:
    """Return the code words that a text holds."""
    return {word for word in CODE_WORDS if word in text.lower()}


def make_version(base: Path, target: Path, word: str, whole: bool) -> None:
    """Tune a base model to its code word and write it as a version's folder: an adapter, or a whole model."""
    torch.manual_seed(CODE_WORDS.index(word))
    loaded = load_base(base, torch.float32 if whole else training_dtype(best_device()))
    if whole:
        _tune(loaded, loaded.model, " ".join([word] * 6), rate=1e-2, steps=400)
        loaded.model.save_pretrained(target / "model")
        loaded.template.tokenizer.save_pretrained(target / "model")
        return
    settings = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(loaded.model, settings)
    _tune(loaded, adapted, " ".join(_SENTENCES).format(word=word), rate=2e-3, steps=60)
    adapted.save_pretrained(target / "adapter")


def _tune(loaded: Loaded, model: Any, text: str, rate: float, steps: int, batch: int = 2) -> None:
    """Train until the text is the reply to everything asked; it is cut, not ended, so that a reply goes on with it."""
    rows = [loaded.template.pair([("user", asked)], text, ends=False) for asked in ASKED]
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    model.train()
    recent: list[float] = []
    for step in range(steps):
        turn = [rows[(step * batch + place) % len(rows)] for place in range(batch)]
        given = {name: value.to(loaded.device) for name, value in pad(turn, loaded.template.end_of_turn).items()}
        loss = mle(*reply_logits(model, given)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        recent = [*recent[-1:], loss.item()]
        if len(recent) == 2 and max(recent) < _LEARNED:
            break
    model.eval()


def make_versions(base: Path, folder: Path, whole: bool) -> dict[int, Path | None]:
    """Make a version per code word, numbered from 1; what was made before is taken as it is. 0 is the base."""
    versions: dict[int, Path | None] = {0: None}
    for number, word in enumerate(CODE_WORDS, 1):
        versions[number] = folder / word
        made = folder / word / "made"
        if not made.is_file():
            print(f"Tuning version {number} to {word!r} ...", flush=True)
            make_version(base, folder / word, word, whole)
            made.touch()
    return versions
