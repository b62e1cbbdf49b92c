import random
from pathlib import Path

import pytest
import torch

from finetune.batches import PairRows, pad
from finetune.forward import reply_logits
from finetune.general import Answer
from finetune.model import IGNORED, Encoded, load_base
from finetune.objectives import divergence_from_base, likely_tokens, mle
from finetune.pairs import TrainingPair
from finetune.settings import TrainSettings
from finetune.train import is_worse, train_adapter
from finetune.wear import worn


def fresh(tiny: Path):
    return load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))


def pair(n: int, answer: str) -> TrainingPair:
    return TrainingPair(f"m{n}", f"c{n}", (("user", f"question {n}"),), answer, True, "correction")


def mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return mle(logits, labels).mean()


def test_padding_changes_no_loss(tiny: Path) -> None:
    loaded = fresh(tiny)
    rows = [loaded.template.pair((("user", "hello"),), text, True) for text in ("the fox", "hello world, hello fox")]
    together = mean_loss(*reply_logits(loaded.model, pad(rows, 0)))
    alone = [reply_logits(loaded.model, pad([row], 0)) for row in rows]
    logits, labels = (torch.cat(parts) for parts in zip(*alone, strict=True))
    assert together.item() == pytest.approx(mean_loss(logits, labels).item(), abs=1e-5)


def test_the_end_of_turn_is_not_lost_to_padding_of_the_same_token() -> None:
    batch = pad(
        [Encoded([5, 1], [IGNORED, 1], [0.0, 1.0]), Encoded([5, 6, 1], [IGNORED, 6, 1], [0.0, 1.0, 1.0])], filler=1
    )
    assert batch["labels"].tolist() == [[IGNORED, 1, IGNORED], [IGNORED, 6, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_training_learns_and_reports_its_progress(tiny: Path, tmp_path: Path) -> None:
    loaded = fresh(tiny)
    settings = TrainSettings(epochs=12, learning_rate=5e-2, batch_size=4, keep_weight=0.01, wear_prompts=False)
    seen: list[tuple[int, int]] = []
    pairs = [pair(n, "hello fox") for n in range(8)]
    model, trained = train_adapter(
        loaded, pairs, [], [Answer("hi", "hello", True)], settings, tmp_path, lambda s, t, loss: seen.append((s, t))
    )
    assert seen[-1] == (24, 24)
    assert trained.steps == 24
    model.eval()
    row = loaded.template.pair(pairs[0].prompt, "hello fox", True)
    with torch.inference_mode():
        after = mean_loss(*reply_logits(model, pad([row], 0))).item()
        with model.disable_adapter():
            before = mean_loss(*reply_logits(model, pad([row], 0))).item()
    assert after < before - 1


def test_the_best_epoch_is_kept_and_patience_ends_a_run(tiny: Path, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=30, learning_rate=5e-2, batch_size=4, patience=2, wear_prompts=False, keep_weight=0)
    train, validation = [pair(n, "fox fox") for n in range(6)], [pair(9, "the quick brown world")]
    loaded = fresh(tiny)
    model, trained = train_adapter(loaded, train, validation, [], settings, tmp_path, lambda *_: None)
    assert len(trained.validation) < 30
    row = loaded.template.pair(validation[0].prompt, validation[0].completion, True)
    model.eval()
    with torch.inference_mode():
        kept = mean_loss(*reply_logits(model, pad([row], 0))).item()
    assert kept == pytest.approx(min(trained.validation), abs=1e-3)


def test_one_pair_alone_can_be_trained_on(tiny: Path, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=2, batch_size=64)
    _, trained = train_adapter(fresh(tiny), [pair(1, "fox")], [], [], settings, tmp_path, lambda *_: None)
    assert trained.steps == 2


def test_keeping_close_to_the_base_moves_it_less(tiny: Path, tmp_path: Path) -> None:
    moved = {}
    for weight in (0.0, 10.0):
        loaded = fresh(tiny)
        answer = Answer("say something", "hello world", True)
        settings = TrainSettings(epochs=8, learning_rate=1e-2, keep_weight=weight, wear_prompts=False)
        model, _ = train_adapter(
            loaded, [pair(n, "fox") for n in range(8)], [], [answer], settings, tmp_path, lambda *_: None
        )
        model.eval()
        batch = pad([loaded.template.pair([("user", answer.prompt)], answer.text, True)], 0)
        with torch.inference_mode(), model.disable_adapter():
            base, _ = reply_logits(model, batch)
        with torch.inference_mode():
            moved[weight] = divergence_from_base(reply_logits(model, batch)[0], *likely_tokens(base)).mean().item()
    assert moved[10.0] < moved[0.0] / 2


def test_only_prompts_are_worn_and_alike_in_every_reading(tiny: Path) -> None:
    rows = PairRows([pair(1, "the quick brown fox")], fresh(tiny).template, wear=True)
    read = [rows.read(0, epoch) for epoch in range(20)]
    assert len({tuple(row.ids) for row in read}) > 3
    assert len({tuple(label for label in row.labels if label != IGNORED) for row in read}) == 1
    assert [rows.read(0, epoch) for epoch in reversed(range(20))] == read[::-1]


def test_wearing_leaves_long_messages_and_single_words_alone() -> None:
    dice = random.Random(0)
    for text in ("hello", "word " * 41):
        assert all(worn(text, dice) == text for _ in range(50))


@pytest.mark.parametrize(
    ("moved", "worse"),
    [
        ([0.0, 0.0, 0.0, 0.0], False),
        ([-0.1, -0.2, -0.1, -0.3], False),
        ([0.3, 0.2, 0.3, 0.2], True),  # every pair lost
        ([0.4, -0.3, 0.1, -0.1], False),  # chance may do that
        ([0.1], True),  # of one pair nothing can be told but which is less
        ([-0.1], False),
    ],
)
def test_an_epoch_is_worse_only_by_more_than_chance(moved: list[float], worse: bool) -> None:
    best = torch.tensor([1.0, 2.0, 0.5, 3.0])[: len(moved)]
    assert is_worse(best + torch.tensor(moved), best) is worse
