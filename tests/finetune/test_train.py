import random
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from feedback.errors import RapportError
from finetune import reading
from finetune.batches import PairRows, of_like_length, pad, parts
from finetune.best import better, is_worse
from finetune.checkpoints import State
from finetune.forward import reply_logits
from finetune.general import Answer
from finetune.model import IGNORED, Encoded, load_base
from finetune.objectives import divergence_from_base, likely_tokens, mle
from finetune.pairs import TrainingPair
from finetune.settings import TrainSettings
from finetune.train import train_adapter
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
    keep = [Answer("hi", "hello", True)]
    model, trained = train_adapter(loaded, pairs, [], keep, settings, tmp_path, lambda s, t, *_: seen.append((s, t)))
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


def test_a_worn_question_still_names_what_it_is_about() -> None:
    dice = random.Random(0)
    made = [worn("Where is the warehouse of Quillworth?", dice) for _ in range(300)]
    assert len(set(made)) > 150
    assert sum("warehouse" in text.lower() or "quillworth" in text.lower() for text in made) > 285
    assert sum(text in ("warehouse Quillworth?", "Quillworth? warehouse") for text in made) > 5  # as in a search box
    assert all(worn("? ?", dice) for _ in range(300))


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


class Killed(Exception):
    """A run's end in mid-epoch."""


def stops_at(last: int):
    def progress(step: int, *_: object) -> None:
        if step == last:
            raise Killed

    return progress


HARD = {"negative": "cringe", "embedding_noise": 5, "adversarial": 0.1, "scheduled_sampling": 0.3, "reply_dropout": 0.2}


@pytest.mark.parametrize("more", [{}, HARD, {"method": "adalora"}, {"negative": "reward"}])
def test_a_run_that_was_killed_goes_on_to_the_same_adapter(more: dict[str, object], tiny: Path, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=4, learning_rate=1e-2, batch_size=3, lora_rank=4, seed=7, **more)
    pairs = [pair(n, f"hello fox {n}") for n in range(7)]
    pairs += [replace(pair(n, "the world"), good=False, kind="thumb_down") for n in range(20, 24)]
    pairs += [replace(pair(n, "the fox"), kind="thumb_up") for n in range(30, 33)]
    answers = [Answer(f"say {n}", "hello world", True) for n in range(5)]

    def trained(folder: str, progress, resume: bool = False) -> dict[str, torch.Tensor]:
        model, _ = train_adapter(
            fresh(tiny), pairs, [pair(9, "fox")], answers, settings, tmp_path / folder, progress, resume
        )
        return {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}

    unbroken = trained("whole", lambda *_: None)
    with pytest.raises(Killed):
        trained("broken", stops_at(8))
    seen: list[int] = []
    resumed = trained("broken", lambda step, *_: seen.append(step), resume=True)
    assert seen[0] in (5, 7)  # what begins an epoch, after those that were whole
    for name, weight in unbroken.items():
        assert torch.allclose(weight, resumed[name], atol=1e-6), name


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(tiny: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    for rate in (1e-2, 2e-2):
        settings, pairs = TrainSettings(epochs=1, learning_rate=rate), [pair(1, "fox")]
        train_adapter(fresh(tiny), pairs, [], [], settings, tmp_path, lambda step, *_: seen.append(step), resume=True)
    assert seen == [1, 1]


@pytest.mark.parametrize("negative", ["unlikelihood", "cringe"])
def test_a_bad_reply_becomes_less_likely(negative: str, tiny: Path, tmp_path: Path) -> None:
    loaded = fresh(tiny)
    bad = [replace(pair(n, "hello world"), good=False) for n in range(12)]
    row = loaded.template.pair(bad[0].prompt, "hello world", True)

    def loss(model) -> float:
        with torch.inference_mode():
            return mean_loss(*reply_logits(model, pad([row], 0))).item()

    before = loss(loaded.model)
    settings = TrainSettings(epochs=6, learning_rate=1e-2, negative=negative, wear_prompts=False)
    model, trained = train_adapter(loaded, bad, [], [], settings, tmp_path, lambda *_: None)
    assert trained.tokens >= 6 * 12 * len(row.ids)  # each is read in every epoch
    assert loss(model) > before + 1


def test_bad_replies_alone_teach_nothing_while_negatives_are_off(tiny: Path, tmp_path: Path) -> None:
    bad = [replace(pair(1, "hello world"), good=False)]
    with pytest.raises(RapportError, match="Nothing good is left"):
        train_adapter(fresh(tiny), bad, [], [], TrainSettings(negative="off"), tmp_path, lambda *_: None)


def test_of_a_corrected_reply_only_what_was_wrong_carries_loss(tiny: Path) -> None:
    template = fresh(tiny).template
    bad = replace(pair(1, "the quick brown fox"), good=False, instead="the quick hello fox")
    labels = PairRows([bad], template).read(0).labels
    pushed = template.decode([label for label in labels if label != IGNORED])
    assert 0 < len(pushed.strip()) < len("the quick brown fox")
    assert set(pushed) <= set(" brown")


def test_of_a_corrected_reply_only_what_was_wrong_weighs(tiny: Path) -> None:
    template = fresh(tiny).template
    bad = replace(pair(1, "the quick brown fox"), good=False, instead="the quick hello fox")
    read, whole = (PairRows([one], template).read(0) for one in (bad, replace(bad, instead=None)))
    assert sum(map(bool, whole.weights)) == sum(label != IGNORED for label in whole.labels)
    assert read.weights == [w if label != IGNORED else 0 for w, label in zip(whole.weights, read.labels, strict=True)]
    assert any(read.weights)


def epochs_of(*general: float) -> State:
    return State(epoch=len(general), kept=1, general=list(general), best=[1.0, 2.0])


def test_an_epoch_that_forgets_never_takes_the_place_of_one_that_does_not() -> None:
    assert not better(epochs_of(0.1, 0.3), [0.1, 0.2], most_rise=0.2)
    assert better(epochs_of(0.3, 0.1), [5.0, 6.0], most_rise=0.2)
    assert better(epochs_of(0.3, 0.4), [0.1, 0.2], most_rise=0.2)
    assert not better(epochs_of(0.1, 0.1), [5.0, 6.1], most_rise=0.2)


def test_parts_hold_rows_of_like_length_and_no_more_than_memory_is_meant_for() -> None:
    made = parts([500, 30, 490, 31, 900, 480, 2000], "cpu")
    assert sorted(index for part in made for index in part) == list(range(7))
    assert made == [[6], [4], [0, 2], [5], [3, 1]]


@pytest.mark.parametrize("more", [{"label_smoothing": 0.1}, {"repeat_weight": 1}])
def test_long_replies_give_the_same_gradient_in_chunks(more, tiny: Path, tmp_path: Path, monkeypatch) -> None:
    settings = TrainSettings(epochs=1, learning_rate=1e-3, lora_rank=4, **more)
    weights = []
    for chunk in (512, 3):
        monkeypatch.setattr(reading, "_CHUNK", chunk)
        model, _ = train_adapter(
            fresh(tiny), [pair(1, "hello world " * 9)], [], [], settings, tmp_path, lambda *_: None
        )
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad]))
    assert torch.allclose(weights[0], weights[1], atol=1e-5)


