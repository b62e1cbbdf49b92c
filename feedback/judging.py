"""What people's feedback makes of a reply: which texts it says are good or bad, and by which rule. Pure.

The strongest signal gives a reply its kind: a correction, then being chosen over a sibling, a reviewer's approval, a
thumb. Nobody counts twice: who thumbed a reply is not asked again what they chose.
"""

from dataclasses import dataclass

from feedback.records import Feedback

GOOD = ("correction", "chosen", "approved", "thumb_up", "kept")
BAD = ("thumb_down", "corrected", "discarded")
NO_SIGNAL = ("reviewer_rejected", "disputed", "corrected_but_liked", "unfinished", "empty")
_ENDED = ("complete", "stopped")


@dataclass(frozen=True)
class Opinion:
    """One text that is good or bad as far as the record tells; `rule` is a kind of GOOD or BAD, or why it is neither.

    `instead` is what was said to be right in the place of a corrected reply's own words.
    """

    rule: str
    text: str
    instead: str | None = None

    @property
    def usable(self) -> bool:
        """Tell whether the rule takes it."""
        return self.rule in GOOD or self.rule in BAD


def votes(feedback: Feedback) -> dict[str, int]:
    """Map raters to what they think of the reply itself: their thumb, else whether they chose it (1) or not (-1).

    0: they chose it over one sibling, and another over it.
    """
    chose = dict.fromkeys(feedback.chosen_by, 1)
    for rater in feedback.discarded_by:
        chose[rater] = chose.get(rater, 0) - 1
    return chose | feedback.ratings


def judge(feedback: Feedback) -> str:
    """Name the rule that takes or rejects a reply, or its correction where it has one."""
    if feedback.verdict == "rejected":
        return "reviewer_rejected"
    if feedback.correction is not None:
        return "correction" if feedback.correction.strip() else "empty"
    rule = _kind(feedback)
    if rule in GOOD or rule in BAD:
        if feedback.status not in _ENDED:
            return "unfinished"
        if not feedback.content.strip():
            return "empty"
    return rule


def opinions(feedback: Feedback) -> list[Opinion]:
    """Tell what there is to learn from a reply: its correction and its own words, or its own words alone."""
    rule = judge(feedback)
    if feedback.correction is None or rule == "reviewer_rejected":
        return [Opinion(rule, feedback.content)]
    found = [Opinion(rule, feedback.correction)]
    if rule == "correction" and feedback.correction.split() != feedback.content.split():
        found.append(Opinion(_original(feedback), feedback.content, feedback.correction))
    return found


def _kind(feedback: Feedback) -> str:
    said = votes(feedback)
    total = sum(said.values())
    if total > 0 and feedback.chosen_by:
        return "chosen"
    if feedback.verdict == "approved":
        return "approved"
    if not said:
        return "kept"
    if total == 0:
        return "disputed"
    if total > 0:
        return "thumb_up"
    return "thumb_down" if -1 in feedback.ratings.values() else "discarded"


def _original(feedback: Feedback) -> str:
    """Name the rule for the own words of a reply that was corrected."""
    if sum(votes(feedback).values()) > 0:
        return "corrected_but_liked"
    if feedback.status not in _ENDED:
        return "unfinished"
    return "corrected" if feedback.content.strip() else "empty"
