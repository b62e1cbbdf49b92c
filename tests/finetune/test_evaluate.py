"""The gate, on made-up figures: what is promoted, what refused, and what it says."""

import json
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from feedback.statistics import observations_needed
from finetune.chart import draw
from finetune.evaluate import DIVERGED, Compared, Verdict, gate
from finetune.measures import ReplyFigures
from finetune.pairs import TrainingPair
from finetune.settings import GateSettings
from tests.finetune.measured import general, pairs, version

BETTER = [2.5, 3.0, 2.0, 2.8, 2.2, 2.6], [1.0, 1.5, 0.9, 1.1, 1.3, 0.8]


def decide(
    before: list[float], after: list[float], conversations: int | None = None, usable: int = 48, **changed: object
) -> Verdict:
    serving = version(before)
    candidate = version(after, general=general(**changed))
    compared = Compared(pairs(len(before), conversations), serving, serving, candidate)
    return gate(compared, GateSettings(), usable)


def thumbs(good_gain: float, bad_gain: float, n: int = 8, noise: float = 0.02) -> Verdict:
    """Let the gate decide on liked and disliked replies, whose likelihood grew by so much, give or take the noise."""
    liked, disliked = pairs(n, kind="thumb_up"), pairs(n, kind="thumb_down", good=False)
    rated = [*liked, *disliked]
    moved = [gain + (noise if i % 2 else -noise) for gain in (good_gain, bad_gain) for i in range(n)]
    before = version([1.5] * 2 * n, good=n)
    after = version([1.5 - gain for gain in moved], good=n)
    return gate(Compared(rated, before, before, after), GateSettings(), 4 * n)


def test_clearly_better_is_promoted_with_its_figures() -> None:
    verdict = decide(*BETTER)
    assert verdict.verdict == "promoted"
    assert verdict.figures["held_out"] == {"pairs": 6, "conversations": 6, "kinds": {"correction": 6}}
    assert verdict.figures["decided_by"] == "correction_likelihood"
    gains = [math.exp(-after) - math.exp(-before) for before, after in zip(*BETTER, strict=True)]
    assert verdict.figures["improvement"]["mean"] == pytest.approx(sum(gains) / 6)
    assert verdict.figures["measures"]["correction_loss"]["serving"]["mean"] == pytest.approx(2.5167, abs=1e-3)
    assert "+0.26 in the likelihood of a token" in verdict.reason and "+1.42 nats a token" in verdict.reason
    assert not any(bound["broken"] for bound in verdict.figures["bounds"])


@pytest.mark.parametrize(("mixed_up", "verdict"), [(1, "promoted"), (2, "refused"), (6, "refused")])
def test_likelier_answers_to_other_questions_are_no_gain(mixed_up: int, verdict: str) -> None:
    before = version(BETTER[0], elsewhere=[loss + 0.5 for loss in BETTER[0]])
    fits = [0.0] * mixed_up + [2.0] * (6 - mixed_up)  # how much likelier than after other questions
    after = version(BETTER[1], elsewhere=[loss + fit for loss, fit in zip(BETTER[1], fits, strict=True)])
    judged = gate(Compared(pairs(6), before, before, after), GateSettings(), 48)
    assert judged.verdict == verdict
    assert ("It mixes up what it was taught" in judged.reason) == (verdict == "refused")


@pytest.mark.parametrize(("n", "mixed_up", "verdict"), [(3, 1, "promoted"), (2, 1, None), (3, 2, "refused")])
def test_one_correction_that_fits_other_questions_may_be_chance(n: int, mixed_up: int, verdict: str | None) -> None:
    """Of three corrections one is a larger share than is allowed already."""
    losses = [1.0 + 0.1 * i for i in range(n)]
    before = version([loss + 2 for loss in losses], elsewhere=[loss + 2.5 for loss in losses])
    after = version(losses, elsewhere=[loss + (0.0 if i < mixed_up else 2.0) for i, loss in enumerate(losses)])
    judged = gate(Compared(pairs(n), before, before, after), GateSettings(), 48)
    assert ("It mixes up what it was taught" in judged.reason) == (verdict == "refused")
    assert verdict is None or judged.verdict == verdict


def asking(questions: list[str], kind: str = "correction", good: bool = True) -> list[TrainingPair]:
    """Return one reply to each question, every one in a conversation of its own."""
    made = zip(pairs(len(questions), kind=kind, good=good), questions, strict=True)
    return [replace(pair, prompt=(("user", text),)) for pair, text in made]


