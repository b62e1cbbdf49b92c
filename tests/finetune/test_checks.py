from pathlib import Path

import pytest

from finetune import checks as checking
from finetune.checks import Checks, checks_in
from finetune.model import load_template

TEXTS = [((("user", f"question {n}"),), f"answer {n}", True) for n in range(5)]


@pytest.fixture(scope="module")
def template(tiny: Path):
    return load_template(tiny)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is looked at anew."""
    seen: list[str] = []
    plain = checking.repeats

    def repeats(text: str) -> bool:
        seen.append(text)
        return plain(text)

    monkeypatch.setattr(checking, "repeats", repeats)
    return seen


def test_what_was_checked_is_not_checked_again(template, tmp_path: Path, counted: list[str]) -> None:
    with checks_in(tmp_path / "checks.db", template, writes=True) as checks:
        first = checks.of(TEXTS)
    assert len(counted) == 5
    with checks_in(tmp_path / "checks.db", template, writes=True) as checks:
        again = checks.of([*TEXTS, ((("user", "new"),), "new", True)])
    assert counted[5:] == ["new"]
    assert again[: len(first)] == first


def test_what_is_not_asked_for_any_more_is_forgotten(template, tmp_path: Path, counted: list[str]) -> None:
    for texts in (TEXTS, TEXTS[:1], TEXTS):
        with checks_in(tmp_path / "checks.db", template, writes=True) as checks:
            checks.of(texts)
    assert len(counted) == 5 + 4


def test_whoever_only_looks_leaves_the_file_as_it_is(template, tmp_path: Path, counted: list[str]) -> None:
    file = tmp_path / "checks.db"
    with checks_in(file, template, writes=False) as checks:
        checks.of(TEXTS)
    assert not file.exists()
    with checks_in(file, template, writes=True) as checks:
        checks.of(TEXTS)
    before = file.read_bytes()
    with checks_in(file, template, writes=False) as checks:
        checks.of([*TEXTS, ((("user", "new"),), "new", True)])
    assert counted[10:] == ["new"]
    assert file.read_bytes() == before


def test_another_template_is_asked_itself(template, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "checks.db"
    longer = load_template(tiny)
    longer.tokenizer.chat_template += "{{ 'more' }}"
    with checks_in(file, template, writes=True) as checks:
        (short,) = checks.of(TEXTS[:1])
    with checks_in(file, longer, writes=True) as checks:
        (long,) = checks.of(TEXTS[:1])
    assert long.tokens > short.tokens


def test_what_the_template_refuses_has_no_length(template) -> None:
    (refused,) = Checks(template).of([((("assistant", "hi"), ("user", "x")), "y", True)])
    assert refused.tokens is None
