"""Learning, in three parts: what people think (Feedback), runs with their progress, versions and which one serves."""

from dataclasses import dataclass

import gradio as gr

from chatui.chat_tab import AT_ONCE, QUIET, plain
from chatui.learning_handlers import PLOTS, LearningHandlers
from chatui.look import script


@dataclass
class LearningTab:
    """The view's components."""

    survey: gr.HTML
    plots: list[gr.Plot]
    runs: gr.HTML
    curve: gr.Plot
    versions: gr.HTML


def build(handlers: LearningHandlers) -> LearningTab:
    """Build the view; its parts are drawn in the browser, around their plots."""
    with gr.Column(elem_id="rp-learn"):
        gr.HTML(value=None, html_template="", js_on_load=script("learn.js"), apply_default_css=False)
        with _part("survey.js", "rp-survey", handlers.numbers, handlers.record) as survey:
            plots = [_plot(f"rp-plot-{n}") for n in range(PLOTS)]
        with _part("runs.js", "rp-runs", handlers.run_told, handlers.retrain, handlers.cancel) as runs:
            curve = _plot("rp-curve")
        acts = (handlers.promote, handlers.rollback, handlers.pin, handlers.begin_trial, handlers.end_trial)
        asks = (handlers.versions_told, handlers.version_told, handlers.lineage_told)
        versions = _part("versions.js", "rp-versions", *acts, *asks, handlers.compare, handlers.comparison)
    return LearningTab(survey, plots, runs, curve, versions)


def wire(tab: LearningTab, handlers: LearningHandlers) -> None:
    """Say which handler each event of the view calls."""
    tab.survey.look(handlers.look, None, [tab.survey, *tab.plots], **QUIET, concurrency_limit=None)
    tab.runs.curve(handlers.curve, None, tab.curve, **AT_ONCE)


def _part(file: str, name: str, *functions: object) -> gr.HTML:
    return gr.HTML(
        value=None,
        html_template="@children",
        js_on_load=script("tools.js", file),
        server_functions=[plain(function) for function in functions],
        elem_id=name,
        apply_default_css=False,
    )


def _plot(name: str) -> gr.Plot:
    return gr.Plot(show_label=False, container=False, elem_id=name, elem_classes="rp-plot")
