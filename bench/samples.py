"""What the base model says by itself, sampled once and kept in `data-bench/samples/` for every later run."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.scorer import Scorer
from bench.subject import ROOT

TEMPERATURE, NEW_TOKENS = 0.8, 96  # as replies to thumb are sampled, in training and in the test


@dataclass(frozen=True)
class Sample:
    """A reply of the base model; `ended` tells that it ended by itself."""

    prompt: str
    reply: str
    ended: bool


class Samples:
    """The base model's replies, made when they are first asked for."""

    def __init__(self, base: Path, home: Path = ROOT / "data-bench" / "samples"):
        self.base, self.home = base, home

    def sampled(self, prompts: Sequence[str], times: int, seed: int) -> list[Sample]:
        """Return so many replies to each prompt at TEMPERATURE: all prompts once, then all of them again, ..."""
        return self._kept(list(prompts) * times, NEW_TOKENS, TEMPERATURE, seed)

    def greedy(self, prompts: Sequence[str], new_tokens: int) -> list[Sample]:
        """Return the likeliest reply to each prompt."""
        return self._kept(prompts, new_tokens, 0.0, 0)

    def _kept(self, prompts: Sequence[str], new_tokens: int, temperature: float, seed: int) -> list[Sample]:
        asked = json.dumps([self._model(), list(prompts), new_tokens, temperature, seed])
        file = self.home / f"{hashlib.sha256(asked.encode()).hexdigest()[:24]}.json"
        if not file.exists():
            scorer = Scorer.of(self.base, torch.bfloat16, batch=32)
            written = scorer.write([[("user", prompt)] for prompt in prompts], new_tokens, temperature, seed)
            made = [Sample(prompt, *reply) for prompt, reply in zip(prompts, written, strict=True)]
            self.home.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps([vars(sample) for sample in made]), encoding="utf-8")
            partial.replace(file)
        return [Sample(**row) for row in json.loads(file.read_text(encoding="utf-8"))]

    def _model(self) -> str:
        with (self.base / "model.safetensors").open("rb") as weights:
            return hashlib.file_digest(weights, "sha256").hexdigest()
