"""Held-out measures, and the gate: is the candidate better than what serves, and has it forgotten nothing?"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from feedback.statistics import PairedTest, design_effect, observations_needed, paired_test
from finetune.general import Answer
from finetune.model import IGNORED, Encoded, Loaded
from finetune.pairs import HELD_OUT_SHARE, TrainingPair

CORRELATION = 0.3  # how alike pairs of one conversation are taken to be; they are no independent witnesses
ALPHA = 0.05  # how likely the gate may take an equal candidate for a better one
DIVERGED = "Training diverged: the candidate gives no finite figures; try a lower --learning-rate."
FEWEST = 3  # held-out conversations; below that no test can tell


@dataclass(frozen=True)
class Verdict:
    """What the gate says: promoted or refused, why in one sentence, and the figures it stands on."""

    verdict: str
    reason: str
    figures: dict[str, Any]


def pair_losses(loaded: Loaded, pairs: Sequence[TrainingPair]) -> list[float]:
    """Return each pair's mean negative log-likelihood, in nats a completion token."""
    return [_loss(loaded, loaded.template.pair(p.prompt, p.completion, p.ends)) for p in pairs]


def general_loss(loaded: Loaded, answers: Sequence[Answer]) -> float:
    """Return the mean over answers of nats a token of the base model's own answers to general prompts."""
    losses = [_loss(loaded, loaded.template.pair([("user", a.prompt)], a.text, a.ended)) for a in answers]
    return sum(losses) / len(losses) if losses else 0.0


def gate(
    held_out: Sequence[TrainingPair],
    serving: Sequence[float],
    candidate: Sequence[float],
    general_rise: float,
    max_general_rise: float,
    usable_conversations: int,
) -> Verdict:
    """Decide on a candidate from each held-out pair's loss under what serves and under the candidate.

    Pairs of one conversation are no independent witnesses: the test takes them to correlate by `CORRELATION`.
    `general_rise` is the candidate's general loss above the base model's.
    """
    sizes = list(Counter(pair.conversation_id for pair in held_out).values())
    effect = design_effect(sizes, CORRELATION)
    test = paired_test([before - after for before, after in zip(serving, candidate, strict=True)], effect)
    figures: dict[str, Any] = {
        "held_out_pairs": len(held_out),
        "held_out_conversations": len(sizes),
        "design_effect": effect,
        "serving_loss": _mean(serving),
        "candidate_loss": _mean(candidate),
        "general_rise": general_rise,
    }
    figures["improvement"] = asdict(test)
    if not all(math.isfinite(value) for value in (*serving, *candidate, general_rise)):
        return Verdict("refused", DIVERGED, finite(figures))
    evidence = _Evidence(test, len(sizes), effect, usable_conversations)
    verdict, reason = _decide(evidence, general_rise, max_general_rise)
    return Verdict(verdict, reason, finite(figures))


def finite(figures: Any) -> Any:
    """Write None for every figure that is not finite: JSON knows no NaN."""
    if isinstance(figures, dict):
        return {name: finite(value) for name, value in figures.items()}
    return None if isinstance(figures, float) and not math.isfinite(figures) else figures


@dataclass(frozen=True)
class _Evidence:
    test: PairedTest
    conversations: int
    effect: float
    usable: int  # conversations that could be learned from, held out or not

    def more(self) -> int:
        """Estimate how many more usable conversations it takes to tell."""
        if self.conversations < FEWEST:
            return max(1, round(FEWEST / HELD_OUT_SHARE) - self.usable)
        needed = observations_needed(self.test.mean, self.test.deviation, ALPHA, self.effect)
        return max(1, math.ceil(self.usable * needed / self.test.n) - self.usable)


def _decide(evidence: _Evidence, rise: float, most_rise: float) -> tuple[str, str]:
    test, conversations = evidence.test, evidence.conversations
    if rise > most_rise:
        return "refused", (
            f"It forgets: the loss on general prompts rose by {rise:.2f} nats a token; "
            f"{most_rise:.2f} is the most allowed."
        )
    wanted = f"about {evidence.more():,} more conversations with a correction or a thumb up are needed."
    if conversations < FEWEST:
        return "refused", f"Not enough evidence: held-out conversations: {conversations}, too few to tell; {wanted}"
    shown = (
        f"{test.mean:+.2f} nats a token better (90 % interval {test.low:+.2f} to {test.high:+.2f}, "
        f"{test.n} replies of {conversations} conversations)"
    )
    if test.p < ALPHA:
        return "promoted", f"Better on held-out conversations: {shown}; general loss {rise:+.2f}."
    if test.mean <= 0:
        return "refused", f"Not better on held-out conversations: {shown}."
    return "refused", f"Not enough evidence: {shown}; {wanted}"


def _loss(loaded: Loaded, row: Encoded) -> float:
    ids = torch.tensor([row.ids], device=loaded.device)
    labels = torch.tensor(row.labels[1:], device=loaded.device)
    carries = labels != IGNORED
    with torch.inference_mode():
        columns = carries.nonzero()[:, 0]
        logits = loaded.model(input_ids=ids, logits_to_keep=columns).logits[0]
    return float(torch.nn.functional.cross_entropy(logits.float(), labels[carries]))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
