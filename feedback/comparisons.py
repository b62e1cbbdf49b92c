"""Verbs on comparisons: two replies to one message, written side by side, and which of them is better."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from feedback.errors import BadInput
from feedback.messages import check_text, find, newest_leaf
from feedback.records import Compared
from feedback.schema import LOCAL, Comparison, Conversation, Message, Preference, Reply, now
from feedback.sessions import Sessions
from feedback.turns import open_reply, say

OUTCOMES = ("left", "right", "tie", "both_bad")
Begun = tuple[int, dict[str, Any], Sequence[dict[str, Any]]]  # version, sampling settings, prompt


class Comparisons(Sessions):
    """Comparisons of two replies."""

    def begin_comparison(
        self, conversation_id: str, parent_id: str | None, text: str, left: Begun, right: Begun, person: str = LOCAL
    ) -> tuple[int, str, str, str]:
        """Commit what the person said at the end of a conversation, and open two replies to it; all or nothing.

        Returns the ids of comparison, message, left and right reply. Raises as `begin_turn`.
        """
        check_text(text, "message")
        with self.writing() as session:
            conversation, said, lead = say(session, conversation_id, parent_id, text, at_head=True)
            ids = []
            for version, sampling, prompt in (left, right):
                given = [*lead, *prompt, {"message": said.id}]
                ids.append(open_reply(session, conversation, said.id, version, sampling, given))
            row = Comparison(left_id=ids[0], right_id=ids[1], person_id=person)
            session.add(row)
            session.flush()
            return row.id, said.id, ids[0], ids[1]

    def judge_comparison(self, comparison_id: int, outcome: str, rater: str = LOCAL) -> Compared:
        """Keep which reply was better: left, right, tie or both_bad. A pick is a preference too, and goes on.

        Judging is done once. Raises NotFound, and BadInput for an outcome that is not known, a reply that is still
        being written, or a second judgement.
        """
        if outcome not in OUTCOMES:
            raise BadInput(f"The outcome {outcome!r} is not known; give one of {', '.join(OUTCOMES)}.")
        with self.writing() as session:
            row = find(session, Comparison, comparison_id, alone=True)
            left, right = find(session, Message, row.left_id), find(session, Message, row.right_id)
            conversation = find(session, Conversation, left.conversation_id, alone=True)
            if "running" in (left.status, right.status):
                raise BadInput("The replies are still being written; stop them or wait for their end, then choose.")
            if row.outcome is not None:
                raise BadInput(f"Comparison {comparison_id} was judged already: {row.outcome}.")
            row.outcome, row.judged_at = outcome, now()
            if outcome in ("left", "right"):
                chosen, rejected = (left, right) if outcome == "left" else (right, left)
                session.add(Preference(chosen_id=chosen.id, rejected_id=rejected.id, rater_id=rater))
                if conversation.head_id in (left.id, right.id):
                    conversation.head_id = newest_leaf(session, chosen).id
        return self.comparisons_of([left.id])[left.id]

    def comparisons_of(self, message_ids: Sequence[str]) -> dict[str, Compared]:
        """Map replies to the comparison that they were written for; others are left out."""
        found: dict[str, Compared] = {}
        with self.reading() as session:
            for start in range(0, len(message_ids), 400):
                part = list(message_ids[start : start + 400])
                query = select(Comparison).where(or_(Comparison.left_id.in_(part), Comparison.right_id.in_(part)))
                for row in session.scalars(query):
                    replies = session.get(Reply, row.left_id), session.get(Reply, row.right_id)
                    versions = (reply.version if reply else None for reply in replies)  # an imported one has none
                    one = Compared(row.id, row.left_id, row.right_id, row.outcome, *versions)
                    found |= {row.left_id: one, row.right_id: one}
        return found


def take_preference(session: Session, chosen: Message, rejected: Message, rater: str, at: datetime) -> None:
    """Add a preference that a file tells, said `at`, unless it was told before: a newer one may turn it round."""
    same = select(Preference.id).where(Preference.chosen_id == chosen.id, Preference.rejected_id == rejected.id)
    if session.scalar(same.where(Preference.rater_id == rater).limit(1)) is None:
        session.add(Preference(chosen_id=chosen.id, rejected_id=rejected.id, rater_id=rater, said_at=at))


def take_comparison(session: Session, left: Message, right: Message, outcome: str, rater: str, at: datetime) -> None:
    """Add a comparison that a file tells with its outcome; one that was judged here stays as it is. Raises BadInput."""
    if outcome not in OUTCOMES:
        raise BadInput(f"has the outcome {outcome!r} of a comparison; {', '.join(OUTCOMES)} are known")
    row = session.scalar(select(Comparison).where(Comparison.left_id == left.id, Comparison.right_id == right.id))
    if row is None:
        row = Comparison(left_id=left.id, right_id=right.id, person_id=rater)
        session.add(row)
    if row.outcome is None:
        row.outcome, row.judged_at, row.said_at = outcome, now(), at
