"""Holds the rooms apart: who may import whom, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# room -> what no file in it may import; the longest matching room counts
FORBIDDEN = {
    "feedback": {"torch", "transformers", "peft", "gradio", "chatui", "finetune", "app"},
    "finetune": {"gradio", "chatui", "app"},
    "chatui": {"torch", "transformers", "peft", "finetune", "app"},
    "chatui/engine": {"gradio", "feedback", "finetune", "app"},
}
FILES = sorted(path for room in ("feedback", "finetune", "chatui") for path in (ROOT / room).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level name of everything a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    inside = str(path.parent.relative_to(ROOT))
    room = max((r for r in FORBIDDEN if inside == r or inside.startswith(r + "/")), key=len)
    assert not set(imported(path)) & FORBIDDEN[room]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_relative_slips_past_the_rule(path: Path) -> None:
    levels = [n.level for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
    assert not any(levels)
