"""What was learned: feedback so far, runs with their progress, versions and which one serves."""

import gradio as gr

from chatui.chat_tab import QUIET
from chatui.handlers import Handlers
from chatui.look import web_file


def build() -> gr.HTML:
    """Build the view; it is drawn in the browser from what `Views.learning` gives."""
    return gr.HTML(
        value=None, html_template="", js_on_load=web_file("learn.js"), elem_id="rp-learn", apply_default_css=False
    )


def wire(view: gr.HTML, handlers: Handlers) -> None:
    """Say which handler each event of the view calls."""
    view.retrain(handlers.retrain, None, view, queue=False, **QUIET)
    view.promote(handlers.promote, None, view, queue=False, **QUIET)
    view.rollback(handlers.rollback, None, view, queue=False, **QUIET)
