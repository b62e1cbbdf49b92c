"""From the record to training pairs: which texts teach, how much, and which rule rejected the others.

A reply gives up to two texts, its correction and its own words; each is counted under exactly one rule of RULES.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from feedback.judging import BAD, GOOD, Opinion, opinions, votes
from feedback.records import Feedback
from feedback.schema import now
from finetune.alike import alike, digest, signature
from finetune.apart import apart
from finetune.asides import Asides, asides
from finetune.checks import COMPLETION, LAST, PROMPT, QUESTION, Check, Checks
from finetune.openings import Openings, Prompt, openings
from finetune.outdated import outdated
from finetune.settings import PairSettings
from finetune.signatures import Signatures
from finetune.splits import HELD_OUT_SHARE as HELD_OUT_SHARE
from finetune.splits import Question, asked_last, question
from finetune.weights import weight

if TYPE_CHECKING:
    from pandas import DataFrame

# In the order in which they are asked.
REJECTS = {
    "reviewer_rejected": "a reviewer said that it must not teach",
    "disputed": "raters disagree, and none outweighs the other",
    "corrected_but_liked": "the own words of a corrected reply that people liked all the same",
    "unfinished": "the reply was interrupted, or is still being written",
    "empty": "nothing but white space",
    "template_refuses": "the model's chat template does not take the messages",
    "too_long": "more tokens than are trained on",
    "repetition": "goes round in circles (good texts alone)",
    "language": "answers in another language than it was asked in (of good replies that no reviewer approved)",
    "contradiction": "the same words to the same prompt were called good and bad elsewhere, at least as often",
    "outdated": "a newer correction of the same prompt says otherwise",
    "duplicate": "a prompt and text nearly the same are taken already, of a stronger kind or newer",
    "rater_share": "more of one person's feedback than may count, once five have rated",
    "both_sides": "asks what is held out and, in the same or another conversation, what is trained on",
}
TAKES = {
    "correction": "what the reply should have said, as if the model had said it",
    "chosen": "was chosen over another reply to the same message",
    "approved": "a reviewer said that it may teach, whatever the thumbs",
    "thumb_up": "thumbs up outweigh",
    "kept": "nobody rated it, and the talk went on from it (only with --kept-replies)",
    "corrected": "the own words of a corrected reply, to become less likely",
    "thumb_down": "thumbs down outweigh: to become less likely",
    "discarded": "another reply was chosen over it, or both were found bad: to become less likely",
}
RULES = {**TAKES, **REJECTS}
ALIKE = 0.85  # share of words and pairs of words, of the prompt and of the text, from which on two pairs are one
RATERS = 5  # people who must have rated before a share is all that one of them gets
_BATCH = 256  # texts checked at a time


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """Prompt messages and the completion to learn, with where they came from.

    `ends`: the end of turn carries loss too. `correction_id` names the wording, None for the reply's own. Not `good`:
    the completion is to become less likely, and `instead` is what was said to be right in its place, if anything was.
    `group` names the conversations that ask nearly the same, once that is known of what is held out.
    """

    message_id: str
    conversation_id: str
    prompt: tuple[tuple[str, str], ...]
    completion: str
    ends: bool
    kind: str
    correction_id: int | None = None
    weight: float = 1.0
    good: bool = True
    instead: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Choice:
    """The usable pairs of a record, how many texts each rule took or rejected, and which reply it rejected.

    `questions` tell what the conversations of the pairs ask, for the split, and `asides` what asks nothing by itself.
    """

    pairs: list[TrainingPair]
    counts: dict[str, int]
    rejected: list[tuple[str, str]]
    questions: list[Question]
    asides: Asides


@dataclass(slots=True)
class _Taken:
    """A pair as far as it got, with what the rules that compare pairs need to know."""

    pair: TrainingPair
    asked: tuple[str, str]  # as in its Check
    changed_at: datetime  # when it was said last
    place: int  # of its signatures
    raters: tuple[str, ...]  # who vouches for it; empty for an imported one
    rule: str = field(default="")  # that rejected it


def pair_of(feedback: Feedback, opinion: Opinion, half_life_days: int, at: datetime) -> TrainingPair:
    """Make the pair of a usable opinion on a reply, weighed as of `at`."""
    corrected = opinion.rule == "correction"
    age = (at - said_at(feedback, opinion)).days
    return TrainingPair(
        message_id=feedback.message_id,
        conversation_id=feedback.conversation_id,
        prompt=feedback.prompt,
        completion=opinion.text,
        ends=corrected or feedback.finish == "end",
        kind=opinion.rule,
        correction_id=feedback.correction_id if corrected else None,
        weight=weight(opinion.rule, _reasons(feedback, opinion), votes(feedback).values(), age, half_life_days),
        good=opinion.rule in GOOD,
        instead=opinion.instead,
    )


def said_at(feedback: Feedback, opinion: Opinion) -> datetime:
    """Return when an opinion was given last: a thumb on a corrected reply says nothing new of its correction."""
    own = feedback.corrected_at if opinion.rule == "correction" else None
    return own or feedback.said_at or feedback.changed_at


def _reasons(feedback: Feedback, opinion: Opinion) -> tuple[str, ...]:
    """Return the reasons of those whose thumb says what an opinion says."""
    sign = 1 if opinion.rule in GOOD else -1
    return tuple(
        reason for rater, given in feedback.reasons.items() if feedback.ratings[rater] == sign for reason in given
    )


def choose(
    record: Iterable[Feedback],
    checks: Checks,
    settings: PairSettings,
    most_tokens: int,
    at: datetime | None = None,
) -> Choice:
    """Return what a record teaches; `most_tokens` is the model's context, `at` the instant that ages count to."""
    at = at or now()
    taken: list[_Taken] = []
    signatures = Signatures()
    counts = Counter(dict.fromkeys(RULES, 0))
    rejected: list[tuple[str, str]] = []
    people: set[str] = set()
    for feedback, opinion, check in _checked(_counting(record, people), checks, rejected):
        rule = _refused_by(opinion.rule, check, min(settings.max_tokens, most_tokens))
        if rule:
            rejected.append((feedback.message_id, rule))
        else:
            pair = pair_of(feedback, opinion, settings.half_life_days, at)
            place = signatures.put(check.signatures)
            taken.append(_Taken(pair, check.asked, said_at(feedback, opinion), place, _raters(feedback, opinion)))
    fixed = openings([one.pair.prompt for one in taken])
    _contradictions(taken)
    # Not every file tells when what it holds was said.
    _outdated([one for one in taken if not one.rule and one.pair.kind == "correction" and one.raters])
    _duplicates([one for one in taken if not one.rule and one.pair.good], signatures, fixed)
    _duplicates([one for one in taken if not one.rule and not one.pair.good], signatures, fixed)
    if len(people) >= RATERS:
        _rater_shares([one for one in taken if not one.rule], settings.max_rater_share)
    rejected += [(one.pair.message_id, one.rule) for one in taken if one.rule]
    left = [one for one in taken if not one.rule]
    counts.update(rule for _, rule in rejected)
    counts.update(one.pair.kind for one in left)
    asked = [fixed.left_out_of(one.pair.prompt) for one in taken]
    nothing = asides(asked)
    return Choice(
        pairs=[one.pair for one in left],
        counts=dict(counts),
        rejected=rejected,
        questions=_questions(left, signatures, asked, nothing),
        asides=nothing,
    )


