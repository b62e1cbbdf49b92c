"""Ending a text before any of the stop texts, whatever the server that writes it makes of them."""

from collections.abc import Sequence


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Return what of a growing text may be shown, and whether a stop text has come.

    An end that may be the beginning of a stop text is held back until more has come.
    """
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    if places:
        return text[: min(places)], True
    held = max((_overlap(text, stop) for stop in stops), default=0)
    return text[: len(text) - held], False


def _overlap(text: str, stop: str) -> int:
    """Count the characters at the text's end that a stop text begins with."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
