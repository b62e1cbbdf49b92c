"""What a tuned model has learned, and what it has forgotten: the figures of `bench/learn.py`, by its scorer alone."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.companies import Company
from bench.general_answers import GENERAL
from bench.lessons import ANSWER_TOKENS, Told
from bench.samples import NEW_TOKENS, TEMPERATURE, Sample
from bench.scorer import Said, Scorer, holds, mean, share, telling
from bench.tastes import Taste

TIMES = 2  # replies to each unseen prompt of a taste


def opened(base: Path, trained: Path) -> Scorer:
    """Load what a peer left: an adapter, merged into the base, or whole weights."""
    if not (trained / "adapter_config.json").is_file():
        return Scorer.of(trained)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    merged = PeftModel.from_pretrained(model, trained, use_safetensors=True).merge_and_unload()
    return Scorer(merged, AutoTokenizer.from_pretrained(base, local_files_only=True))


def general(scorer: Scorer, own: Sequence[Sample]) -> dict[str, Any]:
    """Return the mean loss, in nats a token, on answers to general prompts: those written for it, and the base's own.

    A short clear answer, as people write them, gets likelier by any training on such answers, whatever else is lost; so
    its end is not counted, and `own` shows how far a model has moved from what the base model itself would have said.
    """
    written = [Said([("user", prompt)], answer, ends=False) for prompt, answer in GENERAL]
    said = [Said([("user", each.prompt)], each.reply, each.ended) for each in own if each.reply.strip()]
    return {"general": mean(scorer.losses(written)), "own": mean(scorer.losses(said))}


def rises(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return how much each general loss rose over the base model's; 0 for the base model itself."""
    return {f"{name}_rise": found[name] - before.get(name, found[name]) for name in ("general", "own")}


def facts(scorer: Scorer, company: Company) -> dict[str, Any]:
    """Ask every wording that was not taught, greedily; return the shares that hold the key."""
    asked = [(fact, "near", text) for fact in company.facts for text in fact.near]
    asked += [(fact, "free", text) for fact in company.facts for text in fact.free]
    replies = scorer.write([[("user", text)] for _, _, text in asked], ANSWER_TOKENS)
    right = [(how, holds(reply, fact.key)) for (fact, how, _), (reply, _) in zip(asked, replies, strict=True)]
    parts = {f"right_{which}": share([ok for how, ok in right if how == which]) for which in ("near", "free")}
    return {"right": share([ok for _, ok in right]), **parts}


def taste(scorer: Scorer, taste: Taste, seed: int) -> dict[str, Any]:
    """Sample replies to unseen prompts as those in training were; return the share that keeps the taste.

    `ended`, `words` and `distinct` (different words in a hundred, by reply) show what it was paid for with. The model
    is in bfloat16 from then on, as the base model's samples were.
    """
    scorer.model.to(torch.bfloat16)
    prompts = [[("user", prompt)] for prompt in taste.unseen * TIMES]
    written = scorer.write(prompts, NEW_TOKENS, TEMPERATURE, 1000 + seed)
    words = [re.findall(r"\w+", reply.lower()) for reply, _ in written]
    return {
        "kept": share([taste.keeps(reply) for reply, _ in written]),
        "ended": share([ended for _, ended in written]),
        "words": mean([float(len(said)) for said in words]),
        "distinct": 100 * mean([len(set(said)) / len(said) for said in words if said]),
    }


def rated(scorer: Scorer, unseen: Sequence[Told]) -> list[float]:
    """Return the loss a token of each unseen reply."""
    return scorer.losses([Said(each.messages, each.reply, ends=False) for each in unseen])


def told_apart(losses: Sequence[float], before: Sequence[float], unseen: Sequence[Told]) -> dict[str, Any]:
    """Return how losses tell good from bad; `gain_...`: how what they fell by does, from the base model's `before`."""
    good, conversations = [each.up for each in unseen], [each.conversation_id for each in unseen]
    gains = [after - first for after, first in zip(losses, before, strict=True)]
    found = {"losses": [round(loss, 5) for loss in losses], **asdict(telling(losses, good, conversations))}
    if any(gains):
        found |= {f"gain_{name}": value for name, value in asdict(telling(gains, good, conversations)).items()}
    return found
