"""`python -m finetune evaluate`: figures of a version on any file of rated conversations, beside the base model's."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from feedback.settings import DataSettings
from finetune.base import ensure_base
from finetune.compare import beside_base
from finetune.evaluate import finite
from finetune.figures import changes, values
from finetune.model import load_template
from finetune.rated_file import fitting, read_rated
from finetune.witnesses import by_question


def evaluated(data: DataSettings, number: int, version: Path | None, file: Path) -> dict[str, Any]:
    """Measure a version (None: the base) and the base on a file. Raises BadInput, LoadError."""
    read = read_rated(file)  # before the base model, which may have to be made
    ensure_base(data)
    rated = fitting(read, load_template(data.base_dir))
    base, ours = beside_base(data, version, rated.pairs)
    pairs = by_question(rated.pairs)
    measured = {"base": values(pairs, base, base), "version": values(pairs, base, ours)}
    names = sorted({*measured["base"], *measured["version"]})
    found = {
        "version": number,
        "form": ours.form,
        "data": {
            "file": file.name,
            "good": sum(pair.good for pair in rated.pairs),
            "bad": sum(not pair.good for pair in rated.pairs),
            "conversations": len({pair.conversation_id for pair in rated.pairs}),
            "left_out": rated.left_out,
            "undecided": rated.undecided,
            "bad_lines": [asdict(line) for line in rated.bad],
        },
        "measures": {
            name: {side: asdict(measured[side][name]) for side in measured if name in measured[side]} for name in names
        },
        "changes": {name: asdict(one) for name, one in changes(pairs, base, base, ours).items()},
    }
    return dict(finite(found))


def lines_of(found: dict[str, Any]) -> list[str]:
    """Write the figures as a table of text."""
    data = found["data"]
    lines = [
        f"Version {found['version']} ({found['form']}) on {data['file']}: {data['good']} good and {data['bad']} bad "
        f"replies of {data['conversations']} conversations; {data['left_out']} replies left out, "
        f"{len(data['bad_lines'])} bad lines{_undecided(data['undecided'])}.",
        f"{'':16} {'base':>24} {'version':>24} {'better by':>24}",
    ]
    for name, sides in found["measures"].items():
        cells = [_cell(sides.get("base")), _cell(sides.get("version")), _cell(found["changes"].get(name), "+")]
        lines.append(f"{name:16} " + " ".join(f"{cell:>24}" for cell in cells))
    return lines


def _undecided(counts: dict[str, int]) -> str:
    if not counts:
        return ""
    return "; neither good nor bad: " + ", ".join(f"{count} {rule}" for rule, count in sorted(counts.items()))


def _cell(one: dict[str, Any] | None, sign: str = "") -> str:
    if one is None or one["mean"] is None:
        return ""
    shown = f"{one['mean']:{sign}.3f}"
    return shown if one["low"] is None else f"{shown} ({one['low']:{sign}.2f}, {one['high']:{sign}.2f})"
