"""Losses against what they are by hand, and where plain arithmetic would break."""

import math

import pytest
import torch

from finetune import objectives as o
from finetune import perturbations as perturb
from finetune.chances import log_chances
from finetune.model import IGNORED


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_chances_and_their_gradient_are_those_of_a_whole_log_softmax(dtype: torch.dtype) -> None:
    dice = torch.Generator().manual_seed(1)
    logits = (torch.randn(50, 300, generator=dice) * 5).to(dtype)
    ids, weights = torch.randint(0, 300, (50, 7), generator=dice), torch.randn(50, 7, generator=dice)
    plain, lean = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    expected, got = plain.float().log_softmax(-1).gather(1, ids), log_chances(lean, ids)
    assert torch.allclose(got, expected, atol=1e-5)
    (expected * weights).sum().backward()
    (got * weights).sum().backward()
    assert torch.allclose(lean.grad, plain.grad, atol=1e-5 if dtype == torch.float32 else 2e-2)
    assert lean.grad.dtype == dtype


def test_likelihood_of_a_coin_is_log_two() -> None:
    assert o.mle(torch.zeros(5, 2), torch.tensor([0, 1, 0, 1, 1])).tolist() == pytest.approx([math.log(2)] * 5)


def test_unlikelihood_is_minus_log_of_the_rest_and_holds_where_nothing_is_left() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [200.0, 0.0, 0.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    losses = o.unlikelihood(logits, torch.tensor([0, 0]))
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([-math.log(0.75), 200 - math.log(3)], rel=1e-3)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1, 0] > 0.9  # the step down does not vanish where the bad token is nearly certain


def test_cringe_lowers_the_bad_token_and_raises_one_of_the_likeliest_others() -> None:
    logits = torch.tensor([[5.0, 4.0, 3.0, -9.0, -9.0]] * 50, requires_grad=True)
    losses = o.cringe(logits, torch.zeros(50, dtype=torch.long), top=2)
    losses.sum().backward()
    possible = torch.tensor([math.log1p(math.exp(5.0 - other)) for other in (4.0, 3.0)])
    assert ((losses[:, None] - possible).abs().min(1).values < 1e-5).all()
    assert (logits.grad[:, 0] > 0).all()
    assert (logits.grad[:, 1:3] < 0).any(1).all()
    assert (logits.grad[:, 3:] == 0).all()


def test_reward_is_that_of_a_coin_at_the_base_and_stops_once_a_reply_has_moved() -> None:
    gains = torch.tensor([0.0, 0.0, 100.0, -100.0, -10.0], requires_grad=True)
    losses = o.reward(gains, torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]), strength=0.1)
    losses.sum().backward()
    expected = [math.log(2), math.log(2), math.log1p(math.exp(-10)), math.log1p(math.exp(-10)), math.log1p(math.e)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-4)
    assert gains.grad[:2].tolist() == pytest.approx([-0.05, 0.05])
    assert gains.grad[2:4].abs().max() < 1e-4


def test_drift_is_the_divergence_from_the_base_in_the_mean_over_what_it_says() -> None:
    dice = torch.Generator().manual_seed(2)
    said = torch.randn(50, generator=dice)
    base, now = said.log_softmax(-1), (said + torch.randn(50, generator=dice) / 4).log_softmax(-1)
    whole = (base.exp() * (base - now)).sum()
    assert (base.exp() * o.drift(now - base)).sum().item() == pytest.approx(whole.item(), rel=1e-4)
    assert o.drift(torch.tensor([0.0])).item() == 0
    far = torch.tensor([-30.0, 4.0, 30.0], requires_grad=True)
    o.drift(far).sum().backward()
    assert far.grad.tolist() == pytest.approx([-1, math.e - 1, math.e - 1])


@pytest.mark.parametrize("count", [6, 4, 1])
def test_own_repeats_counts_earlier_other_tokens_of_the_same_reply_once(count: int) -> None:
    losses = o.own_repeats(torch.zeros(count, 4), torch.tensor([0, 1, 0, 2, 2, 3]), torch.tensor([0, 0, 0, 0, 1, 1]))
    # said before, and not said now: nothing; 0; 1; 0 and 1 | nothing; 2
    assert losses.tolist() == pytest.approx([n * -math.log(0.75) for n in (0, 1, 1, 2, 0, 1)[-count:]])