@pytest.mark.parametrize("kind", ["correction", "thumbs"])
def test_conversations_that_ask_the_same_are_one_witness(kind: str) -> None:
    same = ["Who founded Quillworth?", "who founded quillworth", "Who founded Quillworth ?"]
    more = ["Where do herons nest in winter?", "Which colour has the Bramley tower?"]

    def judge(questions: list[str]) -> Verdict:
        n = len(questions)
        rated, before, after = asking(questions), [3.0] * n, [1.0 + 0.1 * i for i in range(n)]
        if kind == "thumbs":
            rated = [*asking(questions, "thumb_up"), *asking(questions, "thumb_down", good=False)]
            before, after = before * 2, after + [3.5] * n
        serving, candidate = version(before, good=n), version(after, good=n)
        return gate(Compared(rated, serving, serving, candidate), GateSettings(), 48)

    alike, apart = judge(same), judge([*same, *more])
    assert (alike.verdict, apart.verdict) == ("refused", "promoted")
    assert "Not enough evidence" in alike.reason and "of 3 conversations" in apart.reason
    assert all("ask nearly the same count as one" in one.reason for one in (alike, apart))
    assert alike.figures["held_out"]["conversations"] == 3
    assert "count as one" not in judge([same[0], *more]).reason


def test_a_wrong_answer_that_grew_surer_outweighs_no_other_conversation() -> None:
    """Two of six are about what nothing taught: neither version says it, one is only surer of something else."""
    before = [3.0, 3.2, 2.8, 3.1, 2.9, 3.0]
    verdict = decide(before, [0.5, 0.6, 0.4, 0.7, 5.4, 5.0])
    assert verdict.figures["changes"]["correction_loss"]["low"] < 0, "by the loss it would be uncertain"
    assert verdict.verdict == "promoted"


def test_what_was_known_and_is_forgotten_weighs_in_full() -> None:
    verdict = decide([3.0, 3.2, 2.8, 3.1, 0.4, 0.3], [0.5, 0.6, 0.4, 0.7, 2.9, 3.0])
    assert verdict.verdict == "refused"


def test_worse_is_refused() -> None:
    verdict = decide([1.0, 1.1, 0.9, 1.0], [1.4, 1.3, 1.5, 1.2])
    assert (verdict.verdict, verdict.reason[:10]) == ("refused", "Not better")


def test_equal_is_refused() -> None:
    assert decide([1.0] * 6, [1.0] * 6).verdict == "refused"


def test_better_but_uncertain_is_refused_and_says_how_many_more_it_takes() -> None:
    verdict = decide([1.0, 1.0, 1.0, 1.0], [0.2, 1.5, 0.1, 1.4])
    assert verdict.verdict == "refused"
    assert "Not enough evidence" in verdict.reason
    assert "more conversations with a correction" in verdict.reason


def test_a_change_too_small_to_ever_tell_asks_for_no_impossible_number() -> None:
    verdict = decide([1.0] * 6, [0.2, 9.0, 9.0, 0.3, 3.0, 0.35])
    assert verdict.verdict == "refused"
    assert "over 20 times as many conversations with a correction" in verdict.reason
    assert " more conversations" not in verdict.reason


def elsewhere(n: int) -> list[TrainingPair]:
    """Return disliked replies of so many conversations in which nothing was corrected."""
    return [replace(pair, conversation_id=f"other {n}") for n, pair in enumerate(pairs(n, None, "thumb_down", False))]


@pytest.mark.parametrize(("others", "fit"), [(0, 1000), (8, 333), (113, 34)])
def test_how_many_more_it_takes_is_told_of_conversations_of_the_kind_asked_for(others: int, fit: int) -> None:
    """Of the usable conversations about as large a share holds a correction as of those that are held out."""
    before, after = [1.0] * 4, [0.2, 1.5, 0.1, 1.4]
    serving, candidate = (version([*losses, *[1.5] * others], good=4) for losses in (before, after))
    verdict = gate(Compared([*pairs(4), *elsewhere(others)], serving, serving, candidate), GateSettings(), 1000)
    found = verdict.figures["improvement"]
    needed = observations_needed(found["mean"], found["deviation"])
    told = re.search(r"about ([\d,]+) more conversations with a correction are needed", verdict.reason)
    assert told and int(told[1].replace(",", "")) == pytest.approx(fit * (needed / 4 - 1), abs=1)


