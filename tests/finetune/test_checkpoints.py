"""What a checkpoint puts back lies where the optimizer looks for it."""

from pathlib import Path

import torch

from finetune import checkpoints
from finetune.checkpoints import State


class Other:
    """A process beside the main one, which is told its moments."""

    main = False

    def level(self, tensors: list[torch.Tensor]) -> None:
        """Take what the main process has; here it is nothing."""


def optimizer_of(weight: torch.nn.Parameter) -> torch.optim.Optimizer:
    return torch.optim.AdamW([weight])


def test_what_a_fused_optimizer_counts_lies_beside_its_weight(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_of(weight)
    weight.sum().backward()
    optimizer.step()
    checkpoints.save(tmp_path, "key", State(epoch=1, step=1), {"a": weight}, optimizer, {}, {})
    elsewhere = torch.nn.Parameter(torch.empty(3, device="meta"))  # stands for a GPU
    resumed, levelled = optimizer_of(elsewhere), optimizer_of(elsewhere)
    found = checkpoints.newest(tmp_path, "key", {"a": elsewhere}, resumed)
    assert found is not None and found[0].step == 1
    checkpoints.level(found[0], {"a": elsewhere}, levelled, Other())  # type: ignore[arg-type]
    for each in (resumed, levelled):
        assert {name: tensor.device.type for name, tensor in each.state[elsewhere].items()} == {
            "step": "meta",
            "exp_avg": "meta",
            "exp_avg_sq": "meta",
        }
