"""Tokens are picked as transformers' own warpers say, each row by its own settings."""

from collections import Counter

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from chatui.engine.protocol import Sampling
from chatui.engine.sampling import Picker, pick

SETTINGS = [
    Sampling(1.0, 1.0, 0),
    Sampling(0.7, 0.9, 0),
    Sampling(1.5, 1.0, 5),
    Sampling(1.2, 0.6, 8),
    Sampling(2.0, 0.05, 0),
    Sampling(1.0, 0.9, 20, 1.8),
]


def expected(sampling: Sampling, ids: list[int], logits: torch.Tensor) -> torch.Tensor:
    """Return the (vocabulary,) chances that transformers gives the next token."""
    warpers = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])
    warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    warpers.append(TopPLogitsWarper(sampling.top_p))
    return torch.softmax(warpers(torch.tensor([ids]), logits[None].clone()), -1)[0]


@pytest.mark.parametrize("sampling", SETTINGS)
@pytest.mark.parametrize("vocabulary", [40, 3000])
def test_tokens_come_as_often_as_transformers_has_them(sampling: Sampling, vocabulary: int) -> None:
    torch.manual_seed(1)
    logits = torch.randn(vocabulary) * (3 if vocabulary == 40 else 0.5)
    chances = expected(sampling, [3, 7], logits)
    picker, draws = Picker(sampling, [3, 7]), 4000
    picker.dice.seed(5)
    rows = logits.expand(200, -1)
    counts = Counter(token for _ in range(draws // 200) for token in pick(rows.clone(), [picker] * 200))
    assert set(counts) <= set(torch.nonzero(chances).flatten().tolist())
    drawn = torch.tensor([counts[token] / draws for token in range(vocabulary)])
    # Four standard errors of the most frequent, for each: loose, and far from what a wrong rule gives.
    assert float((drawn - chances).abs().max()) < 4 * (0.25 / draws) ** 0.5


def test_each_row_is_picked_by_its_own_settings() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0]] * 3)
    settings = [Sampling(0.0), Sampling(0.0, repetition_penalty=3.0), Sampling(1e-20)]
    assert pick(logits, [Picker(sampling, [1]) for sampling in settings]) == [1, 2, 1]


@pytest.mark.parametrize("top_k", [0, 3])
@pytest.mark.parametrize("temperature", [1e-46, 5e-324, 1e-38, 1e-9])
def test_a_temperature_too_small_to_divide_by_is_greedy(temperature: float, top_k: int) -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    settings = [Sampling(temperature, 0.9, top_k), Sampling(1.0, 0.1, 0)]
    for _ in range(8):
        assert pick(logits.clone(), [Picker(sampling, []) for sampling in settings]) == [1, 0]


def test_rows_without_usable_numbers_are_told_apart() -> None:
    logits = torch.tensor([[0.0, float("nan")], [0.0, 1.0], [float("inf"), 0.0], [float("-inf"), 1.0]])
    assert pick(logits, [Picker(Sampling(t), []) for t in (0.0, 0.0, 1.0, 1.0)]) == [None, 1, None, 1]


def test_a_seed_is_a_reply_s_own() -> None:
    logits = torch.randn(1, 500)
    first, again, beside = (Picker(Sampling(1.0, 1.0, 0, seed=4), []) for _ in range(3))
    other = Picker(Sampling(1.0, 1.0, 0, seed=9), [])
    alone = [pick(logits.clone(), [first])[0] for _ in range(20)]
    assert [pick(logits.clone(), [again])[0] for _ in range(20)] == alone
    assert [pick(logits.repeat(2, 1), [other, beside])[1] for _ in range(20)] == alone
