"""A month with the clock driven: the record, the schedule and the trials are real, only training is made up.

`make proof-month` lives the same month with real runs on the tiny model.
"""

from datetime import timedelta

import pytest

from bench.month import BAD_RUN, BEGAN, QUIET, SCHEDULE, TAUGHT, TRIAL_DAYS, TRIAL_SHARE, Clock, Month, figures
from feedback.store import Store
from finetune.settings import TrialSettings
from finetune.trials import trial_rule


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Month:
    store, clock = Store.open(f"sqlite:///{tmp_path_factory.mktemp('month') / 'chat.db'}"), Clock()

    def says(version: int) -> str:
        return "I do not know." if version in (0, BAD_RUN) else TAUGHT

    def retrain() -> None:
        number, run = store.next_version(), store.open_run({})
        store.freeze_dataset(run, {}, {}, [], clock.now())
        trial = TRIAL_SHARE, trial_rule(TrialSettings(trial_days=TRIAL_DAYS))
        store.add_version(number, "adapter", f"versions/{number:03}", run, "promoted", "Let through.", {}, trial)

    with clock.rules():
        store.add_base("tiny")
        lived = Month(store, clock, retrain, says)
        lived.live(22)
    return lived


def test_what_is_wanted_of_the_month_is_met(month: Month) -> None:
    assert [each.name for each in figures(month) if not each.met] == []


def test_runs_start_when_they_should_and_only_then(month: Month) -> None:
    assert [step.at for step in month.steps if step.due] == [step.at for step in month.steps if step.should]
    told = " ".join(step.reason for step in month.steps if not step.due)
    for reason in (f"of {SCHEDULE.retrain_min_ratings} new", "the next run starts in", "is on trial"):
        assert reason in told


def test_every_row_carries_the_driven_clock(month: Month) -> None:
    rows = [*month.store.promotions(), *month.store.runs(), *month.store.versions()]
    assert all(0 <= (row.created_at - BEGAN).days <= 22 for row in rows)


def test_the_bad_version_served_its_share_until_it_was_withdrawn_and_never_again(month: Month) -> None:
    (bad,) = [trial for trial in month.store.trials() if trial.candidate == BAD_RUN]
    assert (bad.outcome, bad.figures["verdict"]) == ("withdrawn", "worse")
    assert month.store.served(BAD_RUN) == [(bad.began_at, bad.ended_at, TRIAL_SHARE)]
    assert bad.ended_at - bad.began_at < timedelta(days=TRIAL_DAYS)
    assert month.store.version_thumbs()[BAD_RUN].conversations == month.told[BAD_RUN] < 60


def test_while_nobody_chats_nothing_starts_for_want_of_feedback(month: Month) -> None:
    last = [step for step in month.steps if (step.at - BEGAN).days in QUIET][-1]
    assert not last.due
    assert f"of {SCHEDULE.retrain_min_ratings} new thumbs" in last.reason
