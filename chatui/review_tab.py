"""Review: replies that want a second look, one at a time, and what the reviewer decides."""

import functools
from typing import Any

import gradio as gr

from chatui.look import web_file
from chatui.review_handlers import ReviewHandlers


def build(handlers: ReviewHandlers) -> gr.HTML:
    """Build the view; its script asks for what it draws, so that a tick never moves a reply under a reviewer."""
    return gr.HTML(
        value=None,
        html_template="",
        js_on_load=web_file("review.js"),
        server_functions=[_plain(handlers.look), _plain(handlers.decide)],
        elem_id="rp-review",
        apply_default_css=False,
    )


def _plain(method: Any) -> Any:
    """Make a function of a method: the browser calls it by the name it has."""

    @functools.wraps(method)
    def call(*args: Any) -> Any:
        return method(*args)

    return call
