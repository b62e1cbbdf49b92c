"""Trials, pins and the thumbs that versions earned."""

from datetime import timedelta

import pytest

from feedback.errors import BadInput, Busy, NotFound
from feedback.formats import Incoming, IncomingMessage
from feedback.promotions import put_promotion
from feedback.schema import AskedReply, ModelVersion, now
from feedback.store import Store
from tests.feedback.talk import begin, say

RULE = {"most": 9}


@pytest.fixture
def two(store: Store) -> Store:
    """A record where version 1 serves and version 2 was refused."""
    store.add_base("tiny")
    for number, verdict in ((1, "promoted"), (2, "refused")):
        store.add_version(number, "adapter", f"versions/{number:03}", store.open_run({}), verdict, "because", {})
    return store


def shares(store: Store) -> dict[int, float]:
    serving = store.serving()
    assert serving is not None
    return serving.shares


def replied(store: Store, version: int, *thumbs: int, conversation: str | None = None) -> list[str]:
    """Have a conversation in which a version's replies get thumbs, 0 for none; return the replies."""
    conversation = conversation or store.new_conversation()
    replies = []
    for thumb in thumbs:
        say(store, conversation, "What is it?")
        replies.append(begin(store, conversation, version))
        store.end_reply(replies[-1], "It is so.", "complete", "end")
        if thumb:
            store.rate(replies[-1], thumb)
    return replies


def counted(store: Store) -> dict[int, list[tuple[int, int]]]:
    (trial,) = store.trials()
    return {n: [(w.up, w.down) for w in found] for n, found in store.trial_thumbs(trial.id).items()}


# --- beginning and ending