def test_what_is_out_of_reach_is_told_of_conversations_of_the_kind_asked_for() -> None:
    before, after = [1.0] * 6, [0.2, 9.0, 9.0, 0.3, 3.0, 0.35]
    serving, candidate = (version([*losses, *[1.5] * 42], good=6) for losses in (before, after))
    verdict = gate(Compared([*pairs(6), *elsewhere(42)], serving, serving, candidate), GateSettings(), 48)
    assert "over 20 times as many conversations with a correction" in verdict.reason


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_to_tell_is_refused_however_good_it_looks(n: int) -> None:
    verdict = decide([3.0] * n, [0.1] * n, usable=8)
    assert verdict.verdict == "refused"
    assert "about 16 more" in verdict.reason


def test_many_pairs_of_one_conversation_are_one_witness() -> None:
    verdict = decide([3.0] * 20, [0.1] * 20, conversations=1)
    assert verdict.verdict == "refused"
    assert verdict.figures["held_out"]["conversations"] == 1


@pytest.mark.parametrize(
    ("changed", "bound", "says"),
    [
        ({"loss": [2.9, 3.4, 2.4, 3.1]}, "general loss", "forgets"),
        ({"kept": [0.8, 1.0]}, "general loss", "forgets"),
        ({"divergence": [0.9] * 6}, "divergence", "moved 0.90"),
        ({"written": [ReplyFigures(48, True, 0.4)] * 2}, "repetition", "repeats itself"),
        ({"written": [ReplyFigures(2, True, 0.0)] * 2}, "length", "factor of 17.00"),
        ({"distinct_2": 0.3}, "variety", "alike"),
        ({"refused": [False] * 4}, "refusals", "declines fell by 0.50"),
        ({"bias": [0.4, 0.5]}, "bias", "one group and for another"),
    ],
)
def test_what_is_worse_elsewhere_is_refused_however_much_it_learned(
    changed: dict[str, object], bound: str, says: str
) -> None:
    verdict = decide(*BETTER, **changed)
    assert verdict.verdict == "refused"
    assert says in verdict.reason
    assert [b["name"] for b in verdict.figures["bounds"] if b["broken"]] == [bound]


ENDED = ReplyFigures(20, True, 0.1, runs_on=False)
LONGER = ReplyFigures(48, False, 0.1, runs_on=False)  # it ended, but in more than the room
ON_AND_ON = ReplyFigures(48, False, 0.1, runs_on=True)


@pytest.mark.parametrize(
    ("before", "after", "value", "verdict"),
    [
        ([ENDED] * 16, [ON_AND_ON] * 5 + [ENDED] * 11, 0.31, "refused"),
        ([ENDED] * 16, [ON_AND_ON] * 4 + [ENDED] * 12, 0.25, "promoted"),  # chance alone does that, one time in 16
        ([ENDED] * 16, [ON_AND_ON] * 3 + [ENDED] * 13, 0.19, "promoted"),
        ([ENDED] * 8 + [ON_AND_ON] * 8, [ON_AND_ON] * 7 + [ENDED] * 3 + [ON_AND_ON] * 6, 0.31, "promoted"),
        ([ENDED] * 16, [LONGER] * 16, 0.0, "promoted"),
        ([LONGER] * 16, [ON_AND_ON] * 16, 0.0, "promoted"),  # it did not end in the room before, either
    ],
)
def test_replies_that_used_to_end_and_run_on_are_counted_one_by_one(
    before: list[ReplyFigures], after: list[ReplyFigures], value: float, verdict: str
) -> None:
    both = zip(BETTER, (before, after), strict=True)
    serving, candidate = (version(losses, general=general(written=written)) for losses, written in both)
    judged = gate(Compared(pairs(6), serving, serving, candidate), GateSettings(), 48)
    found = [bound["value"] for bound in judged.figures["bounds"] if bound["name"] == "replies that end"]
    assert found == [pytest.approx(value, abs=0.01)]
    assert judged.verdict == verdict
    assert ("in twice the room too, fell by 0.31" in judged.reason) == (verdict == "refused")


@pytest.mark.parametrize(
    ("foreign", "verdict"),
    [
        ([True] * 6, "refused"),
        ([True] * 2 + [False] * 4, "refused"),
        ([True] * 1 + [False] * 3 + [None] * 2, "promoted"),  # one reply may be chance
        ([None] * 6, "promoted"),
    ],
)
def test_replies_in_another_language_than_people_wanted_are_refused(foreign: list[bool | None], verdict: str) -> None:
    before, after = version(BETTER[0], foreign=[False] * 6), version(BETTER[1], foreign=foreign)
    judged = gate(Compared(pairs(6), before, before, after), GateSettings(), 48)
    assert judged.verdict == verdict
    assert ("another language than people wanted" in judged.reason) == (verdict == "refused")


