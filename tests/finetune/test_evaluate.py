from pathlib import Path

import pytest
import torch

from finetune.evaluate import gate, pair_losses
from finetune.model import load_base
from finetune.pairs import TrainingPair


def pairs(n: int, conversations: int | None = None) -> list[TrainingPair]:
    return [
        TrainingPair(f"m{i}", f"c{i % (conversations or n)}", (("user", "hello"),), "world", True, "correction")
        for i in range(n)
    ]


def decide(
    before: list[float], after: list[float], rise: float = 0.0, conversations: int | None = None, usable: int = 48
):
    return gate(pairs(len(before), conversations), before, after, rise, 0.2, usable)


def test_clearly_better_is_promoted_with_its_figures() -> None:
    verdict = decide([2.5, 3.0, 2.0, 2.8, 2.2, 2.6], [1.0, 1.5, 0.9, 1.1, 1.3, 0.8])
    assert verdict.verdict == "promoted"
    assert verdict.figures["held_out_pairs"] == 6
    assert verdict.figures["improvement"]["mean"] == pytest.approx(1.4166, abs=1e-3)


def test_worse_is_refused() -> None:
    verdict = decide([1.0, 1.1, 0.9, 1.0], [1.4, 1.3, 1.5, 1.2])
    assert (verdict.verdict, verdict.reason[:10]) == ("refused", "Not better")


def test_equal_is_refused() -> None:
    assert decide([1.0] * 6, [1.0] * 6).verdict == "refused"


def test_better_but_uncertain_is_refused_and_says_how_many_more_it_takes() -> None:
    verdict = decide([1.0, 1.0, 1.0, 1.0], [0.2, 1.5, 0.1, 1.4])
    assert verdict.verdict == "refused"
    assert "Not enough evidence" in verdict.reason
    assert "more conversations" in verdict.reason


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_to_tell_is_refused_however_good_it_looks(n: int) -> None:
    verdict = decide([3.0] * n, [0.1] * n, usable=8)
    assert verdict.verdict == "refused"
    assert "about 16 more" in verdict.reason


def test_many_pairs_of_one_conversation_are_one_witness() -> None:
    verdict = decide([3.0] * 20, [0.1] * 20, conversations=1)
    assert verdict.verdict == "refused"
    assert verdict.figures["held_out_conversations"] == 1


def test_two_pairs_a_conversation_count_for_more_than_one_and_less_than_two() -> None:
    before, after = [2.5, 3.0, 2.0, 2.8, 2.2, 2.6], [1.0, 2.9, 0.2, 1.1, 2.1, 0.8]
    alone, together = decide(before, after), decide(before, after, conversations=3)
    assert alone.figures["design_effect"] == 1.0
    assert together.figures["design_effect"] == pytest.approx(1.3)
    assert alone.figures["improvement"]["p"] < together.figures["improvement"]["p"] < 0.05


def test_what_forgets_is_refused_however_much_it_learned() -> None:
    verdict = decide([3.0] * 6, [0.1, 0.2, 0.1, 0.3, 0.1, 0.2], rise=0.9)
    assert verdict.verdict == "refused"
    assert "forgets" in verdict.reason


def test_figures_can_be_written_as_json() -> None:
    import json

    assert json.loads(json.dumps(decide([1.0], [0.5]).figures, allow_nan=False))


def test_an_equal_candidate_seldom_passes() -> None:
    dice = torch.Generator().manual_seed(0)
    noise = torch.randn(1000, 6, generator=dice).tolist()
    passed = sum(decide([1.0 + d for d in row], [1.0] * 6).verdict == "promoted" for row in noise)
    assert passed <= 70  # 5 % is promised; chance leaves it under 7 %


def test_loss_is_that_of_the_completion_alone(tiny: Path) -> None:
    loaded = load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))
    pair = pairs(1)[0]
    row = loaded.template.pair(pair.prompt, pair.completion, True)
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([row.ids])).logits[0, :-1]
    labels = torch.tensor(row.labels[1:])
    expected = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100).item()
    assert pair_losses(loaded, [pair]) == [pytest.approx(expected, abs=1e-5)]
