"""One scorer for whoever tuned a model: it is given a plain transformers model and looks only at what that does.

Nothing here comes from `finetune`, so that no contestant is marked by its own measures. Weights are float32, scored on
a GPU where the bench may use one and else on the CPU; losses are in nats.
"""

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench import machine

Messages = Sequence[tuple[str, str]]  # role, content
Row = TypeVar("Row")


@dataclass(frozen=True)
class Said:
    """A reply to score: what came before it, its text, and whether its end of turn counts too."""

    messages: Messages
    reply: str
    ends: bool = True


@dataclass(frozen=True)
class Telling:
    """How well losses tell good replies from bad ones; each with its 95 % interval, from conversations drawn anew.

    `auc`: the chance that a good reply is likelier a token than a bad one (ties count half). `accuracy`: the mean of
    the share of good ones below a loss and of bad ones above it, that loss being the best of other conversations.
    """

    good: int
    bad: int
    auc: float
    auc_low: float
    auc_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


class Scorer:
    """A model and its tokenizer, to be asked and measured."""

    def __init__(self, model: Any, tokenizer: Any, batch: int = 16):
        self.device = machine.device()
        self.model, self.tokenizer, self.batch = model.to(self.device).eval(), tokenizer, batch
        configured = model.generation_config.eos_token_id
        ends = [configured] if isinstance(configured, int) else configured or []
        self.end_ids = {*ends, tokenizer.eos_token_id} - {None}

    @classmethod
    def of(cls, folder: Path, dtype: torch.dtype = torch.float32, batch: int = 16) -> "Scorer":
        """Load a folder of whole weights with its tokenizer."""
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True)
        return cls(model, tokenizer, batch)

    def write(
        self, prompts: Sequence[Messages], new_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> list[tuple[str, bool]]:
        """Return a reply of at most so many tokens to each conversation, and whether it ended by itself.

        Greedy without a temperature.
        """
        torch.manual_seed(seed)
        rows = [self._prompt(messages) for messages in prompts]
        replies = [("", False)] * len(rows)
        for part in batches(range(len(rows)), self.batch, lambda place: len(rows[place])):
            written = self._write([rows[place] for place in part], new_tokens, temperature)
            for place, reply in zip(part, written, strict=True):
                replies[place] = reply
        return replies

    def losses(self, said: Sequence[Said]) -> list[float]:
        """Return the mean loss a token of each reply."""
        rows = [self._row(each) for each in said]
        found = [0.0] * len(rows)
        for part in batches(range(len(rows)), self.batch, lambda place: len(rows[place][0]) + len(rows[place][1])):
            for place, loss in zip(part, self._losses([rows[place] for place in part]), strict=True):
                found[place] = loss
        return found

    def _prompt(self, messages: Messages) -> list[int]:
        turns = [{"role": role, "content": content} for role, content in messages]
        text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _row(self, said: Said) -> tuple[list[int], list[int]]:
        reply = list(self.tokenizer(said.reply, add_special_tokens=False)["input_ids"])
        return self._prompt(said.messages), reply + ([self.tokenizer.eos_token_id] if said.ends else [])

    def _write(self, rows: Sequence[list[int]], new_tokens: int, temperature: float) -> list[tuple[str, bool]]:
        width, filler = max(map(len, rows)), self.tokenizer.eos_token_id
        ids = torch.tensor([[filler] * (width - len(row)) + row for row in rows], device=self.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self.device)
        how = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
        with torch.inference_mode():
            written = self.model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=new_tokens,
                pad_token_id=filler,
                eos_token_id=list(self.end_ids),
                **(how if temperature else {"do_sample": False}),
            )
        return [self._reply(tokens) for tokens in written[:, width:].tolist()]

    def _reply(self, tokens: Sequence[int]) -> tuple[str, bool]:
        end = next((place for place, token in enumerate(tokens) if token in self.end_ids), None)
        text = self.tokenizer.decode(tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text), end is not None

    def _losses(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        width, filler = max(len(before) + len(reply) for before, reply in rows), self.tokenizer.eos_token_id
        joined = [before + reply for before, reply in rows]
        ids = torch.tensor([row + [filler] * (width - len(row)) for row in joined], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in joined], device=self.device)
        first = min(len(before) for before, _ in rows)
        with torch.inference_mode():
            logits = self.model(
                input_ids=ids, attention_mask=mask, logits_to_keep=width - first + 1, use_cache=False
            ).logits
        found = []
        for row, (before, reply) in zip(logits, rows, strict=True):
            start = len(before) - first
            wanted = torch.tensor(reply, device=self.device)
            found.append(float(torch.nn.functional.cross_entropy(row[start : start + len(reply)].float(), wanted)))
        return found


