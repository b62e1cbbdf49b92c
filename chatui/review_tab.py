"""Review: a queue of replies that somebody should look at, and the keys to judge them."""

import gradio as gr

from chatui.chat_tab import AT_ONCE
from chatui.look import script
from chatui.review_handlers import ReviewHandlers


def build() -> gr.HTML:
    """Build the view; it is drawn in the browser from what `ReviewHandlers` gives."""
    return gr.HTML(
        value=None, html_template="", js_on_load=script("review.js"), elem_id="rp-review", apply_default_css=False
    )


def wire(view: gr.HTML, handlers: ReviewHandlers) -> None:
    """Say which handler each event of the view calls."""
    view.look(handlers.look, None, view, **AT_ONCE)
    view.verdict(handlers.verdict, None, view, **AT_ONCE)
    view.answer(handlers.answer, None, view, **AT_ONCE)
    view.amend(handlers.amend, None, view, **AT_ONCE)
