"""The gate's figures as one picture, in plain SVG that every browser shows: changes with intervals, and bounds."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

_NAMES = {
    "correction_likelihood": "corrections, likelihood of a token",
    "correction_loss": "corrections, nats a token",
    "liked_loss": "liked replies, nats a token",
    "chosen_loss": "chosen replies, nats a token",
    "end_loss": "end of turn, nats",
    "margin": "liked over disliked, nats a token",
    "accuracy": "liked above disliked, share",
    "general_loss": "general answers, nats a token",
}
_WIDTH, _LABEL, _ROW = 760, 250, 24
_GOOD, _BAD, _GREY = "#2f7d4f", "#b3402a", "#777"


def draw(file: Path, figures: Mapping[str, Any]) -> None:
    """Write the picture of figures as they stand in `card.json`, see docs/gate.md."""
    rows = [*_title(figures), *_changes(figures.get("changes") or {}), *_bounds(figures.get("bounds") or [])]
    height = (len(rows) + 1) * _ROW
    body = "".join(f'<g transform="translate(0 {(place + 1) * _ROW})">{row}</g>' for place, row in enumerate(rows))
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="13"><rect width="100%" height="100%" fill="white"/>{body}</svg>\n',
        encoding="utf-8",
    )


def _title(figures: Mapping[str, Any]) -> list[str]:
    said = str(figures.get("reason", ""))
    return [_text(12, str(figures.get("verdict", "")), weight="bold"), _text(12, said[:110] + "…" * (len(said) > 110))]


def _changes(changes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    shown = {name: one for name, one in changes.items() if name in _NAMES and one["mean"] is not None}
    ends = [abs(one[end]) for one in shown.values() for end in ("mean", "low", "high") if one[end] is not None]
    scale = (_WIDTH - _LABEL - 130) / 2 / max([*ends, 1e-9])
    middle = _LABEL + (_WIDTH - _LABEL - 130) / 2
    head = [_text(12, "against what serves; right is better, 90 % intervals", weight="bold")] if shown else []
    return head + [_change(_NAMES[name], one, middle, scale) for name, one in shown.items()]


def _change(name: str, one: Mapping[str, Any], middle: float, scale: float) -> str:
    mean = one["mean"]
    known = one["low"] is not None and one["high"] is not None
    low, high = (one["low"], one["high"]) if known else (mean, mean)
    colour = _GREY if low <= 0 <= high else _GOOD if mean > 0 else _BAD
    return (
        _text(12, name)
        + f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="-16" y2="8" stroke="#ccc"/>'
        + f'<line x1="{middle + low * scale:.1f}" x2="{middle + high * scale:.1f}" y1="-4" y2="-4" '
        + f'stroke="{colour}" stroke-width="3"/>'
        + f'<circle cx="{middle + mean * scale:.1f}" cy="-4" r="5" fill="{colour}"/>'
        + _text(_WIDTH - 120, f"{mean:+.2f}" + (f" ({low:+.2f}, {high:+.2f})" if known else ""))
    )


def _bounds(bounds: list[Mapping[str, Any]]) -> list[str]:
    head = [_text(12, "how much worse elsewhere; the line is the most allowed", weight="bold")] if bounds else []
    return head + [_bound(bound) for bound in bounds if bound["value"] is not None]


def _bound(bound: Mapping[str, Any]) -> str:
    full = (_WIDTH - _LABEL - 130) / 1.5
    share = max(0.0, min(1.5, bound["value"] / bound["limit"])) if bound["limit"] else 1.5 * (bound["value"] > 0)
    colour = _BAD if bound["broken"] else _GOOD
    return (
        _text(12, str(bound["name"]))
        + f'<rect x="{_LABEL}" y="-11" width="{share * full:.1f}" height="12" fill="{colour}"/>'
        + f'<line x1="{_LABEL + full:.1f}" x2="{_LABEL + full:.1f}" y1="-16" y2="6" stroke="black"/>'
        + _text(_WIDTH - 120, f"{bound['value']:.2f} of {bound['limit']:.2f}")
    )


def _text(x: float, text: str, weight: str = "normal") -> str:
    return f'<text x="{x:.0f}" font-weight="{weight}">{escape(text)}</text>'