def batches(rows: Iterable[Row], size: int, length: Any) -> Iterator[list[Row]]:
    """Yield rows in batches, the longest first, so that neighbours are about as long."""
    ordered = sorted(rows, key=length, reverse=True)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def holds(answer: str, key: str) -> bool:
    """Tell whether an answer holds a key, whatever its capitals."""
    return key.lower() in answer.lower()


def share(found: Sequence[bool]) -> float:
    """Return the share that is true; 0 of nothing."""
    return sum(found) / len(found) if found else 0.0


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return the chance that a good reply has the lower loss (Mann and Whitney 1947); NaN without either."""
    if not good or not bad:
        return math.nan
    return sum((g < b) + (g == b) / 2 for g in good for b in bad) / (len(good) * len(bad))


def best_cut(good: Sequence[float], bad: Sequence[float]) -> float:
    """Return the loss below which calling a reply good is right most often, each side counting half."""
    seen = sorted([*good, *bad])
    cuts = [(low + high) / 2 for low, high in itertools.pairwise(seen)] or seen

    def right(cut: float) -> float:
        return share([loss < cut for loss in good]) + share([loss >= cut for loss in bad])

    return max(cuts, key=right)


def telling(losses: Sequence[float], good: Sequence[bool], conversations: Sequence[str], draws: int = 1000) -> Telling:
    """Measure how losses tell good replies from bad ones.

    The cut for one half of the conversations is the other half's best. Intervals: conversations are drawn anew (Efron,
    "Bootstrap methods", 1979).
    """
    clusters: dict[str, list[int]] = {}
    for place, conversation in enumerate(conversations):
        clusters.setdefault(conversation, []).append(place)
    parts, dice = list(clusters.values()), random.Random(0)
    dice.shuffle(parts)
    passes = _passes(losses, good, parts)

    def figures(drawn: Sequence[Sequence[int]]) -> tuple[float, float]:
        up = [place for part in drawn for place in part if good[place]]
        down = [place for part in drawn for place in part if not good[place]]
        apart = auc([losses[place] for place in up], [losses[place] for place in down])
        return apart, (share([passes[p] for p in up]) + share([not passes[p] for p in down])) / 2

    drawn = [figures(dice.choices(parts, k=len(parts))) for _ in range(draws)]
    (whole_auc, whole_accuracy), known = figures(parts), [one for one in drawn if not math.isnan(one[0])]
    aucs, accuracies = (_middle([one[which] for one in known]) for which in (0, 1))
    return Telling(sum(good), len(good) - sum(good), whole_auc, *aucs, whole_accuracy, *accuracies)


def _passes(losses: Sequence[float], good: Sequence[bool], parts: Sequence[Sequence[int]]) -> dict[int, bool]:
    """Call each reply good or bad, by the best cut of the half of the conversations that it is not in."""
    halves = [[place for part in parts[which::2] for place in part] for which in (0, 1)]
    called: dict[int, bool] = {}
    for own, other in (halves, halves[::-1]):
        cut = best_cut([losses[p] for p in other if good[p]], [losses[p] for p in other if not good[p]])
        called |= {place: losses[place] < cut for place in own}
    return called


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """Return the bounds of the middle 95 %."""
    if not values:
        return math.nan, math.nan
    ordered = sorted(values)
    return ordered[int(0.025 * (len(ordered) - 1))], ordered[math.ceil(0.975 * (len(ordered) - 1))]
