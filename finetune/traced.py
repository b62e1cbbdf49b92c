"""What feedback reached, and what was taken back after a version saw it, as lines to read."""

from collections.abc import Iterator
from typing import Any

from feedback.lineage import Trace
from finetune.pairs import RULES

_SHOWN = 50  # ratings and pairs told one by one; JSON has all
_REACHED = {"train": "trained on", "validation": "steered the training", "held_out": "held out", "rejected": "rejected"}
RETRAIN = "python -m finetune retrain --force"


def trace_lines(found: Trace) -> Iterator[str]:
    """Write a trace, what was given first and what serves last."""
    yield from _some("Ratings", [_rating(r) for r in found["ratings"]], "No rating.")
    pairs = [_pair(p) for p in found["pairs"]]
    yield from _some("Pairs", pairs, "Not in any dataset yet; `python -m finetune pairs --explain` tells what is next.")
    yield from _some("Datasets", [_dataset(d) for d in found["datasets"]])
    yield from _some("Runs", [f"run {r['run']}: {r['status']}. {r['reason']}".rstrip() for r in found["runs"]])
    yield from _some("Versions", [_version(v) for v in found["versions"]])
    yield from _remedy([v["clean"] for v in found["versions"] if v["revoked"]])


def revoked_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Write what was taken back with the versions that saw it, and how to make one without it."""
    if not rows:
        yield "Nothing that a version was trained on was taken back."
        return
    for row in rows:
        about = f" of conversation {row['conversation']}" if row["what"] != "conversation" else ""
        yield f"{_done(row['what'])} {row['at']}: {row['what']} {row[row['what']]}{about}"
        for version in row["versions"]:
            yield f"    version {version['version']} was trained on it{', and serves' if version['serves'] else ''}"
        if row["clean"]:
            yield f"    made since, without it: {_numbers(row['clean'])}"
    yield from _remedy([row["clean"] for row in rows])


def _remedy(clean: list[list[int]]) -> Iterator[str]:
    """Tell how to make a version that saw nothing of what was taken back, unless there is one."""
    if not clean:
        return
    of_all = sorted(set.intersection(*map(set, clean)))
    if of_all:
        yield f"Without any of what was taken back: version {_numbers(of_all)}."
    else:
        yield f"Each run learns anew, from the base model, what stands in the record; without this: `{RETRAIN}`."


def _some(title: str, lines: list[str], none: str = "") -> Iterator[str]:
    if lines or none:
        yield f"{title}:"
    yield from (f"    {line}" for line in lines[:_SHOWN] or [none] if line)
    if len(lines) > _SHOWN:
        yield f"    and {len(lines) - _SHOWN:,} more; --json has all"


def _rating(row: dict[str, Any]) -> str:
    value = {1: "up", -1: "down", 0: "taken back"}[row["value"]]
    deleted = " (its conversation is deleted)" if row["conversation_deleted"] else ""
    return (
        f"rating {row['rating']}: {value}, by {row['rater']} on reply {row['message']}, "
        f"given {row['given_at']}, last changed {row['changed_at']}{deleted}"
    )


def _pair(row: dict[str, Any]) -> str:
    said = _REACHED[row["split"]]
    if row["rule"]:
        said += f" by {row['rule']} ({RULES.get(row['rule'], 'a rule that is gone')})"
    else:
        said += f" as {row['kind']}, weight {row['weight']:g}"
    if row["correction"]:
        said += f", correction {row['correction']}"
    for one in row["ratings"]:
        if one["value"] != one["now"]:
            said += f"; rating {one['rating']} was {one['value']:+d} then, and is {one['now']:+d} now"
    if "correction" in row["changed"]:
        said += "; that is not the correction any more"
    if "choice" in row["changed"]:
        said += "; that choice was turned round since"
    for what in row["revoked"]:
        said += f"; {_done(what).lower()} since: its {what}"
    return f"run {row['run']}, dataset {row['dataset']}, reply {row['message']}: {said}"


def _dataset(row: dict[str, Any]) -> str:
    pairs = ", ".join(f"{count:,} {split}" for split, count in sorted(row["pairs"].items())) or "no pairs"
    return f"dataset {row['dataset']} of run {row['run']}, read {row['created_at']}: {pairs}"


def _version(row: dict[str, Any]) -> str:
    said = f"version {row['version']} of run {row['run']}: {row['verdict']}"
    if row["reached"]:
        said += f"; {', '.join(_REACHED[split] for split in row['reached'])}"
    if row["revoked"]:
        said += f"; was trained on what was taken back ({', '.join(row['revoked'])})"
    if row["clean"]:
        said += f"; made since, without it: {_numbers(row['clean'])}"
    times = [f"{t['since']} to {t['until'] or 'now'} ({t['share']:.0%})" for t in row["served"]]
    return said + (f"; served {', '.join(times)}" if times else "; never served")


def _done(what: str) -> str:
    return "Deleted" if what == "conversation" else "Taken back"


def _numbers(versions: list[int]) -> str:
    return ", ".join(map(str, versions))
