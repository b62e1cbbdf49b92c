"""How often what is read, by what there is."""

import pytest

from finetune.plan import Plan, pace, passes, plan


@pytest.mark.parametrize(("per_epoch", "wanted"), [(1, 24), (5, 24), (12, 10), (40, 3), (500, 3)])
def test_few_rows_are_read_more_often(per_epoch: int, wanted: int) -> None:
    assert passes(per_epoch) == wanted


@pytest.mark.parametrize(
    ("copied", "contrasted", "epochs", "wanted"),
    [
        (42, 0, 0, Plan(20, 6, 8, 0)),  # corrections alone
        (42, 0, 2, Plan(2, 6, 8, 0)),
        (0, 84, 0, Plan(2, 21, 0, 4)),  # thumbs alone
        (0, 84, 1, Plan(1, 21, 0, 4)),
        (0, 12, 0, Plan(14, 3, 0, 4)),
        (42, 50, 0, Plan(20, 6, 7, 2)),  # both
        (1, 84, 0, Plan(24, 1, 1, 4)),
        (10, 2000, 0, Plan(24, 21, 1, 4)),
        (2000, 20, 0, Plan(3, 250, 8, 1)),
    ],
)
def test_a_run_reads_all_it_copies_and_as_many_thumbs_as_it_takes(
    copied: int, contrasted: int, epochs: int, wanted: Plan
) -> None:
    assert plan(copied, contrasted, batch_size=8, epochs=epochs) == wanted
    made = plan(copied, contrasted, batch_size=8, epochs=epochs)
    assert made.copied * made.per_epoch >= copied
    assert epochs or made.each * made.steps >= contrasted


def test_the_rate_rises_and_falls_to_nearly_nothing() -> None:
    rates = [pace(step, 40) for step in range(40)]
    assert max(rates) == 1
    assert rates[0] == 0.25
    assert 0 < rates[-1] < 0.05