def test_divergence_is_zero_from_itself_and_that_of_the_whole_vocabulary_where_it_is_small() -> None:
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    moved = logits + torch.eye(4, 7)
    assert o.divergence_from_base(logits, *o.likely_tokens(logits)).tolist() == pytest.approx([0] * 4, abs=1e-5)
    whole = torch.nn.functional.kl_div(moved.log_softmax(-1), logits.log_softmax(-1), log_target=True, reduction="none")
    got = o.divergence_from_base(moved, *o.likely_tokens(logits))
    assert torch.allclose(got, whole.sum(-1), atol=1e-5)


@pytest.mark.parametrize("among", [20, 7], ids=["ends among the likeliest", "ends among the rest"])
def test_whether_a_reply_ends_is_free_and_all_that_it_goes_on_with_is_held(
    among: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(o, "LIKELY", among)
    ends = torch.tensor([2, 5])
    logits = 3 * torch.randn(4, 21, generator=torch.Generator().manual_seed(1))
    logits[:, ends] = 4.0 if among == 20 else -9.0
    base = o.likely_tokens(logits)
    sooner = logits.clone().index_fill(1, ends, 3.0).requires_grad_()
    free = o.divergence_before_end(sooner, *base, ends)
    assert free.tolist() == pytest.approx([0] * 4, abs=2e-4)
    assert (o.divergence_from_base(sooner, *base) > 0.02).all()
    moved = (sooner + torch.eye(4, 21).roll(7, 1)).detach().requires_grad_()
    held = o.divergence_before_end(moved, *base, ends)
    others = [n for n in range(21) if n not in ends.tolist()]
    then, now = (side[:, others].log_softmax(-1) for side in (logits, moved))
    goes_on = logits.softmax(-1)[:, others].sum(-1)
    whole = goes_on * (then.exp() * (then - now)).sum(-1)
    assert (held <= whole + 2e-4).all() and (held > 0.5 * whole - 1e-3).all()
    held.sum().backward()
    assert moved.grad[:, ends].abs().max() == 0 and moved.grad.isfinite().all()


def test_of_a_corrected_reply_only_what_the_correction_says_otherwise_differs() -> None:
    assert o.differing([1, 2, 3, 4, 9], [1, 2, 7, 4, 9]) == [False, False, True, False, False]
    assert o.differing([1, 2], [3]) == [True, True]


def test_noise_is_scaled_by_what_is_read_and_leaves_padding_alone() -> None:
    mask = torch.tensor([[1] * 64, [1] * 4 + [0] * 60])
    drawn = perturb.noise(torch.zeros(2, 64, 16), mask, 5.0).abs()
    assert drawn[0].max() == pytest.approx(5 / math.sqrt(64 * 16), rel=0.05)
    assert drawn[1, :4].max() == pytest.approx(5 / math.sqrt(4 * 16), rel=0.1)
    assert drawn[1, 4:].max() == 0


def test_the_worst_direction_is_as_long_as_asked_in_every_row() -> None:
    step = perturb.worst_direction(torch.randn(3, 5, 7), 0.3)
    assert step.flatten(1).norm(dim=1).tolist() == pytest.approx([0.3] * 3)


def test_only_replies_are_dropped_or_guessed_anew() -> None:
    labels = torch.tensor([[IGNORED, IGNORED, 5, 6, 7]])
    dropped = perturb.earlier_replies_dropped(torch.ones(1, 5, 2), labels, 1.0)
    assert dropped[0, :2].tolist() == [[1, 1], [1, 1]]
    assert dropped[0, 2:].sum() == 0
    ids = torch.tensor([[1, 2, 5, 6, 7]])
    assert perturb.sampled_inputs(ids, labels, torch.tensor([8, 9, 10]), 1.0).tolist() == [[1, 2, 8, 9, 10]]
    assert perturb.sampled_inputs(ids, labels, torch.tensor([8, 9, 10]), 0.0).tolist() == ids.tolist()
