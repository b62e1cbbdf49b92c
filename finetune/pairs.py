"""From the record to training pairs: which replies teach, which rule rejected the others, who is held out.

Rules, in the order in which they are asked; every reply with feedback is counted under exactly one:

| rule | takes or rejects |
|---|---|
| reviewer_rejected | rejects: a reviewer said that it must not teach |
| correction | takes what the reply should have said, as if the model had said it |
| approved | takes the reply as it is: a reviewer said so, whatever the thumbs |
| thumb_up | takes the reply as it is |
| disputed | rejects: raters disagree, none outweighs the other |
| thumb_down | rejects: nobody said what would have been right |
| unfinished | rejects: the reply was interrupted, or is still being written |
| empty | rejects: nothing but white space to learn |
| template_refuses | rejects: the model's chat template does not take the messages |
| too_long | rejects: more tokens than are trained on |
| duplicate | rejects: the same prompt and completion were taken already |
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from feedback.records import Feedback
from finetune.model import ChatTemplate, TemplateRefuses

TAKES = ("correction", "approved", "thumb_up")
REJECTS = (
    "reviewer_rejected",
    "disputed",
    "thumb_down",
    "unfinished",
    "empty",
    "template_refuses",
    "too_long",
    "duplicate",
)
HELD_OUT_SHARE, HELD_OUT_MOST = 0.125, 0.15
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class TrainingPair:
    """Prompt messages and the completion to learn, with where they came from.

    `ends`: the end of turn carries loss too. `correction_id` names the wording, None for the reply's own. Not `good`:
    the completion is to become less likely, and `instead` is what was said to be right in its place, if anything was.
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


def judge(feedback: Feedback) -> str:
    """Name the rule that takes or rejects a reply, as far as the record alone can tell."""
    vote = sum(feedback.ratings.values())
    approved = feedback.verdict == "approved"
    if feedback.verdict == "rejected":
        return "reviewer_rejected"
    if feedback.correction is not None:
        return "correction" if feedback.correction.strip() else "empty"
    if vote == 0 and not approved:
        return "disputed"
    if vote < 0 and not approved:
        return "thumb_down"
    if feedback.status not in ("complete", "stopped"):
        return "unfinished"
    takes = "approved" if approved else "thumb_up"
    return takes if feedback.content.strip() else "empty"


def pair_of(feedback: Feedback, kind: str) -> TrainingPair:
    """Make the pair of a reply that `judge` takes."""
    corrected = kind == "correction"
    return TrainingPair(
        message_id=feedback.message_id,
        conversation_id=feedback.conversation_id,
        prompt=feedback.prompt,
        completion=(feedback.correction or "") if corrected else feedback.content,
        ends=corrected or feedback.finish == "end",
        kind=kind,
        correction_id=feedback.correction_id if corrected else None,
    )


def choose(
    record: Iterable[Feedback], template: ChatTemplate, max_tokens: int
) -> tuple[list[TrainingPair], dict[str, int]]:
    """Return the usable pairs of a record, and how many replies each rule took or rejected."""
    pairs: list[TrainingPair] = []
    seen: set[tuple[object, ...]] = set()
    counts = Counter(dict.fromkeys(TAKES + REJECTS, 0))
    for feedback in record:
        rule = judge(feedback)
        if rule in TAKES:
            pair = pair_of(feedback, rule)
            rule = _refused_by(pair, template, max_tokens) or rule
            if rule in TAKES and (pair.prompt, pair.completion) in seen:
                rule = "duplicate"
            if rule in TAKES:
                seen.add((pair.prompt, pair.completion))
                pairs.append(pair)
        counts[rule] += 1
    return pairs, dict(counts)


def assign(conversation_ids: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Put conversations on a side, `train` or `held_out`; who is in `known` stays there.

    New ones are held out, in the order of their hash, until an eighth of all is: never over 15 % and,
    from seven conversations on, never under 5 %, as far as the known ones allow.
    """
    everyone = sorted(set(conversation_ids), key=_hash)
    target = min(round(HELD_OUT_SHARE * len(everyone)), int(HELD_OUT_MOST * len(everyone)))
    if len(everyone) >= 7:
        target = max(target, 1)
    missing = target - sum(known.get(c) == "held_out" for c in everyone)
    sides: dict[str, str] = {}
    for conversation in everyone:
        if conversation in known:
            sides[conversation] = known[conversation]
        else:
            sides[conversation] = "held_out" if missing > 0 else "train"
            missing -= 1
    return sides


def validation_part(train_ids: Iterable[str]) -> set[str]:
    """Choose the training conversations that only steer a run (best checkpoint, early stopping)."""
    ordered = sorted(set(train_ids), key=lambda c: _hash("validation " + c))
    return set(ordered[: int(VALIDATION_SHARE * len(ordered))])


def _refused_by(pair: TrainingPair, template: ChatTemplate, max_tokens: int) -> str | None:
    try:
        length = len(template.pair(pair.prompt, pair.completion, pair.ends).ids)
    except TemplateRefuses:
        return "template_refuses"
    return "too_long" if length > min(max_tokens, template.context) else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
