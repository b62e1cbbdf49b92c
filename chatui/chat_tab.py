"""The chat: list of conversations at the side, messages, composer; and which handler each event calls."""

import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from chatui.asked import sentence
from chatui.handlers import NOTHING, Handlers, Parts
from chatui.look import script
from chatui.words import words

# Single dollars are prices more often than formulas.
_FORMULAS = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
_STREAM: dict[str, Any] = {**QUIET, "concurrency_limit": None, "trigger_mode": "multiple"}
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False, "trigger_mode": "multiple"}


@dataclass
class ChatTab:
    """The chat's components."""

    rows: gr.Chatbot
    bridge: gr.HTML
    composer: gr.Textbox
    conversations: gr.HTML
    new: gr.Button
    search: gr.Textbox
    note: gr.HTML

    @property
    def parts(self) -> list[Any]:
        """What a chat handler draws, in the order of `handlers.Parts`."""
        return [self.rows, self.bridge, self.composer, self.conversations]


@dataclass
class Side:
    """The sidebar's components."""

    conversations: gr.HTML
    new: gr.Button
    search: gr.Textbox
    reviews: gr.Button
    learning: gr.Button


def side(handlers: Handlers) -> Side:
    """Build the sidebar."""
    say = words()
    with gr.Sidebar(width=272, elem_id="rp-side", open=True):
        gr.HTML(f'<div class="rp-brand"><i></i>{say["app"]}</div>', apply_default_css=False, elem_id="rp-brand")
        new = gr.Button(say["new_chat"], elem_id="rp-new")
        search = gr.Textbox(
            placeholder=say["search"], show_label=False, container=False, max_lines=1, elem_id="rp-search"
        )
        conversations = gr.HTML(
            value=None,
            html_template="",
            js_on_load=script("list.js"),
            server_functions=[plain(handlers.export)],
            elem_id="rp-list",
            apply_default_css=False,
        )
        reviews = gr.Button(say["review"], elem_id="rp-reviews")
        learning = gr.Button(say["learning"], elem_id="rp-learning")
    return Side(conversations, new, search, reviews, learning)


def build(sidebar: Side, handlers: Handlers) -> ChatTab:
    """Build messages and composer."""
    say = words()
    with gr.HTML(
        value=None,
        given_back=None,  # a message that was refused; a property of its own, as it needs nothing of the record
        html_template="@children",
        js_on_load=script("back.js", "chat.js"),
        server_functions=[plain(handlers.raw), plain(handlers.facts)],
        elem_id="rp-bridge",
        apply_default_css=False,
    ) as bridge:
        rows = gr.Chatbot(
            elem_id="rp-chat",
            show_label=False,
            height="100%",
            layout="bubble",
            buttons=[],
            group_consecutive_messages=False,
            feedback_options=None,
            container=False,
            autoscroll=False,
            latex_delimiters=_FORMULAS,
            placeholder=f'<span class="rp-empty">{say["empty"]}</span>',
            examples=[{"text": say[f"example_{n}"]} for n in range(1, 5)],
        )
    with gr.Column(elem_id="rp-compose"):
        gr.HTML('<p id="rp-speaks"></p><p id="rp-limits"></p>', elem_id="rp-limits-box", apply_default_css=False)
        gr.HTML(
            value=None, html_template="", js_on_load=script("files.js"), elem_id="rp-files", apply_default_css=False
        )
        gr.HTML(
            value=None,
            html_template="",
            js_on_load=script("compare.js"),
            elem_id="rp-compare",
            apply_default_css=False,
        )
        composer = gr.Textbox(
            placeholder=say["ask"],
            show_label=False,
            container=False,
            lines=1,
            max_lines=10,
            submit_btn=True,
            stop_btn=False,
            elem_id="rp-ask",
        )
    note = gr.HTML(f"<p>{say['note']}</p>", elem_id="rp-note", apply_default_css=False)
    return ChatTab(rows, bridge, composer, sidebar.conversations, sidebar.new, sidebar.search, note)


def wire(tab: ChatTab, demo: gr.Blocks, handlers: Handlers) -> None:
    """Say which handler each event of the chat calls."""

    def stream(event: Callable[..., Any], handler: Callable[..., AsyncIterator[Parts]], inputs: Any = None) -> None:
        event(_ended(handler), inputs, tab.parts, **_STREAM)

    said, compare, turns = gr.Textbox(visible=False), gr.Checkbox(visible=False), gr.Number(visible=False, precision=0)
    stream(demo.load, handlers.load)
    stream(tab.conversations.open, handlers.open)
    turned = "() => { document.body.dataset.view = 'chat'; rpOpen(''); rpCloseSide(); }"
    tab.new.click(None, None, None, js=turned, api_visibility="private")
    # The composer is emptied in the browser at once; its text travels in a component of its own.
    taken = """(text) => {
      const said = rpWithFiles(text);
      if (said) rpFollow();
      return [said, rpComparing(), rpTurns(), ''];
    }"""
    sent = tab.composer.submit(None, [tab.composer], [said, compare, turns, tab.composer], js=taken, **QUIET)
    stream(sent.then, handlers.send, [said, compare, turns])
    tab.composer.stop(handlers.stop, None, tab.bridge, **AT_ONCE)
    tab.bridge.halt(handlers.stop, None, tab.bridge, **AT_ONCE)
    stream(tab.bridge.attach, handlers.attach)
    stream(tab.bridge.more, handlers.more)
    stream(tab.bridge.regenerate, handlers.regenerate)
    stream(tab.bridge.edit, handlers.edit)
    stream(tab.bridge.go_on, handlers.go_on)
    stream(tab.bridge.show, handlers.show)
    stream(tab.bridge.show_correction, handlers.show_correction)
    stream(tab.bridge.judge, handlers.judge)
    tab.bridge.copied(handlers.copied, None, None, **AT_ONCE)
    tab.conversations.older(handlers.older, None, tab.conversations, **AT_ONCE)
    tab.conversations.rename(handlers.rename, None, tab.conversations, **AT_ONCE)
    stream(tab.conversations.remove, handlers.delete)
    stream(tab.conversations.bring_back, handlers.undelete)
    # `change`, not `input`: a pasted or deleted text is a search too.
    tab.search.change(handlers.search, tab.search, tab.conversations, queue=False, trigger_mode="always_last", **QUIET)
    tab.bridge.rate(handlers.rate, None, tab.bridge, **AT_ONCE)
    tab.bridge.correct(handlers.correct, None, tab.bridge, **AT_ONCE)
    tab.rows.example_select(_example, None, tab.composer, **AT_ONCE)


def _ended(handler: Callable[..., AsyncIterator[Parts]]) -> Callable[..., AsyncIterator[Parts]]:
    """End what a handler draws with nothing.

    Gradio sends the last output of a generator again when that ends. By then the tab may show another conversation.
    """

    @functools.wraps(handler)
    async def call(*args: Any) -> AsyncIterator[Parts]:
        async for parts in handler(*args):
            yield parts
        yield NOTHING

    return call


def _example(event: gr.SelectData) -> str:
    return str(event.value["text"])


def plain(method: Any) -> Any:
    """Make a function of a method: the browser calls it by the name it has; why it was refused is told there."""

    @functools.wraps(method)
    def call(*args: Any) -> Any:
        try:
            return method(*args)
        except gr.Error as error:
            return {"problem": sentence(error)}

    return call
