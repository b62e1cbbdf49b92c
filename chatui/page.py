"""Assembles the page: one file per tab, and the endpoints."""

import sys
from collections.abc import Callable
from typing import Any

import gradio as gr
from prometheus_client import CollectorRegistry

from chatui import chat_tab, health, learning_tab, metrics, origins, persona_panel, privacy, review_tab
from chatui.api import Api
from chatui.handlers import Handlers
from chatui.look import head, script, theme, web_file
from chatui.persona_handlers import PersonaHandlers
from chatui.review_handlers import ReviewHandlers
from chatui.settings import ChatSettings
from chatui.words import words

_TICK_S = 1.5
_LOOK_S = 0.01  # Gradio's queue looks for an event so often; its own thousand times a second take a tenth of the tokens
# Gradio looks for it on the disk at every update of every reply; nothing here draws with it.
sys.modules.setdefault("matplotlib", None)  # type: ignore[arg-type]


def build_page(handlers: Handlers, api: Api) -> gr.Blocks:
    """Build the Blocks; nothing is launched."""
    say, personas = words(), PersonaHandlers(handlers)
    with gr.Blocks(title=say["app"], fill_height=True, analytics_enabled=False) as demo:
        api.register()  # first: the page's own events must not take its names
        sidebar = chat_tab.side(handlers)
        with gr.Column(elem_id="rp-main"):
            with gr.Row(elem_id="rp-bar"):
                pill = gr.HTML(
                    value=None,
                    html_template="",
                    js_on_load=script("pill.js"),
                    elem_id="rp-pill",
                    apply_default_css=False,
                )
                panel = persona_panel.build(personas)
                temporary = gr.Button(say["temporary"], elem_id="rp-temporary")
                language = gr.Button(say["language"], elem_id="rp-language")
                keys = gr.Button("?", elem_id="rp-help")
                switch = gr.Button("◐", elem_id="rp-theme")
            leaving = gr.HTML(
                value=None,
                html_template="",
                js_on_load=web_file("leave.js"),
                elem_id="rp-leaving",
                apply_default_css=False,
            )
            tab = chat_tab.build(sidebar, handlers)
            review = review_tab.build()
            learning = learning_tab.build(handlers.learning)
        chat_tab.wire(tab, demo, handlers)
        persona_panel.wire(panel, tab, personas)
        review_tab.wire(review, ReviewHandlers(handlers.store))
        learning_tab.wire(learning, handlers.learning)
        temporary.click(None, None, None, js="() => rpOpen('', !rpTemporary())", api_visibility="private")
        leaving.leave(handlers.leave, None, None, **{**chat_tab.AT_ONCE, "api_name": "leave_tab"})
        demo.load(None, None, None, js="() => rpTitles()", api_visibility="private")
        demo.load(handlers.arrive, None, leaving, queue=False, **chat_tab.QUIET)
        switch.click(None, None, None, js="() => rpTheme()", api_visibility="private")
        sidebar.reviews.click(None, None, None, js="() => rpView('review')", api_visibility="private")
        sidebar.learning.click(None, None, None, js="() => rpView('learn')", api_visibility="private")
        language.click(None, None, None, js="() => rpLanguage()", api_visibility="private")
        keys.click(None, None, None, js="() => rpKeys()", api_visibility="private")
        greeted = [
            sidebar.new,
            sidebar.reviews,
            sidebar.learning,
            temporary,
            language,
            tab.search,
            tab.composer,
            tab.rows,
            tab.note,
        ]
        demo.load(handlers.greet, None, greeted, queue=False, **chat_tab.QUIET)
        everything = [*tab.parts, pill, learning.runs]
        demo.load(handlers.status, None, [pill, learning.runs], queue=False, **chat_tab.QUIET)
        timer = gr.Timer(_TICK_S)
        timer.tick(handlers.tick, None, everything, queue=False, **chat_tab.QUIET)
    return demo


def queued(page: gr.Blocks) -> gr.Blocks:
    """Give a page its queue: as many events at once as come, for the engine has a line of its own."""
    page.queue(default_concurrency_limit=None)
    page._queue.sleep_when_free = _LOOK_S
    return page


def launch_options(settings: ChatSettings, check: Callable[[], float], figures: CollectorRegistry) -> dict[str, Any]:
    """Return how the page is launched: offline, private, no limit on streams but the engine's.

    `check` is the engine's, for `/health`; `figures` are told at `/metrics`.
    """
    return {
        "server_name": settings.host,
        "server_port": settings.port or None,
        "theme": theme(),
        "head": head({"up": settings.reasons_up, "down": settings.reasons_down}),
        "footer_links": [],
        "quiet": True,
        "max_threads": 400,
        "enable_monitoring": False,
        "show_error": True,
        "app_kwargs": {
            "middleware": [*privacy.middleware(), *health.middleware(check), *metrics.middleware(figures)],
            "lifespan": origins.outermost(origins.Names(settings.host, settings.allowed_hosts)),
        },
    }
