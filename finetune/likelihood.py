"""How likely a version finds given replies: several rows a forward pass, by length, logits only where there is loss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from finetune.batches import of_like_length, pad
from finetune.model import IGNORED, Encoded, Loaded
from finetune.objectives import divergence_from_base, likely_tokens

Prompt = tuple[tuple[str, str], ...]  # (role, content) messages
_LOGITS = 2**26  # most logits of one pass: 256 MiB in float32


@dataclass(frozen=True)
class Said:
    """A reply to score: its prompt, its text, and whether it ended by itself."""

    prompt: Prompt
    text: str
    ends: bool


@dataclass(frozen=True)
class Score:
    """Negative log-likelihood of a reply in nats: a token on average, and of its end of turn alone (None: no end)."""

    loss: float
    tokens: int
    end_loss: float | None


@dataclass(frozen=True)
class Distribution:
    """What a model says at each token of a text: log-probabilities of its likeliest tokens, and their ids.

    Both as `objectives.likely_tokens` gives them.
    """

    log_probabilities: Tensor
    ids: Tensor


def scores(loaded: Loaded, said: Sequence[Said]) -> list[Score]:
    """Score replies; one without a token has the loss 0. Raises TemplateRefuses."""
    found = {place: _score(logits, labels, said[place].ends) for place, logits, labels in _visited(loaded, said)}
    return [found[place] for place in range(len(said))]


def scores_and_distributions(loaded: Loaded, said: Sequence[Said]) -> tuple[list[Score], list[Distribution]]:
    """Score replies; keep also what the model says at each token of each. Raises TemplateRefuses."""
    scored, told = {}, {}
    for place, logits, labels in _visited(loaded, said):
        scored[place] = _score(logits, labels, said[place].ends)
        ids, chances = likely_tokens(logits)
        told[place] = Distribution(chances.cpu(), ids.cpu())
    places = range(len(said))
    return [scored[place] for place in places], [told[place] for place in places]


def scores_and_divergences(
    loaded: Loaded, said: Sequence[Said], base: Sequence[Distribution]
) -> tuple[list[Score], list[float]]:
    """Score replies; return also each one's mean `divergence_from_base` over its tokens, in nats.

    Raises TemplateRefuses.
    """
    scored, moved = {}, {}
    for place, logits, labels in _visited(loaded, said):
        scored[place] = _score(logits, labels, said[place].ends)
        likely = base[place].ids.to(logits.device), base[place].log_probabilities.to(logits.device)
        moved[place] = float(divergence_from_base(logits, *likely).mean())
    places = range(len(said))
    return [scored[place] for place in places], [moved[place] for place in places]


def _score(logits: Tensor, labels: Tensor, ends: bool) -> Score:
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return Score(float(losses.mean()) if len(losses) else 0.0, len(losses), float(losses[-1]) if ends else None)


def _visited(loaded: Loaded, said: Sequence[Said]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Give every reply's place, its logits (tokens, vocabulary) in float32 and labels (tokens,), in any order."""
    rows = [loaded.template.pair(one.prompt, one.text, one.ends) for one in said]
    most = max(1, _LOGITS // loaded.model.get_input_embeddings().num_embeddings)
    for places in of_like_length([len(row.ids) for row in rows], most):
        for place, found in zip(places, _logits(loaded, [rows[place] for place in places]), strict=True):
            yield place, *found


def _logits(loaded: Loaded, rows: Sequence[Encoded]) -> Iterator[tuple[Tensor, Tensor]]:
    batch = pad(rows, min(loaded.template.end_ids))
    labels = batch["labels"][:, 1:]
    columns = (labels != IGNORED).any(0).nonzero()[:, 0]
    with torch.inference_mode():
        logits = loaded.model(
            input_ids=batch["input_ids"].to(loaded.device),
            attention_mask=batch["attention_mask"].to(loaded.device),
            logits_to_keep=columns.to(loaded.device),
        ).logits
    for row, wanted in zip(logits, labels[:, columns], strict=True):
        carries = wanted != IGNORED
        yield row[carries.to(row.device)].float(), wanted[carries].to(row.device)