def frame(pairs: Sequence[TrainingPair]) -> "DataFrame":
    """Return the pairs as a pandas frame, one row each; `prompt` is a list of role and content."""
    import pandas

    columns = list(TrainingPair.__dataclass_fields__)
    table = pandas.DataFrame([[getattr(pair, name) for name in columns] for pair in pairs], columns=columns)
    table["prompt"] = [[{"role": role, "content": text} for role, text in prompt] for prompt in table["prompt"]]
    return table.astype({"correction_id": "Int64"})


def _counting(record: Iterable[Feedback], people: set[str]) -> Iterator[Feedback]:
    """Yield a record; meanwhile those who rated, chose or corrected anything here come to be in `people`."""
    for feedback in record:
        people.update(votes(feedback).keys() - feedback.imported)
        people.update([feedback.corrected_by] if feedback.corrected_by else [])
        yield feedback


def _checked(
    record: Iterable[Feedback], checks: Checks, rejected: list[tuple[str, str]]
) -> Iterator[tuple[Feedback, Opinion, Check]]:
    """Yield the usable opinions of a record with their checks; the others go to `rejected`."""
    texts = ((feedback, opinion) for feedback in record for opinion in opinions(feedback))
    while batch := list(islice(texts, _BATCH)):
        usable = [(feedback, opinion) for feedback, opinion in batch if opinion.usable]
        rejected += [(feedback.message_id, opinion.rule) for feedback, opinion in batch if not opinion.usable]
        known = checks.of([(f.prompt, o.text, o.rule == "correction" or f.finish == "end") for f, o in usable])
        yield from ((*one, check) for one, check in zip(usable, known, strict=True))


def _refused_by(kind: str, check: Check, most_tokens: int) -> str | None:
    if check.tokens is None:
        return "template_refuses"
    if check.tokens > most_tokens:
        return "too_long"
    if kind in BAD or kind == "approved":
        return None
    if check.repeats:
        return "repetition"
    # The language of a correction is its writer's wish.
    return "language" if check.foreign and kind != "correction" else None


def _raters(feedback: Feedback, opinion: Opinion) -> tuple[str, ...]:
    """Name those who say what an opinion says; nobody in particular for what a file tells, or was approved."""
    if opinion.rule == "approved":
        return ()
    if opinion.rule in ("correction", "corrected"):
        return (feedback.corrected_by,) if feedback.corrected_by else ()
    sign = 1 if opinion.rule in GOOD else -1
    agree = tuple(rater for rater, vote in votes(feedback).items() if vote == sign)
    return () if set(agree).intersection(feedback.imported) else agree


