"""Thumbs decide on a trial: by its own rule, once, and rarely wrongly."""

from datetime import timedelta

import pytest

from bench.trials import EQUAL, LEAST_CAUGHT, MOST_WRONG, OTHERS, WORSE, simulate
from feedback.records import TrialLine
from feedback.schema import now
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.thumbs import Witness
from finetune.schedule import due, record_now
from finetune.scheduler import Scheduler
from finetune.settings import ScheduleSettings, TrainSettings, TrialSettings
from finetune.trials import Rule, look, standing, trial_rule
from tests.feedback.talk import begin, say

RULE = trial_rule(TrialSettings())


@pytest.fixture
def trial(store: Store) -> TrialLine:
    """Version 1 on trial against the base."""
    store.add_base("tiny")
    store.add_version(1, "adapter", "versions/001", store.open_run({}), "refused", "because", {})
    store.begin_trial(1, 0.5, RULE)
    found = store.trial()
    assert found is not None
    return found


def witnesses(up: int, of: int) -> list[Witness]:
    return [Witness(1, 0)] * up + [Witness(0, 1)] * (of - up)


def rated(store: Store, version: int, up: int, of: int) -> None:
    for n in range(of):
        conversation = store.new_conversation()
        say(store, conversation, "What is it?")
        reply = begin(store, conversation, version)
        store.end_reply(reply, "It is so.", "complete", "end")
        store.rate(reply, 1 if n < up else -1)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ((5, 40), (28, 40), "worse"),
        ((36, 40), (20, 40), "better"),
        ((28, 40), (28, 40), "goes_on"),
        ((0, 19), (19, 19), "goes_on"),  # too few, however clear
        ((0, 20), (19, 20), "worse"),
        ((350, 500), (350, 500), "undecided"),
        ((0, 0), (0, 0), "goes_on"),
    ],
)
def test_the_rule_decides(trial: TrialLine, ours, theirs, verdict: str) -> None:
    found = standing(trial, witnesses(*ours), witnesses(*theirs), trial.began_at + timedelta(days=1))
    assert found.verdict == verdict
    assert found.figures()["candidate"]["conversations"] == ours[1]


def test_a_trial_lasts_no_longer_than_its_rule_allows(trial: TrialLine) -> None:
    last = trial.began_at + timedelta(days=30)
    some = witnesses(10, 20)
    assert standing(trial, some, some, last - timedelta(seconds=1)).verdict == "goes_on"
    over = standing(trial, some, some, last)
    assert (over.verdict, "Not enough evidence that version 1 pleases more than version 0" in over.reason) == (
        "undecided",
        True,
    )


def test_it_is_the_trials_own_rule_that_decides(store: Store, trial: TrialLine) -> None:
    stricter = TrialLine(**{**vars(trial), "rule": {**RULE, "worse": 1e-9}})
    assert standing(stricter, witnesses(5, 40), witnesses(28, 40), now()).verdict == "goes_on"


def test_thumbs_of_one_conversation_that_agree_are_one_witness(trial: TrialLine) -> None:
    one_angry = [Witness(0, 60), *witnesses(13, 19)]
    assert standing(trial, one_angry, witnesses(14, 20), now()).verdict == "goes_on"


def test_the_watcher_keeps_figures_and_withdraws_what_pleases_less(store: Store, trial: TrialLine) -> None:
    rated(store, 1, 3, 19)
    rated(store, 0, 15, 20)
    assert look(store, now()).verdict == "goes_on"
    going = store.trial()
    assert (going.outcome, going.figures["candidate"]["conversations"]) == (None, 19)
    rated(store, 1, 0, 1)
    assert look(store, now()).verdict == "worse"
    (ended,) = store.trials()
    assert (ended.outcome, ended.figures["verdict"]) == ("withdrawn", "worse")
    assert "15% thumbs up" in ended.reason
    assert store.serving().shares == {0: 1.0}
    assert look(store, now()) is None


def test_the_watcher_promotes_the_winner(store: Store, trial: TrialLine) -> None:
    rated(store, 1, 20, 20)
    rated(store, 0, 5, 20)
    look(store, now())
    assert (store.trials()[0].outcome, store.serving().shares) == ("promoted", {1: 1.0})


def test_the_app_looks_and_no_run_starts_by_itself_meanwhile(
    store: Store, data: DataSettings, trial: TrialLine
) -> None:
    rated(store, 1, 10, 20)
    schedule = ScheduleSettings(retrain_every=timedelta(microseconds=1))
    assert due(now(), record_now(store), schedule).reason == "Version 1 is on trial; the next run waits for its end."
    scheduler = Scheduler(store, data, TrainSettings(), schedule)
    scheduler.look()
    assert (scheduler._process, store.trial().figures["candidate"]["conversations"]) == (None, 20)
    scheduler.schedule = ScheduleSettings(retrain_every="off")
    rated(store, 0, 20, 20)
    scheduler.look()
    assert store.trials()[0].outcome == "withdrawn"


@pytest.mark.parametrize("name", ["both 0.3, share 0.5", "both 0.9, share 0.5", "both 0.7, share 0.2"])
def test_an_equal_version_is_seldom_called_better(name: str) -> None:
    assert simulate(EQUAL[name], 200, Rule(), seed=1).better <= MOST_WRONG


def test_a_clearly_worse_version_is_withdrawn_in_time() -> None:
    assert simulate(WORSE["0.5 against 0.7, share 0.5"], 200, Rule(), seed=1).caught >= LEAST_CAUGHT


def test_thumbs_that_agree_would_deceive_if_each_were_a_witness() -> None:
    naive = simulate(OTHERS["both 0.7, 3 thumbs that agree, each told as a witness"], 200, Rule(), seed=1)
    assert naive.better > 2 * MOST_WRONG
