"""The panel of personas and sampling settings, behind a button in the bar."""

import gradio as gr

from chatui.chat_tab import AT_ONCE, ChatTab, plain
from chatui.look import script
from chatui.persona_handlers import PersonaHandlers


def build(handlers: PersonaHandlers) -> gr.HTML:
    """Build the button; what it says comes with the conversation, see chat.js."""
    return gr.HTML(
        value=None,
        html_template="",
        js_on_load=script("tools.js", "persona.js"),
        server_functions=[plain(handlers.personas)],
        elem_id="rp-persona",
        apply_default_css=False,
    )


def wire(panel: gr.HTML, tab: ChatTab, handlers: PersonaHandlers) -> None:
    """Say which handler each event of the panel calls."""
    panel.choose(handlers.choose, None, tab.parts, **AT_ONCE)
    panel.set_sampling(handlers.set_sampling, None, tab.bridge, **AT_ONCE)
    panel.keep(handlers.keep, None, tab.parts, **AT_ONCE)
    panel.drop(handlers.drop, None, tab.bridge, **AT_ONCE)