def _contradictions(taken: Sequence[_Taken]) -> None:
    for one, wrong in zip(taken, contradicted([one.pair for one in taken]), strict=True):
        if wrong:
            one.rule = "contradiction"


def _outdated(taken: Sequence[_Taken]) -> None:
    said = [(one.pair.prompt, one.pair.completion, one.changed_at) for one in taken]
    for one, replaced in zip(taken, outdated(said), strict=True):
        if replaced:
            one.rule = "outdated"


def contradicted(pairs: Sequence[TrainingPair]) -> list[bool]:
    """Tell which were called good and bad in the same words, unless most called them what the pair says."""
    words = [same_words(pair) for pair in pairs]
    tally: Counter[str] = Counter()
    for same, pair in zip(words, pairs, strict=True):
        tally[same] += 1 if pair.good else -1
    sides = [{same for same, pair in zip(words, pairs, strict=True) if pair.good == good} for good in (True, False)]
    both = sides[0] & sides[1]
    return [
        same in both and not (tally[same] > 0 if pair.good else tally[same] < 0)
        for same, pair in zip(words, pairs, strict=True)
    ]


def same_words(pair: TrainingPair) -> str:
    """Return a digest that pairs with the same prompt and completion share."""
    return digest([*(part for message in pair.prompt for part in message), pair.completion.strip()])


def _duplicates(taken: Sequence[_Taken], signatures: Signatures, fixed: Openings) -> None:
    """Reject pairs that nearly repeat another one's prompt and text: the strongest kind stays, of equals the newest.

    What was said last is what holds now: "open until 18" corrects "open until 17", of which it differs in one word.
    """
    strength = {kind: place for place, kind in enumerate((*GOOD, *BAD))}
    ordered = sorted(
        _without_repeats(sorted(taken, key=lambda one: strength[one.pair.kind])),
        key=lambda one: (strength[one.pair.kind], -one.changed_at.timestamp()),
    )
    if len(ordered) < 2:
        return
    places = [one.place for one in ordered]
    others = apart([one.pair.prompt for one in ordered], fixed)
    links = alike([*(signatures.of(places, part) for part in (PROMPT, COMPLETION)), *others], ALIKE)
    for first, second in sorted(links.tolist(), key=lambda link: (link[1], link[0])):
        kept, other = ordered[first], ordered[second]
        if not kept.rule:
            other.rule = "duplicate"


def _without_repeats(ordered: Sequence[_Taken]) -> list[_Taken]:
    """Reject all but the first of pairs with the same words; it is as new as the newest of its kind."""
    firsts: dict[str, _Taken] = {}
    for one in ordered:
        first = firsts.setdefault(same_words(one.pair), one)
        if first is not one:
            one.rule = "duplicate"
            if one.pair.kind == first.pair.kind:
                first.changed_at = max(first.changed_at, one.changed_at)
    return list(firsts.values())


def _rater_shares(taken: Sequence[_Taken], share: float) -> None:
    """Reject the weakest pairs of whoever gave more than a share of all.

    A pair that several people vouch for counts for none of them. The share is of what is left afterwards.
    """
    by: dict[str, list[_Taken]] = {}
    for one in taken:
        if len(one.raters) == 1:
            by.setdefault(one.raters[0], []).append(one)
    others = len(taken) - sum(map(len, by.values()))
    most = _most_each([len(own) for own in by.values()], others, share)
    for own in by.values():
        own.sort(key=lambda one: (-one.pair.weight, digest([one.pair.message_id])))
        for one in own[most:]:
            one.rule = "rater_share"


def _most_each(sizes: Sequence[int], others: int, share: float) -> int:
    """Return how many pairs each may keep so that nobody keeps more than `share` of all that are kept; at least 1."""
    most = max(sizes, default=1)
    while most > 1 and most > share * (others + sum(min(size, most) for size in sizes)):
        most = max(1, min(most - 1, int(share * (others + sum(min(size, most) for size in sizes)))))
    return most


def _questions(
    taken: Sequence[_Taken], signatures: Signatures, prompts: Sequence[Prompt], nothing: Asides
) -> list[Question]:
    """Tell what conversations ask, in all and last; `prompts` are without fixed openings."""
    plain = [one for one in taken if prompts[one.place] is one.pair.prompt and one.place not in nothing.prompts]
    found: list[Question] = []
    for nth, part in enumerate((QUESTION, LAST)):
        asked = {(one.pair.conversation_id, one.asked[nth]): one.place for one in plain if one.asked[nth]}
        places = list(asked.values())
        found += [Question(*key, minima) for key, minima in zip(asked, signatures.of(places, part), strict=True)]
    seen = {one.place for one in plain}
    for one in (one for one in taken if one.place not in seen):
        prompt = nothing.left_out_of(prompts[one.place])
        found += [
            Question(one.pair.conversation_id, digest(said), signature(said))
            for said in (question(prompt), asked_last(prompt))
            if said
        ]
    return found