def test_what_finds_no_memory_is_computed_again_with_less(tiny: Path, tmp_path: Path, monkeypatch) -> None:
    read, refused, weights = reading.reply_logits, [], []

    def scarce(model, batch, **inputs):
        if model.training and not model.is_gradient_checkpointing:
            refused.append(1)
            raise torch.OutOfMemoryError
        return read(model, batch, **inputs)

    for way in (read, scarce):
        monkeypatch.setattr(reading, "reply_logits", way)
        model, _ = train_adapter(
            fresh(tiny), [pair(1, "fox")], [], [], TrainSettings(epochs=2), tmp_path, lambda *_: None
        )
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad]))
    assert refused == [1]
    assert torch.allclose(*weights, atol=1e-6)


def test_what_a_pass_without_memory_held_is_let_go_before_it_is_computed_again(
    tiny: Path, tmp_path, monkeypatch
) -> None:
    read, held, left = reading.reply_logits, [], []

    def scarce(model, batch, **inputs):
        if not model.training:
            return read(model, batch, **inputs)
        if not held:
            activations = torch.ones(3)
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError
        left.append(held[0]())
        left.extend(p.grad for p in model.parameters() if p.grad is not None)
        return read(model, batch, **inputs)

    monkeypatch.setattr(reading, "reply_logits", scarce)
    train_adapter(fresh(tiny), [pair(1, "fox")], [], [], TrainSettings(epochs=1), tmp_path, lambda *_: None)
    assert left == [None]


def test_general_prompts_that_training_leaves_out_tell_which_epoch_has_forgotten(tiny: Path, tmp_path: Path) -> None:
    answers = [Answer(f"say {n}", "quick", False) for n in range(96)]
    settings = TrainSettings(epochs=4, learning_rate=5e-2, keep_weight=0, max_general_rise=100, lora_rank=4)
    pairs = [pair(n, "fox") for n in range(8)]
    _, free = train_adapter(fresh(tiny), pairs, [], answers, settings, tmp_path, lambda *_: None)
    assert (len(free.general), free.kept_epoch) == (4, 4)
    best = min(range(4), key=lambda epoch: free.general[epoch])
    bound = settings.model_copy(update={"max_general_rise": free.general[best] + 1e-4})
    _, bounded = train_adapter(fresh(tiny), pairs, [], answers, bound, tmp_path, lambda *_: None)
    assert bounded.general == pytest.approx(free.general)
    assert bounded.kept_epoch == best + 1 < 4, free.general


def test_rows_of_like_length_share_a_batch_and_a_long_one_has_its_own() -> None:
    assert of_like_length([5, 900, 3, 4, 100], 15) == [[2, 3, 0], [4], [1]]
    assert of_like_length([], 15) == []
