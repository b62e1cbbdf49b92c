"""Verbs on trials: a candidate serves a share of new conversations beside what served before, until thumbs decide.

What decides stands in `finetune/trials.py`; its rule is written down here when the trial begins, and never changed.
"""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from feedback.errors import BadInput, Busy
from feedback.messages import find
from feedback.promotions import before, can_serve, one_at_a_time, put_promotion, serving, shares_of
from feedback.records import TrialLine
from feedback.schema import LOCAL, Trial, now
from feedback.sessions import Sessions

MOST_SHARE = 0.5  # what is proven serves at least half


class Trials(Sessions):
    """Trials, of which at most one goes on."""

    def begin_trial(
        self, candidate: int, share: float, rule: dict[str, Any], person: str = LOCAL, reason: str = ""
    ) -> int:
        """Let a version serve a share (above 0, below 1) of new conversations from now on; return the trial's id.

        Raises NotFound, BadInput, and Busy while another trial goes on.
        """
        with self.writing() as session:
            one_at_a_time(session)
            can_serve(session, candidate)
            if open_trial := _open(session):
                raise Busy(f"Version {open_trial.candidate} is on trial already; end that trial first.")
            return put_trial(session, candidate, share, rule, person, reason or f"Version {candidate} goes on trial.")

    def trial(self) -> TrialLine | None:
        """Return the trial that goes on, None if there is none."""
        with self.reading() as session:
            row = _open(session)
            return _line(row) if row else None

    def trials(self) -> list[TrialLine]:
        """List all trials, oldest first."""
        with self.reading() as session:
            return [_line(row) for row in session.scalars(select(Trial).order_by(Trial.id))]

    def note_trial(self, trial_id: int, figures: dict[str, Any]) -> None:
        """Keep the figures of the last look at a trial that goes on."""
        with self.writing() as session:
            row = find(session, Trial, trial_id)
            if row.outcome is None:
                row.figures = figures

    def end_trial(
        self,
        promoted: bool,
        reason: str = "",
        person: str = LOCAL,
        trial_id: int | None = None,
        figures: dict[str, Any] | None = None,
    ) -> TrialLine:
        """Serve the candidate alone, or what served before, and end the trial, all in one step.

        With `figures`, thumbs have decided on the trial `trial_id`, and the outcome is promoted or withdrawn; without,
        a person ends it before they have, and the outcome is ended. Raises BadInput if the trial is over already, or
        none goes on.
        """
        with self.writing() as session:
            one_at_a_time(session)
            row = _open(session)
            if row is None or trial_id not in (None, row.id):
                raise BadInput("No version is on trial; `python -m finetune trial begin N --share 0.2` begins one.")
            outcome = "promoted" if promoted else "withdrawn"
            row.outcome, row.ended_at = "ended" if figures is None else outcome, now()
            row.reason = reason or f"Version {row.candidate} was {outcome} by hand, before thumbs decided."
            row.figures = row.figures if figures is None else figures
            session.flush()
            target = None if promoted else before(session)
            shares = {row.candidate: 1.0} if target is None else shares_of(session, target)
            put_promotion(session, shares, person, row.reason, restores_id=target)
            return _line(row)


def put_trial(session: Session, candidate: int, share: float, rule: dict[str, Any], person: str, reason: str) -> int:
    """Write the promotion that shares new conversations out, and the trial that it begins; return the trial's id.

    A trial that goes on is ended by it, and what that one's candidate was tried against is tried against again. Raises
    BadInput for a share out of range, for a candidate that serves alone already, and where nothing serves.
    """
    if not 0 < share <= MOST_SHARE:
        raise BadInput(f"The share {share} cannot be used: give one above 0 and at most {MOST_SHARE}, such as 0.2.")
    serves, going = serving(session), _open(session)
    if serves is None:
        raise BadInput("Nothing serves yet, so there is nothing to try a version against; start the app once.")
    against = going.against if going else max(serves.shares, key=lambda number: serves.shares[number])
    if against == candidate:
        raise BadInput(f"Version {candidate} is what serves; put another one on trial against it.")
    promotion = put_promotion(session, {against: 1 - share, candidate: share}, person, reason)
    row = Trial(
        promotion_id=promotion,
        candidate=candidate,
        against=against,
        share=share,
        rule=rule,
        person_id=person,
        figures={},
    )
    session.add(row)
    session.flush()
    return row.id


def _open(session: Session) -> Trial | None:
    return session.scalar(select(Trial).where(Trial.outcome.is_(None)).order_by(Trial.id.desc()).limit(1))


def _line(row: Trial) -> TrialLine:
    return TrialLine(
        id=row.id,
        promotion_id=row.promotion_id,
        candidate=row.candidate,
        against=row.against,
        share=row.share,
        rule=row.rule,
        person=row.person_id,
        began_at=row.created_at,
        outcome=row.outcome,
        reason=row.reason,
        figures=row.figures,
        ended_at=row.ended_at,
    )
