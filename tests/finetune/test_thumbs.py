"""Liked replies against disliked ones: who is set against whom, how they are read, and what is learned."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from finetune import objectives
from finetune.batches import pad
from finetune.forward import reply_logits
from finetune.general import Answer
from finetune.model import load_base
from finetune.objectives import divergence_before_end, mle
from finetune.pairs import TrainingPair
from finetune.settings import TrainSettings
from finetune.thumbs import FEWEST, Thumbs, apart, are_contrasted
from finetune.train import train_adapter


def fresh(tiny: Path):
    return load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))


def thumb(n: int, good: bool, text: str = "the fox", kind: str = "", weight: float = 0.6) -> TrainingPair:
    kind = kind or ("thumb_up" if good else "thumb_down")
    return TrainingPair(f"m{n}", f"c{n}", (("user", f"question {n}"),), text, True, kind, None, weight, good)


def corrected(n: int) -> list[TrainingPair]:
    return [thumb(n, True, "hello", "correction", 1.0), thumb(n, False, "world", "corrected", 0.8)]


def test_corrections_and_what_they_replaced_are_not_contrasted() -> None:
    thumbs = [thumb(1, True), thumb(2, False), thumb(3, True, kind="chosen"), thumb(4, False, kind="discarded")]
    assert apart([*corrected(0), *thumbs]) == (thumbs, corrected(0))


@pytest.mark.parametrize(
    ("liked", "disliked", "negative", "expected"),
    [
        (FEWEST, FEWEST, "auto", True),
        (FEWEST - 1, 50, "auto", False),
        (50, FEWEST - 1, "auto", False),
        (1, 1, "reward", True),
        (50, 0, "reward", False),
        (50, 50, "off", False),
        (50, 50, "cringe", False),
    ],
)
def test_thumbs_are_contrasted_where_there_are_enough_of_both(
    liked: int, disliked: int, negative: str, expected: bool
) -> None:
    pairs = [thumb(n, n < liked) for n in range(liked + disliked)] + [p for n in range(90, 120) for p in corrected(n)]
    assert are_contrasted(pairs, negative) is expected


def test_both_sides_weigh_alike_and_are_read_whole(tiny: Path) -> None:
    pairs = [thumb(n, n < 3, weight=0.5 + n % 2) for n in range(10)]
    thumbs = Thumbs(pairs, fresh(tiny).template, seed=3)
    assert sum(thumbs.weights[:3]) == pytest.approx(3)
    assert sum(thumbs.weights[3:]) == pytest.approx(7)
    assert thumbs.weights[1] == pytest.approx(3 * thumbs.weights[0])
    assert thumbs.larger_side == 7
    each = 2
    read = [thumbs.of_step(step, each) for step in range(4)]
    assert {len(rows) for rows in read} == {4}
    assert all(sum(thumbs.signs[i] for i in rows) == 0 for rows in read)
    assert set(Counter(i for rows in read for i in rows)) == set(range(10))
    assert [thumbs.of_step(step, each) for step in range(8)][::-1] == [
        thumbs.of_step(step, each) for step in reversed(range(8))
    ]


def test_a_reply_is_misranked_by_the_share_of_the_other_side_that_is_beyond_it(tiny: Path) -> None:
    template = fresh(tiny).template
    thumbs = Thumbs([thumb(1, True), thumb(2, True), thumb(3, False), thumb(4, False)], template)
    assert thumbs.misranked([1.0, 0.0, -1.0, -2.0]) == [0, 0, 0, 0]
    assert thumbs.misranked([1.0, 0.0, 0.5, 1.0]) == [0.25, 1, 0.5, 0.75]
    assert Thumbs([thumb(1, True)], template).misranked([0.5]) == []


def loss(model, template, text: str) -> float:
    batch = pad([template.pair([("user", "hello there")], text, True)], 0)
    with torch.inference_mode():
        return float(mle(*reply_logits(model, batch)).sum())


def test_liked_replies_become_likelier_than_disliked_ones_after_prompts_never_seen(tiny: Path, tmp_path: Path) -> None:
    loaded = fresh(tiny)
    liked, disliked = "the quick brown fox hello", "the quick brown fox world"
    before = {text: loss(loaded.model, loaded.template, text) for text in (liked, disliked)}
    pairs = [thumb(n, n % 2 == 0, (disliked, liked)[n % 2 == 0]) for n in range(2 * FEWEST)]
    settings = TrainSettings(epochs=8, learning_rate=3e-3, wear_prompts=False, keep_weight=0)
    model, trained = train_adapter(loaded, pairs, pairs[:4], [], settings, tmp_path, lambda *_: None)
    model.eval()
    gain = {text: before[text] - loss(model, loaded.template, text) for text in before}
    assert gain[liked] > 3
    assert gain[disliked] < -1
    assert trained.validation[-1] == 0  # none is misranked


def test_a_run_on_corrections_is_the_same_with_and_without_the_contrast(tiny: Path, tmp_path: Path) -> None:
    def trained(negative: str) -> list[torch.Tensor]:
        settings = TrainSettings(epochs=2, learning_rate=1e-2, negative=negative)
        pairs = [pair for n in range(FEWEST + 2) for pair in corrected(n)]
        model, _ = train_adapter(fresh(tiny), pairs, pairs[:2], [], settings, tmp_path / negative, lambda *_: None)
        return [weight.detach() for weight in model.parameters() if weight.requires_grad]

    assert all(torch.equal(one, other) for one, other in zip(trained("auto"), trained("off"), strict=True))


def test_thumbs_beside_corrections_are_read_too(tiny: Path, tmp_path: Path) -> None:
    copied = [pair for n in range(40) for pair in corrected(n)]
    rated = [thumb(n, n % 2 == 0) for n in range(50, 70)]
    settings = TrainSettings(epochs=1, wear_prompts=False)
    read = [
        train_adapter(fresh(tiny), pairs, [], [], settings, tmp_path, lambda *_: None)[1].tokens
        for pairs in (copied, copied + rated)
    ]
    row = len(fresh(tiny).template.pair(rated[0].prompt, rated[0].completion, True).ids)
    assert read[1] - read[0] == pytest.approx(5 * 2 * 4 * row, rel=0.05)  # steps, sides, rows of each


@pytest.mark.parametrize("weight", [0.0, 1e-6])
def test_a_side_that_is_all_very_old_weighs_as_much_as_the_other(tiny: Path, weight: float) -> None:
    pairs = [thumb(n, n < 3, weight=weight if n < 3 else 0.6) for n in range(6)]
    assert Thumbs(pairs, fresh(tiny).template).weights == pytest.approx([1] * 6)


@pytest.mark.parametrize("copied", [0, 1])
def test_when_replies_end_is_free_in_a_run_on_thumbs_alone(
    copied: int, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[list[int]] = []

    def recording(logits: torch.Tensor, ids: torch.Tensor, base: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        freed.append(ends.tolist())
        return divergence_before_end(logits, ids, base, ends)

    monkeypatch.setattr(objectives, "divergence_before_end", recording)
    loaded = fresh(tiny)
    pairs = [*(thumb(n, n % 2 == 0) for n in range(2 * FEWEST)), *corrected(99)[:copied]]
    settings = TrainSettings(epochs=1, wear_prompts=False)
    general = [Answer("hi", "hello", True)]
    _, trained = train_adapter(loaded, pairs, [], general, settings, tmp_path, lambda *_: None)
    assert freed == ([] if copied else [sorted(loaded.template.end_ids)] * trained.steps)
