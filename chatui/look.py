"""The page's colours, fonts and head: what makes it ours."""

import json
from pathlib import Path

import gradio as gr

from chatui.words import LANGUAGES, words

_WEB = Path(__file__).parent / "web"
_RUST = ("#fdf4f0", "#f9e4da", "#f2c8b6", "#e8a68b", "#da8262", "#c86744", "#b4532f", "#954326", "#753621", "#5a2b1c",
         "#33160d")  # fmt: skip
SANS = ("ui-sans-serif", "-apple-system", "Segoe UI", "Inter", "Noto Sans", "PingFang SC", "Microsoft YaHei",
         "Noto Sans CJK SC", "sans-serif")  # fmt: skip
_MONO = ("ui-monospace", "SF Mono", "Cascadia Code", "JetBrains Mono", "DejaVu Sans Mono", "monospace")


def web_file(name: str) -> str:
    """Read one of the page's own files."""
    return (_WEB / name).read_text(encoding="utf-8")


def script(*names: str) -> str:
    """Return scripts of one part of the page, in order, behind what all parts share."""
    return "".join(map(web_file, ("base.js", *names)))


def theme() -> gr.themes.Base:
    """Warm stone, one rust accent, system fonts: nothing is fetched."""
    return gr.themes.Base(
        primary_hue=gr.themes.Color(*_RUST),
        neutral_hue="stone",
        font=list(SANS),
        font_mono=list(_MONO),
        radius_size="lg",
    ).set(
        body_background_fill="#fbfaf8",
        body_background_fill_dark="#1d1b19",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        background_fill_secondary="#f3f1ed",
        background_fill_secondary_dark="#171513",
        body_text_color="#23211e",
        body_text_color_dark="#ebe7e1",
    )


def head(reasons: dict[str, list[str]]) -> str:
    """Return what goes into the document's head: words, reasons to choose from (`up`, `down`), switches, style."""
    every = json.dumps({name: words(name) for name in LANGUAGES}).replace("</", "<\\/")
    text = web_file("head.html").replace("/*WORDS*/{}", every)
    text = text.replace("/*REASONS*/{}", json.dumps(reasons).replace("</", "<\\/"))
    style = "".join(web_file(path.name) for path in [_WEB / "style.css", *sorted(_WEB.glob("*-*.css"))])
    return f"{text}<style>{style}</style>"