def test_a_serving_version_in_the_wrong_language_is_no_bar_to_one_in_the_right_one() -> None:
    before, after = version(BETTER[0], foreign=[True] * 6), version(BETTER[1], foreign=[False] * 6)
    assert gate(Compared(pairs(6), before, before, after), GateSettings(), 48).verdict == "promoted"


def judged_by_own(before: list[ReplyFigures], after: list[ReplyFigures]) -> Verdict:
    """Let the gate decide on a candidate that is clearly better, by the two versions' own replies."""
    n = len(before)
    serving, candidate = version([3.0] * n, own=before), version([1.0 + 0.1 * i for i in range(n)], own=after)
    return gate(Compared(pairs(n), serving, serving, candidate), GateSettings(), 48)


ENDS, RUNS_ON = ReplyFigures(12, True, 0.0, 0.5, False), ReplyFigures(64, False, 0.0, 0.5, False)
FOREIGN, REPEATS = replace(ENDS, foreign=True), replace(ENDS, repeated=0.5)


@pytest.mark.parametrize("worse", [RUNS_ON, REPEATS, FOREIGN])
def test_one_own_reply_of_a_few_that_is_worse_may_be_chance(worse: ReplyFigures) -> None:
    for n in (3, 4):
        assert judged_by_own([ENDS] * n, [worse] + [ENDS] * (n - 1)).verdict == "promoted"
    assert judged_by_own([worse] + [ENDS] * 3, [worse] * 2 + [ENDS] * 2).verdict == "promoted"
    judged = judged_by_own([worse] + [ENDS] * 4, [worse] * 4 + [ENDS])
    assert (judged.verdict, "held-out prompts" in judged.reason) == ("refused", True)


@pytest.mark.parametrize(("foreign", "verdict"), [((6,), "promoted"), ((6, 7), "refused")])
def test_replies_in_another_language_are_counted_however_their_conversations_weigh(
    foreign: tuple[int, ...], verdict: str
) -> None:
    """A conversation with one reply weighs as much as one with six: a third of three for a single reply."""
    held = [replace(pair, conversation_id=f"c{max(0, n - 5)}") for n, pair in enumerate(pairs(8))]
    own = [FOREIGN if n in foreign else ENDS for n in range(8)]
    before, after = version([3.0] * 8, own=[ENDS] * 8), version([1.0 + 0.1 * n for n in range(8)], own=own)
    judged = gate(Compared(held, before, before, after), GateSettings(), 48)
    (bound,) = [bound for bound in judged.figures["bounds"] if bound["name"] == "own language"]
    assert (judged.verdict, bound["value"]) == (verdict, pytest.approx(len(foreign) / 3))


@pytest.mark.parametrize(("worse", "name"), [(RUNS_ON, "own replies that end"), (REPEATS, "own repetition")])
def test_of_two_own_replies_no_bound_is_sure(worse: ReplyFigures, name: str) -> None:
    for n, sure in ((2, False), (3, True)):
        bounds = judged_by_own([ENDS] * n, [worse] * n).figures["bounds"]
        assert [bound["sure"] for bound in bounds if bound["name"] == name] == [sure]


def test_every_bound_that_is_broken_is_named() -> None:
    verdict = decide(*BETTER, distinct_2=0.1, bias=[0.9, 0.9])
    assert "alike" in verdict.reason and "one group" in verdict.reason


def test_a_wider_bound_lets_it_pass() -> None:
    serving, candidate = version(BETTER[0]), version(BETTER[1], general=general(kept=[0.8, 1.0]))
    compared = Compared(pairs(6), serving, serving, candidate)
    assert gate(compared, GateSettings(), 48).verdict == "refused"
    assert gate(compared, GateSettings(max_general_rise=0.5), 48).verdict == "promoted"


def test_forgetting_is_measured_from_the_base_however_much_the_serving_version_forgot() -> None:
    drifted = general(kept=[0.68, 0.88])
    serving = version(BETTER[0], general=drifted)
    candidate = version(BETTER[1], general=general(kept=[0.75, 0.95]))
    verdict = gate(Compared(pairs(6), version(BETTER[0]), serving, candidate), GateSettings(), 48)
    assert "rose by 0.25" in verdict.reason


