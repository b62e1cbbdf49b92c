"""The page's plots: Vega-Lite, drawn in the browser by Gradio's own `gr.Plot`, which brings all that it needs.

What must be told apart differs in shape or place as well as in colour: a share of too few observations is a hollow
ring without an interval, a curve has its name and a dash of its own. Colours are not set here but in style-learn.css,
by the names of the layers, so that they follow the page between light and dark. They are of the palette of Okabe and
Ito ("Color Universal Design", 2008), which the colour-blind can tell apart.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradio.components.plot import PlotData

from chatui.look import SANS
from feedback.insight import Share

Spec = dict[str, Any]
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # a name; nothing is fetched
_CONFIG: Spec = {
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {"domain": False, "ticks": False, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
             "labelPadding": 8, "titlePadding": 10, "labelLimit": 150, "gridDash": [2, 3]},
    "title": {"anchor": "start", "fontSize": 14, "fontWeight": 600, "offset": 14, "subtitleFontSize": 12,
              "subtitlePadding": 5},
    "legend": {"orient": "top", "labelFontSize": 12, "title": None, "symbolType": "stroke", "symbolStrokeWidth": 2,
               "symbolSize": 220},
    "font": ", ".join(SANS),
}  # fmt: skip
_SHARE_AXIS: Spec = {"format": "%", "tickCount": 5, "title": None}
_BAND, _ROW = 190, 27  # pixels
DASHES = {"loss": [1, 0], "validation": [6, 3], "general": [2, 2]}  # of the curves, in the order of their legend
_COLOURS = {"loss": "var(--rp-plot)", "validation": "var(--rp-plot2)", "general": "var(--rp-plot3)"}
Namer = Callable[[str], str]


def shares_over_time(title: str, about: str, shares: Sequence[Share], say: Mapping[str, str]) -> PlotData:
    """Draw a share and its interval over days or weeks."""
    rows = [{"at": share.name, **_row(share, say)} for share in shares]
    dates = {"grid": False, "labelOverlap": True, "format": say["plot_date"]}
    at = {"field": "at", "type": "temporal", "title": None, "scale": {"type": "utc"}, "axis": dates}
    share = {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": _SHARE_AXIS}
    some = {"filter": "datum.enough"}
    layers = [
        {"name": "interval", "transform": [some], "mark": {"type": "area", "opacity": 0.22},
         "encoding": {"x": at, "y": {**share, "field": "low"}, "y2": {"field": "high"}}},
        {"name": "line", "transform": [some], "mark": {"type": "line", "strokeWidth": 2},
         "encoding": {"x": at, "y": share}},
        {"name": "point", "transform": [some], "mark": {"type": "point", "filled": True, "size": 46, "opacity": 1},
         "encoding": {"x": at, "y": share, "tooltip": _tooltip(say)}},
        {"name": "few", "transform": [{"filter": "!datum.enough"}], "mark": {"type": "point", "size": 46},
         "encoding": {"x": at, "y": share, "tooltip": _tooltip(say)}},
    ]  # fmt: skip
    return _plot(title, about, rows, {"height": _BAND, "layer": layers})


def shares_by_name(
    title: str, about: str, shares: Sequence[Share], say: Mapping[str, str], named: Namer, side: str = "point"
) -> PlotData:
    """Draw a share and its interval for each name, one below the other; `side` names the layer of the points."""
    rows = [{"name": named(share.name), **_row(share, say)} for share in shares]
    order = [row["name"] for row in rows]
    name = {"field": "name", "type": "nominal", "sort": order, "title": None, "axis": {"grid": False}}
    share = {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": _SHARE_AXIS}
    some, mark = {"filter": "datum.enough"}, {"type": "point", "filled": True, "size": 72, "opacity": 1}
    layers = [
        {"name": f"{side}_rule", "transform": [some], "mark": {"type": "rule", "strokeWidth": 2},
         "encoding": {"y": name, "x": {**share, "field": "low"}, "x2": {"field": "high"}}},
        {"name": side, "transform": [some], "mark": mark,
         "encoding": {"y": name, "x": share, "tooltip": _tooltip(say)}},
        {"name": "few", "transform": [{"filter": "!datum.enough"}], "mark": {"type": "point", "size": 60},
         "encoding": {"y": name, "x": {"datum": 0}, "tooltip": _tooltip(say)}},
        {"name": "note", "transform": [{"filter": "!datum.enough"}],
         "mark": {"type": "text", "align": "left", "dx": 10, "fontSize": 12},
         "encoding": {"y": name, "x": {"datum": 0}, "text": {"field": "note"}}},
    ]  # fmt: skip
    return _plot(title, about, rows, {"height": _ROW * max(1, len(rows)), "layer": layers})


def curves(
    title: str, about: str, found: Mapping[str, Sequence[tuple[int, float]]], say: Mapping[str, str]
) -> PlotData:
    """Draw a run's losses over its steps; each by its own dash, those of an epoch with a point at each value."""
    names = [name for name in DASHES if found.get(name)]
    rows = [
        {"step": step, "value": value, "name": say[f"curve_{name}"]} for name in names for step, value in found[name]
    ]
    step = {"field": "step", "type": "quantitative", "title": say["step_axis"],
            "axis": {"grid": False, "tickMinStep": 1, "format": "d"}}  # fmt: skip
    value = {
        "field": "value",
        "type": "quantitative",
        "title": None,
        "scale": {"zero": False},
        "axis": {"tickCount": 5},
    }
    domain = [say[f"curve_{name}"] for name in names]
    line = {
        "strokeDash": _by_name(domain, [DASHES[name] for name in names]),
        "color": _by_name(domain, [_COLOURS[name] for name in names]),
    }
    tooltip = [
        {"field": "name", "title": " "}, {"field": "step", "title": say["step_axis"]},
        {"field": "value", "format": ".3f", "title": say["curve_value"]},
    ]  # fmt: skip
    layers = [
        {"name": "curves", "mark": {"type": "line", "strokeWidth": 2, "clip": True},
         "encoding": {"x": step, "y": value, **line}},
        *[
            {"name": f"curve_{name}", "transform": [{"filter": {"field": "name", "equal": say[f"curve_{name}"]}}],
             "mark": {"type": "point", "filled": True, "opacity": 1, "size": 10 if name == "loss" else 44},
             "encoding": {"x": step, "y": value, "color": line["color"], "tooltip": tooltip}}
            for name in names
        ],
    ]  # fmt: skip
    return _plot(title, about, rows, {"height": _BAND, "layer": layers})


