"""A version's card as text, for `python -m finetune card N`."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from feedback.settings import DataSettings
from feedback.store import Store


def card(store: Store, data: DataSettings, number: int) -> dict[str, Any]:
    """Return what the record knows of a version, and `training`: what its run wrote down beside it. Raises NotFound."""
    found = store.card(number)
    file = data.data_dir / found["path"] / "card.json"
    written = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {**found, "path": str(data.data_dir / found["path"]), "training": written.get("training")}


def lines_of(told: dict[str, Any]) -> Iterator[str]:
    """Write a card as lines of text."""
    made = f", {told['method']}, made by run {told['run']}" if told["run"] is not None else ""
    marks = [mark for mark, on in (("pinned", told["pinned"]), ("folder deleted", told["pruned_at"])) if on]
    yield f"Version {told['version']}: {told['kind']} on {told['base_model']}{made}, {_local(told['created_at'])}"
    yield f"  {told['path']}" + (f" ({', '.join(marks)})" if marks else "")
    if told["slower"]:
        yield "  It cannot be merged into the base's weights, so it replies more slowly than the base does."
    yield f"Verdict: {told['verdict']}. {told['reason']}".rstrip()
    if told["dataset"]:
        yield from _dataset(told["dataset"])
    for name, one in (told["figures"].get("changes") or {}).items():
        yield f"  {name:18} {_figure(one)}"
    yield f"Serves: {told['share']:.0%} of new conversations" if told["share"] else "Serves: not now"
    for spell in told["served"]:
        until = _local(spell["until"]) if spell["until"] else "now"
        yield f"  {_local(spell['since'])} to {until}: {spell['share']:.0%}"
    yield f"Thumbs: {_earned(told['earned'])}"
    for one in told["trials"]:
        yield f"Trial {one['id']}, version {one['candidate']} against {one['against']}: {_trial(one)}"


def _dataset(told: dict[str, Any]) -> Iterator[str]:
    for side, kinds in told["pairs"].items():
        yield f"  {side:10} " + ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    ruled = ", ".join(f"{rule} {count}" for rule, count in told["counts"].items() if count)
    yield f"  by rule: {ruled}"


def _figure(one: dict[str, Any]) -> str:
    if one["mean"] is None:
        return "unknown"
    if one["low"] is None or one["high"] is None:
        return f"{one['mean']:+.3f}"
    return f"{one['mean']:+.3f} (90 % interval {one['low']:+.3f} to {one['high']:+.3f})"


def _earned(told: dict[str, Any]) -> str:
    if told["share"] is None:
        return "none yet"
    return (
        f"{told['up']} up, {told['down']} down in {told['conversations']} conversations: {told['share']:.0%} up "
        f"(90 % interval {told['low']:.0%} to {told['high']:.0%})"
    )


def _trial(one: dict[str, Any]) -> str:
    return f"{one['outcome']}. {one['reason']}" if one["outcome"] else f"goes on, with {one['share']:.0%}"


def _local(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M}"
