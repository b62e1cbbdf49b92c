"""Figures of a proof beside what was wanted of them."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One figure. `wanted` says the target in words, empty where there is none; `met` whether it is met."""

    name: str
    value: float
    wanted: str = ""
    met: bool = True


def none_of(name: str, number: int) -> Figure:
    """Return a figure of which none is wanted."""
    return Figure(name, number, "0 wanted", number == 0)


def share(name: str, part: int, whole: int, least: float) -> Figure:
    """Return a share of which so much is wanted at least, or nothing in particular if that is 0; of nothing it is 0."""
    value = part / whole if whole else 0.0
    if not least:
        return Figure(f"{name}, of {whole:,}", value)
    return Figure(f"{name}, of {whole:,}", value, f"at least {least:.2f} wanted", value >= least)


def report(figures: Sequence[Figure], file: Path | None = None) -> int:
    """Print the figures, write them to a file if one is given, and return the exit code: 1 if a target is missed."""
    for each in figures:
        verdict = f" ({each.wanted}: {'met' if each.met else 'MISSED'})" if each.wanted else ""
        print(f"{each.name}: {each.value:.4g}{verdict}")
    if file:
        file.write_text(json.dumps([asdict(each) for each in figures], indent=2), encoding="utf-8")
    missed = [each.name for each in figures if not each.met]
    if missed:
        print(f"Missed: {'; '.join(missed)}.", file=sys.stderr)
    return 1 if missed else 0
