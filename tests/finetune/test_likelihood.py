from pathlib import Path

import pytest
import torch

from finetune import likelihood
from finetune.likelihood import Said, scores, scores_and_distributions, scores_and_divergences
from finetune.model import Loaded, load_base
from tests.tiny import make_tiny

SAID = [
    Said((("user", "hello"),), "world", True),
    Said((("user", "a much longer question about the quick brown fox"),), "hello hello world", True),
    Said((("user", "hi"),), "the quick", False),
    Said((("system", "be quick"), ("user", "hello world")), "x", True),
]


@pytest.fixture(scope="module")
def loaded(tiny: Path) -> Loaded:
    return load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))


def alone(loaded: Loaded, said: Said) -> tuple[torch.Tensor, torch.Tensor]:
    row = loaded.template.pair(said.prompt, said.text, said.ends)
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([row.ids])).logits[0, :-1]
    labels = torch.tensor(row.labels[1:])
    return logits[labels != -100], labels[labels != -100]


def test_many_at_once_score_as_each_alone(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    for most in (2**26, 300 * 60):  # one pass; several
        monkeypatch.setattr(likelihood, "_LOGITS", most)
        for said, score in zip(SAID, scores(loaded, SAID), strict=True):
            logits, labels = alone(loaded, said)
            losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
            assert score.loss == pytest.approx(losses.mean().item(), abs=1e-4)
            assert score.tokens == len(labels)
            assert score.end_loss == (pytest.approx(losses[-1].item(), abs=1e-4) if said.ends else None)


def test_a_model_is_no_distance_from_itself(loaded: Loaded) -> None:
    scored, told = scores_and_distributions(loaded, SAID)
    found, moved = scores_and_divergences(loaded, SAID, told)
    assert moved == [pytest.approx(0.0, abs=1e-5)] * 4
    assert found == scored == scores(loaded, SAID)


def test_the_distance_from_another_is_the_divergence_or_little_less(loaded: Loaded, tmp_path: Path) -> None:
    other = load_base(make_tiny(tmp_path / "other", seed=1), dtype=torch.float32, device=torch.device("cpu"))
    _, moved = scores_and_divergences(other, SAID, scores_and_distributions(loaded, SAID)[1])
    for said, found in zip(SAID, moved, strict=True):
        base, ours = (torch.log_softmax(alone(one, said)[0], -1) for one in (loaded, other))
        exact = (base.exp() * (base - ours)).sum(-1).mean().item()
        assert 0.5 * exact < found <= exact + 1e-4


def test_nothing_to_score_is_no_score(loaded: Loaded) -> None:
    assert scores(loaded, []) == []
