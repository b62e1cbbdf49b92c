"""The one door between what a person asks for and what is done: whether they may, and why it was refused.

Every event of the page and every endpoint calls a verb of the record, of the replies or of learning through it. A verb
that is not in the table below cannot be called at all, so a new one says first who may.
"""

import functools
import itertools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from chatui.engine.protocol import EngineError
from feedback.errors import RapportError
from feedback.schema import LOCAL
from feedback.store import Store
from feedback.trouble import DatabaseTrouble, in_words

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

log = logging.getLogger("rapport.asked")
_refusals = itertools.count(1)

# verb -> what is done, and the kind of thing that its first argument names; None: nothing that has an owner
VERBS: dict[str, tuple[str, str | None]] = {
    "new_conversation": ("begin", None),
    "keep_persona": ("begin", None),
    "known_personas": ("begin", None),
    "opening_with": ("begin", None),
    "search": ("begin", None),  # among one's own
    "history": ("read", "conversation"),
    "opening": ("read", "conversation"),
    "give_out": ("read", "conversation"),
    "message": ("read", "message"),
    "reply_facts": ("read", "message"),
    "send": ("write", "conversation"),
    "compare": ("write", "conversation"),
    "stop": ("write", "conversation"),
    "rename": ("write", "conversation"),
    "delete": ("write", "conversation"),
    "undelete": ("write", "conversation"),
    "set_sampling": ("write", "conversation"),
    "show": ("write", "message"),
    "edit": ("write", "message"),
    "regenerate": ("write", "message"),
    "go_on": ("write", "message"),
    "drop_persona": ("write", "persona"),
    "rate": ("rate", "message"),
    "prefer": ("rate", "message"),
    "signal": ("rate", "message"),
    "judge_comparison": ("rate", "comparison"),
    "correct": ("correct", "message"),
    "show_correction": ("correct", "message"),
    "review": ("review", "message"),
    "amend": ("review", "message"),
    "answer_asked": ("review", "message"),
    "queue_of": ("review", None),
    "review_choices": ("review", None),
    "survey": ("survey", None),
    "record_file": ("learn", None),
    "learning": ("learn", None),
    "learning_now": ("learn", None),
    "run_told": ("learn", None),
    "run_curve": ("learn", None),
    "trace_message": ("read", "message"),
    "trace": ("learn", None),
    "revoked": ("learn", None),
    "retrain": ("learn", None),
    "cancel": ("learn", None),
    "log_tail": ("learn", None),
    "promote": ("learn", None),
    "rollback": ("learn", None),
    "pin": ("learn", None),
    "begin_trial": ("learn", None),
    "end_trial": ("learn", None),
    "trial_rule": ("learn", None),
    "versions_told": ("learn", None),
    "version_card": ("learn", None),
    "lineage_told": ("learn", None),
    "compare_versions": ("learn", None),
    "comparison": ("learn", None),
}

PAIRED = ("prefer",)  # verbs that act on two things: the second argument names one too


class Asked:
    """Asks before a verb is called, for one person."""

    def __init__(self, store: Store, person: str = LOCAL):
        """Ask what `store` knows of `person`; until there are accounts everybody at the page is `local`."""
        self._store, self._person = store, person

    def __call__(self, verb: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """Return the verb, which then raises a one-sentence gr.Error where it may not or cannot be done.

        The thing acted upon is its first argument, of `PAIRED` verbs the second one too.
        """
        action, kind = VERBS[verb.__name__]
        things = 2 if verb.__name__ in PAIRED else 1

        @functools.wraps(verb)
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            for thing in args[:things] if kind else (None,):
                told(self._store.require)(self._person, action, kind, thing)
            return told(verb)(*args, **kwargs)

        return call


def told(verb: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a verb's named errors, and trouble with the database, reach the person as one sentence."""

    @functools.wraps(verb)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return verb(*args, **kwargs)
        except (RapportError, EngineError) as error:
            raise gr.Error(str(error), title="", print_exception=False) from error
        except DatabaseTrouble as error:
            log.exception("The record could not be reached.")
            raise gr.Error(in_words(error), title="", print_exception=False) from error

    return call


def refusal(problem: str) -> dict[str, Any]:
    """Return what a refusal adds to an answer, nothing for none; numbered, as an equal value is not drawn again."""
    return {"problem": problem, "refused": next(_refusals)} if problem else {}


def sentence(error: gr.Error) -> str:
    """Return what an error of `told` says."""
    return str(error.message)
