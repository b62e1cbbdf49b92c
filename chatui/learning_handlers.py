"""What each event of the Learning view does: what people think, runs, versions.

What the browser asks for by name is answered with plain values; why something was refused travels in the answer.
"""

from collections.abc import Callable
from typing import Any

import gradio as gr

from chatui.asked import Asked, refusal, sentence, told
from chatui.giving import record_file
from chatui.learning_views import LearningViews
from chatui.words import language_of
from feedback.store import Store

PLOTS = 5  # of the Feedback part


class LearningHandlers:
    """The Learning view's events, one method each."""

    def __init__(self, store: Store, views: LearningViews):
        """Act on `store` and on the learner of `views`; draw with `views`."""
        self.store, self.views, self.ask = store, views, Asked(store)

    def now(self, fresh: bool = True) -> dict[str, Any]:
        """Return what the timer sends: runs and what serves, or why this person is not told."""
        try:
            return self.ask(self.views.learning_now)(fresh)
        except gr.Error as error:
            return {"refused": sentence(error)}

    # --- what people think

    def look(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """The Feedback part was opened, or another period chosen: its numbers, then its plots."""
        look, language = event._data["look"], language_of(request.headers)
        try:
            survey = self.ask(self.views.survey)(look)
        except gr.Error as error:
            return [{"look": look, "refused": sentence(error)}, *[None] * PLOTS]
        value = {"look": look, **self.views.survey_told(survey, language)}
        return [value, *self.views.survey_plots(survey, language)]

    def numbers(self, asked: list[Any]) -> dict[str, str]:
        """Give what the Feedback part shows as a file's name and text; asked for by look, csv or json, language."""
        look, kind, language = asked
        return told(self.views.survey_file)(self.ask(self.views.survey)(look), kind, language)

    def record(self, form: str) -> dict[str, str]:
        """Give the whole record as a file's name and text, in our own format or one of TRL's."""
        return self.ask(record_file)(self.store, form)

    # --- runs

    def retrain(self, _: Any = None) -> dict[str, Any]:
        """A run was asked for."""
        return self._after(self.ask(self.views.learner.retrain))

    def cancel(self, run_id: int) -> dict[str, Any]:
        """A run's end was asked for."""
        return self._after(lambda: self.ask(self.views.learner.cancel)(run_id))

    def run_told(self, run_id: int) -> dict[str, Any]:
        """Give a run's states, figures and the end of its log."""
        return self.ask(self.views.run_told)(run_id)

    def curve(self, request: gr.Request, event: gr.EventData) -> Any:
        """A run was opened, or has gone on: draw its losses."""
        try:
            return self.ask(self.views.run_curve)(event._data["id"], language_of(request.headers))
        except gr.Error:
            return None  # why is told where its states are asked for

    # --- versions

    def promote(self, number: int) -> dict[str, Any]:
        """A version was chosen to serve."""
        return self._after(lambda: self.ask(self.store.promote)(number, reason="Promoted on the page."))

    def rollback(self, _: Any = None) -> dict[str, Any]:
        """What served before was asked for."""
        return self._after(self.ask(self.store.rollback))

    def pin(self, asked: list[Any]) -> dict[str, Any]:
        """A version's folder is to be kept, or no longer; asked for by number and yes or no."""
        return self._after(lambda: self.ask(self.store.pin)(*asked))

    def begin_trial(self, asked: list[Any]) -> dict[str, Any]:
        """A version is to serve a share of new conversations until thumbs decide; asked for by number and share."""
        number, share = asked
        rule, begin = self.ask(self.views.learner.trial_rule), self.ask(self.store.begin_trial)
        return self._after(lambda: begin(number, share, dict(rule()), reason="Begun on the page."))

    def end_trial(self, promoted: bool) -> dict[str, Any]:
        """The trial is to end at once, its candidate served or withdrawn."""
        return self._after(lambda: self.ask(self.store.end_trial)(promoted))

    def versions_told(self, _: Any = None) -> dict[str, Any]:
        """Give what the versions earned, and when each served."""
        return self.ask(self.views.versions_told)()

    def version_told(self, number: int) -> dict[str, Any]:
        """Give the card of a version."""
        return self.ask(self.views.version_card)(number)

    def lineage_told(self, number: int) -> dict[str, Any]:
        """Give what a version saw."""
        return self.ask(self.views.lineage_told)(number)

    def compare(self, asked: list[Any]) -> dict[str, Any]:
        """Two versions are to reply to the same prompts, one a line; asked for by both numbers and the text."""
        one, other, text = asked
        self.ask(self.views.learner.compare_versions)(one, other, text.splitlines())
        return {}

    def comparison(self, _: Any = None) -> dict[str, Any] | None:
        """Give the newest comparison as far as it is, None before the first."""
        return self.ask(self.views.learner.comparison)()

    def _after(self, verb: Callable[[], Any]) -> dict[str, Any]:
        """Change what is learned or served; what came of it, or why it was refused, is in the answer."""
        try:
            outcome = verb()
        except gr.Error as error:
            return refusal(sentence(error))
        return {"said": outcome if isinstance(outcome, str) else "", "now": self.now()}
