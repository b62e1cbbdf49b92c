"""Knowing a model's files again, wherever they lie and whenever they were copied."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

_EDGE = 2**20  # bytes at each end of a file by which it is known


def print_of(folder: Path) -> dict[str, str]:
    """Know a model's files by their size and the bytes at either end: those of a large one take minutes to read."""
    found = {}
    for file in sorted(folder.iterdir()):
        if file.suffix not in (".json", ".safetensors", ".jinja", ".model") or not file.is_file():
            continue
        with file.open("rb") as opened:
            size = file.stat().st_size
            known = hashlib.sha256(str(size).encode() + opened.read(_EDGE))
            opened.seek(max(0, size - _EDGE))
            known.update(opened.read())
        found[file.name] = known.hexdigest()
    return found


def differing(known: Mapping[str, str], seen: Mapping[str, str]) -> list[str]:
    """Name the files by which a model is not the one that was known.

    Other programs leave a .json of their own beside a model, and a person may set eos_token_id in
    generation_config.json: neither makes it another model.
    """
    return [
        name
        for name in sorted({*known, *seen})
        if known.get(name) != seen.get(name)
        and name != "generation_config.json"
        and not (name not in known and name.endswith(".json"))
    ]