def _by_name(domain: Sequence[str], range_: Sequence[Any]) -> Spec:
    return {"field": "name", "type": "nominal", "scale": {"domain": domain, "range": range_}}


def _row(share: Share, say: Mapping[str, str]) -> dict[str, Any]:
    low, high = share.interval
    note = say["not_enough"].format(n=share.whole)
    told = f"{100 * low:.0f} – {100 * high:.0f} %" if share.enough else note
    return {"share": share.share, "low": low, "high": high, "n": share.whole, "enough": share.enough, "note": note,
            "told": told}  # fmt: skip


def _tooltip(say: Mapping[str, str]) -> list[Spec]:
    return [
        {"field": "share", "format": ".0%", "title": say["share_up"]},
        {"field": "told", "title": say["interval"]},
        {"field": "n", "title": say["of_n"]},
    ]


def _plot(title: str, about: str, rows: Sequence[Mapping[str, Any]], body: Spec) -> PlotData:
    spec = {
        "$schema": _SCHEMA,
        "title": {"text": title, "subtitle": about},
        "width": "container",
        "padding": {"left": 0, "right": 6, "top": 4, "bottom": 4},
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": list(rows)},
        "config": _CONFIG,
        # As SVG, so that the style sheet reaches every part of it.
        "usermeta": {"embedOptions": {"renderer": "svg", "actions": False}},
        **body,
    }
    return PlotData(type="altair", plot=json.dumps(spec))