def test_replies_that_no_longer_end_are_refused() -> None:
    before = version(BETTER[0], end=0.7)
    for after in (version(BETTER[1], end=3.0), version(BETTER[1], end=0.7, ended=False)):
        verdict = gate(Compared(pairs(6), before, before, after), GateSettings(), 48)
        assert (verdict.verdict, "end" in verdict.reason) == ("refused", True)


def test_thumbs_alone_promote_by_the_margin_between_liked_and_disliked() -> None:
    verdict = thumbs(good_gain=0.3, bad_gain=-0.1)
    assert (verdict.verdict, verdict.figures["decided_by"]) == ("promoted", "margin")
    assert verdict.figures["improvement"]["mean"] == pytest.approx(0.4)
    assert verdict.figures["measures"]["accuracy"]["candidate"]["mean"] == 1.0
    assert verdict.figures["measures"]["accuracy"]["base"]["mean"] == 0.5


def test_a_verdict_by_thumbs_counts_replies_and_conversations() -> None:
    rated = [*pairs(6, 3, kind="thumb_up"), *pairs(6, 3, kind="thumb_down", good=False)]
    moved = [0.3 + 0.01 * i for i in range(6)] + [-0.1] * 6
    before, after = version([1.5] * 12, good=6), version([1.5 - gain for gain in moved], good=6)
    verdict = gate(Compared(rated, before, before, after), GateSettings(), 24)
    assert "12 rated of 3 conversations" in verdict.reason


def test_kept_replies_are_no_evidence_beside_disliked_ones() -> None:
    """Nobody liked any of them, so that nothing tells liked replies from disliked ones."""
    rated = [*pairs(8, kind="kept"), *pairs(8, kind="thumb_down", good=False)]
    before = version([1.5] * 16, good=8)
    after = version([1.2 + 0.01 * i for i in range(8)] + [1.6] * 8, good=8)
    verdict = gate(Compared(rated, before, before, after), GateSettings(), 64)
    assert (verdict.verdict, verdict.figures["decided_by"]) == ("refused", "correction_likelihood")
    assert "thumbs both up and down" in verdict.reason
    assert {"margin", "accuracy", "preferred"}.isdisjoint(verdict.figures["measures"])


def test_kept_replies_leave_margin_and_accuracy_of_thumbs_as_they_are() -> None:
    rated = [*pairs(4, kind="thumb_up"), *pairs(4, kind="thumb_down", good=False), *pairs(8, kind="kept")]
    before = version([1.5] * 16, good=12)
    after = version([1.2] * 4 + [1.6] * 4 + [2.9] * 8, good=12)
    verdict = gate(Compared(rated, before, before, after), GateSettings(), 64)
    assert verdict.figures["measures"]["accuracy"]["candidate"]["mean"] == 1.0
    assert verdict.figures["changes"]["margin"]["mean"] == pytest.approx(0.4)
    assert "liked or went on from" in verdict.reason, "their loss may not rise all the same"


def test_growing_surer_of_everything_is_no_gain() -> None:
    verdict = thumbs(good_gain=0.5, bad_gain=0.5)
    assert verdict.verdict == "refused"
    assert verdict.figures["changes"]["liked_loss"]["low"] > 0.4  # likelier they are, and surely so


def test_liked_replies_alone_are_no_evidence() -> None:
    before, after = version([1.5] * 8), version([1.0] * 8)
    verdict = gate(Compared(pairs(8, kind="thumb_up"), before, before, after), GateSettings(), 64)
    assert verdict.verdict == "refused"
    assert "thumbs both up and down" in verdict.reason and "about 24 more" in verdict.reason


def test_corrections_decide_where_there_are_any_and_thumbs_may_not_get_worse() -> None:
    rated = [*pairs(6), *pairs(8, kind="thumb_up"), *pairs(8, kind="thumb_down", good=False)]
    before = version([*BETTER[0], *[1.5] * 16], good=14)
    for fall, expected in ((0.0, "promoted"), (0.25, "refused")):
        noise = [0.01 * (i % 3) for i in range(8)]
        after = version([*BETTER[1], *[1.5 + n for n in noise], *[1.5 - fall + n for n in noise]], good=14)
        verdict = gate(Compared(rated, before, before, after), GateSettings(), 100)
        assert (verdict.verdict, verdict.figures["decided_by"]) == (expected, "correction_likelihood")
    assert "margin of liked over disliked replies fell by 0.25" in verdict.reason


