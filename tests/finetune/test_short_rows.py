"""Attention over short rows against PyTorch's own, forth and back."""

from pathlib import Path

import pytest
import torch

from finetune.model import load_base
from finetune.short_rows import _Attend, _bias, short_rows


@pytest.mark.parametrize("heads", [(6, 2), (4, 4)])
def test_it_attends_as_pytorch_does_forth_and_back(heads: tuple[int, int]) -> None:
    dice = torch.Generator().manual_seed(0)
    shapes = [(3, count, 11, 8) for count in (heads[0], heads[1], heads[1])]
    plain = [torch.randn(shape, generator=dice).requires_grad_() for shape in shapes]
    lean = [one.detach().clone().requires_grad_() for one in plain]
    mask = torch.ones(3, 1, 11, 11, dtype=torch.bool).tril()
    mask[1, :, :, 7:] = False
    weights = torch.randn(shapes[0], generator=dice)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *plain, attn_mask=mask, scale=0.3, enable_gqa=heads[0] != heads[1]
    )
    got = _Attend.apply(*lean, _bias.of(mask, 11, torch.float32), 0.3)
    assert torch.allclose(got, expected, atol=1e-6)
    (expected * weights).sum().backward()
    (got * weights).sum().backward()
    for ours, theirs in zip(lean, plain, strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_a_model_says_and_learns_the_same_and_is_left_as_it_was(tiny: Path, padded: bool) -> None:
    model = load_base(tiny, dtype=torch.float32).model
    ids = torch.randint(5, 100, (2, 20), generator=torch.Generator().manual_seed(1))
    seen = torch.ones(2, 20, dtype=torch.long)
    if padded:
        seen[1, 12:] = 0

    def learned() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        logits = model(input_ids=ids, attention_mask=seen, use_cache=False).logits[seen.bool()]
        logits.logsumexp(-1).sum().backward()
        return logits.detach(), model.model.layers[0].self_attn.k_proj.weight.grad.clone()

    expected, former = learned(), model.config._attn_implementation
    with short_rows(model):
        assert model.config._attn_implementation != former
        got = learned()
    assert model.config._attn_implementation == former
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)
