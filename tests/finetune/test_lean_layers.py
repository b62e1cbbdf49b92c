"""Norms and gated layers against transformers' own, forth and back."""

from pathlib import Path

import pytest
import torch

from finetune.lean_layers import lean_layers
from finetune.model import load_base
from tests.tiny import make_tiny


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_frozen_model_says_and_learns_the_same_and_is_left_as_it_was(tmp_path: Path, kind: str) -> None:
    model = load_base(make_tiny(tmp_path / "tiny", kind=kind), dtype=torch.float32).model.requires_grad_(False)
    read = model.get_input_embeddings()(torch.randint(5, 100, (3, 70), generator=torch.Generator().manual_seed(1)))

    def learned() -> tuple[torch.Tensor, torch.Tensor]:
        embeds = read.detach().clone().requires_grad_()
        logits = model(inputs_embeds=embeds, use_cache=False).logits
        logits.logsumexp(-1).sum().backward()
        return logits.detach(), embeds.grad

    expected = learned()
    with lean_layers(model):
        taken = [name for name, module in model.named_modules() if "forward" in vars(module)]
        got = learned()
    assert sum(name.endswith("mlp") for name in taken) == model.config.num_hidden_layers
    assert sum("norm" in name for name in taken) == 2 * model.config.num_hidden_layers + 1
    assert not [module for module in model.modules() if "forward" in vars(module)]
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_is_trained_or_says_something_else_is_let_be(tiny: Path) -> None:
    model = load_base(tiny, dtype=torch.float32).model
    model.model.layers[0].mlp.act_fn = torch.nn.GELU()
    with lean_layers(model):
        taken = {name for name, module in model.named_modules() if "forward" in vars(module)}
    assert taken == {f"model.layers.{n}.mlp" for n in range(1, model.config.num_hidden_layers)}