@pytest.mark.parametrize(("rise", "verdict"), [(0.2, "promoted"), (2.0, "refused")])
def test_chosen_replies_may_not_become_unlikely_even_where_discarded_ones_do_too(rise: float, verdict: str) -> None:
    rated = [*pairs(6), *pairs(8, kind="chosen"), *pairs(8, kind="discarded", good=False)]
    noise = [0.01 * (i % 3) for i in range(8)]
    before = version([*BETTER[0], *[1.5] * 16], good=14)
    after = version([*BETTER[1], *[1.5 + rise + n for n in noise] * 2], good=14)
    judged = gate(Compared(rated, before, before, after), GateSettings(), 100)
    assert (judged.verdict, judged.figures["decided_by"]) == (verdict, "correction_likelihood")
    assert ("replies people chose over others rose by 2.01" in judged.reason) == (verdict == "refused")


@pytest.mark.parametrize(
    ("kind", "liked", "disliked", "noise", "bad", "verdict"),
    [
        ("thumb_up", 0.45, 1.00, 0.01, 8, "promoted"),  # 0.55 gained over disliked ones
        ("thumb_up", 0.45, 0.80, 0.01, 8, "refused"),  # 0.35 gained, less than was lost
        ("thumb_up", 0.45, 1.00, 0.90, 8, "refused"),  # gained perhaps
        ("thumb_up", 0.45, 1.00, 0.01, 2, "refused"),  # over two disliked ones, which may be odd
        ("thumb_up", 0.70, 2.00, 0.01, 8, "refused"),  # more than twice the bound
        ("thumb_up", 0.25, 0.30, 0.01, 8, "promoted"),
        ("chosen", 0.45, 1.00, 0.01, 8, "refused"),
    ],
)
def test_liked_replies_may_lose_what_they_surely_gained_over_disliked_ones(
    kind: str, liked: float, disliked: float, noise: float, bad: int, verdict: str
) -> None:
    rated = [*pairs(6), *pairs(8, kind=kind), *pairs(bad, kind="thumb_down", good=False)]
    before = version([*BETTER[0], *[1.5] * (8 + bad)], good=14)
    sure = [1.5 + liked + 0.01 * (i % 3 - 1) for i in range(8)]
    spread = [1.5 + disliked + noise * (i % 4 - 1.5) for i in range(bad)]
    after = version([*BETTER[1], *sure, *spread], good=14)
    judged = gate(Compared(rated, before, before, after), GateSettings(), 100)
    assert judged.verdict == verdict, judged.reason
    assert ("replies people" in judged.reason) == (verdict == "refused")


def test_figures_that_are_not_finite_are_refused_and_can_be_written_as_json() -> None:
    for verdict in (decide([1.0], [0.5]), decide([1.0] * 4, [math.nan] * 4), decide(*BETTER, kept=[math.nan, 1.0])):
        assert verdict.verdict == "refused"
        assert json.loads(json.dumps(verdict.figures, allow_nan=False))
    assert "diverged" in verdict.reason


def test_a_candidate_that_says_nothing_finite_anywhere_has_diverged() -> None:
    nothing = {"loss": [math.nan] * 4, "kept": [math.nan] * 2, "divergence": [math.nan] * 6, "bias": [math.nan] * 2}
    verdict = decide(BETTER[0], [math.nan] * 6, distinct_2=math.nan, **nothing)
    assert (verdict.verdict, verdict.reason, verdict.figures["bounds"]) == ("refused", DIVERGED, [])


def test_an_equal_candidate_seldom_passes() -> None:
    dice = torch.Generator().manual_seed(0)
    noise = torch.randn(60, 6, generator=dice).tolist()
    passed = sum(decide([1.0 + d for d in row], [1.0] * 6).verdict == "promoted" for row in noise)
    assert passed <= 7  # 3 are promised, give or take chance


@pytest.mark.parametrize("verdict", [decide(*BETTER), decide([1.0], [0.5]), Verdict("refused", "a < b & c", {})])
def test_the_picture_shows_every_change_and_bound(verdict: Verdict, tmp_path) -> None:
    draw(tmp_path / "figures.svg", {"verdict": verdict.verdict, "reason": verdict.reason, **verdict.figures})
    texts = [
        text.text or "" for text in ElementTree.parse(tmp_path / "figures.svg").iter("{http://www.w3.org/2000/svg}text")
    ]
    assert verdict.verdict in texts
    assert {bound["name"] for bound in verdict.figures.get("bounds", [])} <= set(texts)