def test_a_trial_shares_new_conversations_out_and_keeps_its_rule(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    trial = two.trial()
    assert trial is not None
    assert (trial.candidate, trial.against, trial.share, trial.rule, trial.outcome) == (2, 1, 0.2, RULE, None)
    assert shares(two) == {1: 0.8, 2: 0.2}
    assert [version.share for version in two.versions()] == [0.0, 0.8, 0.2]


@pytest.mark.parametrize(
    ("promoted", "figures", "outcome", "serves"),
    [
        (True, {"n": 1}, "promoted", {2: 1.0}),
        (False, {"n": 1}, "withdrawn", {1: 1.0}),
        (True, None, "ended", {2: 1.0}),
        (False, None, "ended", {1: 1.0}),
    ],
)
def test_a_trial_ends_with_what_serves_from_then_on(two: Store, promoted, figures, outcome, serves) -> None:
    two.begin_trial(2, 0.2, RULE)
    ended = two.end_trial(promoted, figures=figures)
    assert (ended.outcome, ended.figures, two.trial()) == (outcome, figures or {}, None)
    assert ended.reason and ended.ended_at is not None
    assert shares(two) == serves
    with pytest.raises(BadInput, match="No version is on trial"):
        two.end_trial(promoted)
    assert [line.outcome for line in two.trials()] == [outcome]


@pytest.mark.parametrize("promoted", [True, False])
def test_to_roll_back_after_a_trial_never_brings_its_shares_back(two: Store, promoted: bool) -> None:
    two.begin_trial(2, 0.2, RULE)
    two.end_trial(promoted, figures={})
    assert two.rollback().shares == ({1: 1.0} if promoted else {0: 1.0})


def test_to_roll_back_during_a_trial_withdraws_its_candidate(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    assert two.rollback(person="local").shares == {1: 1.0}
    (trial,) = two.trials()
    assert (trial.outcome, "Ended by another promotion, of version 1, by local: Rolled back." in trial.reason) == (
        "ended",
        True,
    )


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_promotion_by_hand_ends_the_trial(two: Store, number: int) -> None:
    trial_id = two.begin_trial(2, 0.2, RULE)
    two.promote(number)
    assert (two.trials()[0].outcome, two.trial(), shares(two)) == ("ended", None, {number: 1.0})
    with pytest.raises(BadInput):  # thumbs decide a moment too late
        two.end_trial(True, figures={}, trial_id=trial_id)
    assert shares(two) == {number: 1.0}


def test_a_version_that_the_gate_promotes_may_go_on_trial_first(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    two.add_version(3, "adapter", "versions/003", two.open_run({}), "promoted", "Better.", {}, trial=(0.3, RULE))
    assert shares(two) == {1: 0.7, 3: 0.3}
    assert [(line.candidate, line.against, line.outcome) for line in two.trials()] == [(2, 1, "ended"), (3, 1, None)]
    two.end_trial(False, figures={})
    assert shares(two) == {1: 1.0}


def test_what_is_refused_begins_no_trial(two: Store) -> None:
    for share in (0, 0.6, 1, -1):
        with pytest.raises(BadInput, match=f"The share {share} cannot be used"):
            two.begin_trial(2, share, RULE)
    with pytest.raises(BadInput, match="Version 1 is what serves"):
        two.begin_trial(1, 0.2, RULE)
    with pytest.raises(NotFound, match="no version 9"):
        two.begin_trial(9, 0.2, RULE)
    assert two.trials() == [] and shares(two) == {1: 1.0}
    two.begin_trial(2, 0.2, RULE)
    with pytest.raises(Busy, match="Version 2 is on trial already"):
        two.begin_trial(0, 0.2, RULE)


# --- whose thumbs count


def test_each_conversation_is_one_witness_for_the_version_drawn_for_it(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    replied(two, 2, 1, 1, -1)
    replied(two, 1, -1)
    replied(two, 1, 0)
    assert counted(two) == {2: [(2, 1)], 1: [(0, 1)]}


def test_only_conversations_that_began_during_the_trial_count(two: Store) -> None:
    before = two.new_conversation()
    replied(two, 1, 1, conversation=before)
    two.begin_trial(2, 0.2, RULE)
    replied(two, 2, 1, conversation=before)
    replied(two, 2, -1)
    two.end_trial(False, figures={})
    replied(two, 2, 1)
    assert counted(two) == {2: [(0, 1)], 1: []}


def test_a_changed_thumb_counts_as_it_is_now_and_one_taken_back_not_at_all(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    changed, back = replied(two, 2, 1)[0], replied(two, 1, 1)[0]
    two.rate(changed, -1)
    two.rate(back, 0)
    assert counted(two) == {2: [(0, 1)], 1: []}


def test_imported_replies_and_deleted_conversations_count_for_no_version(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    turns = (IncomingMessage("user", "Hi?"), IncomingMessage("assistant", "Hi.", rating=1))
    two.take_in([Incoming("theirs", turns)])
    replied(two, 2, 1, conversation="theirs")  # it began elsewhere
    two.delete(two.conversation_of(replied(two, 1, 1)[0]))
    assert counted(two) == {2: [], 1: []}
    assert {n: (e.up, e.down) for n, e in two.version_thumbs().items()} == {2: (1, 0)}


def test_another_versions_reply_in_a_conversation_counts_for_neither(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    mixed = two.new_conversation()
    replied(two, 1, 1, conversation=mixed)
    replied(two, 2, -1, conversation=mixed)
    assert counted(two) == {2: [], 1: [(1, 0)]}


def test_two_replies_side_by_side_count_for_neither(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    conversation = two.new_conversation()
    _, _, left, right = two.begin_comparison(conversation, None, "Hi?", (1, {}, []), (2, {}, []))
    for reply, thumb in ((left, 1), (right, -1)):
        two.end_reply(reply, "It is so.", "complete", "end")
        two.rate(reply, thumb)
    assert counted(two) == {2: [], 1: []}


def test_a_thumb_asked_for_because_of_what_the_reply_says_counts_for_nothing(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    picked, random, own = (replied(two, 2, 0)[0] for _ in range(3))
    two.rate(own, 1)
    with two.writing() as session:
        session.add_all(
            AskedReply(message_id=m, why=w) for m, w in ((picked, "unlike"), (random, "random"), (own, "unlike"))
        )
    two.rate(picked, -1)
    two.rate(random, -1)
    assert sorted(counted(two)[2]) == [(0, 1), (1, 0)]
    assert two.version_thumbs()[2].down == 1


def test_a_version_earned_the_mean_over_its_conversations(two: Store) -> None:
    replied(two, 1, 1, 1, -1, -1)
    replied(two, 1, 1)
    told = two.version_thumbs()[1]
    assert (told.up, told.down, told.conversations, told.share) == (3, 2, 2, 0.75)
    assert 0 < told.low < 0.75 < told.high < 1


# --- history and pins


def test_the_history_says_who_served_what_when_and_why(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE, reason="Let us see.")
    two.end_trial(True, figures={}, reason="Better.")
    two.rollback()
    lines = two.promotions()
    assert [(line.shares, line.reason) for line in lines] == [
        ({0: 1.0}, "The base model."),
        ({1: 1.0}, "because"),
        ({1: 0.8, 2: 0.2}, "Let us see."),
        ({2: 1.0}, "Better."),
        ({1: 1.0}, "Rolled back."),
    ]
    assert [line.trial_id for line in lines] == [None, None, 1, None, None]
    assert [line.restores_id for line in lines] == [None, None, None, None, 2]
    at = [line.created_at for line in lines]
    assert two.served(1) == [(at[1], at[2], 1.0), (at[2], at[3], 0.8), (at[4], None, 1.0)]
    assert two.served(2) == [(at[2], at[3], 0.2), (at[3], at[4], 1.0)]
    assert two.served_when() == {number: two.served(number) for number in range(3)}
    told = two.trace(version=2)["versions"][0]["served"]
    assert [one["since"] for one in told] == [at[2].isoformat(), at[3].isoformat()]
    assert [one["until"] for one in told] == [at[3].isoformat(), at[4].isoformat()]


def test_promotions_in_a_row_that_leave_a_share_as_it_is_are_one_time_of_serving(two: Store) -> None:
    two.begin_trial(2, 0.2, RULE)
    two.end_trial(False, figures={}, reason="No.")
    two.begin_trial(2, 0.2, RULE)
    with two.writing() as session:
        put_promotion(session, {1: 0.8, 0: 0.2}, "local", "")
    at = [line.created_at for line in two.promotions()]
    assert two.served(1) == [(at[1], at[2], 1.0), (at[2], at[3], 0.8), (at[3], at[4], 1.0), (at[4], None, 0.8)]
    assert two.served(0) == [(at[0], at[1], 1.0), (at[5], None, 0.2)]
    assert two.served(9) == []


def test_a_pin_holds_until_it_is_taken_out(two: Store) -> None:
    two.pin(2, True)
    two.pin(2, True)
    assert [version.pinned for version in two.versions()] == [False, False, True]
    two.pin(2, False)
    assert not two.version(2).pinned
    with pytest.raises(NotFound, match="no version 9;"):
        two.pin(9, False)


def test_a_version_without_its_folder_is_neither_served_nor_tried_nor_pinned(two: Store) -> None:
    two.promote(2)
    two.promote(1)
    with two.writing() as session:
        session.get_one(ModelVersion, 2).pruned_at = now() - timedelta(days=1)
    assert two.version(2).pruned_at is not None
    for refused in (
        lambda: two.promote(2),
        lambda: two.begin_trial(2, 0.2, RULE),
        lambda: two.pin(2, True),
        lambda: two.rollback(),
    ):
        with pytest.raises(BadInput, match="Version 2's folder was deleted on"):
            refused()
    assert shares(two) == {1: 1.0}
