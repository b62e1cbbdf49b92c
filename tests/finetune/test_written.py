from pathlib import Path

import pytest
import torch

from finetune import written
from finetune.model import load_base
from finetune.written import Written, distinct, write


def test_several_written_at_once_are_what_each_would_be_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_base(tiny, dtype=torch.float32, device=torch.device("cpu"))
    prompts = [(("user", text),) for text in ("hello", "a longer question", "hi", "what is it?", "the quick fox")]
    monkeypatch.setattr(written, "_TOKENS", 40)  # two or three rows
    together = write(loaded, prompts, 8)
    assert together == [write(loaded, [prompt], 8)[0] for prompt in prompts]
    assert all(len(reply.ids) <= 8 for reply in together)


@pytest.mark.parametrize(
    ("ids", "share"), [((1, 2, 3), 0.0), ((1, 2, 3, 4, 5), 0.0), ((1,) * 8, 0.8), ((1, 2, 3, 4) * 2, 0.2)]
)
def test_repeated_word_groups(ids: tuple[int, ...], share: float) -> None:
    assert Written("", ids, True).repeated == pytest.approx(share)


def test_replies_that_are_all_alike_are_not_distinct() -> None:
    assert distinct([(1, 2, 3), (4, 5, 6)]) == 1.0
    assert distinct([(1, 2, 3)] * 4) == 0.25
    assert distinct([]) == 1.0


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I\u2019m sorry, but that is nothing I do.", True),
        ("I cannot help you with that.", True),
        ("", True),
        ("Sure, first you take a hammer.", False),
    ],
)
def test_what_declines(text: str, refuses: bool) -> None:
    assert Written(text, (), True).refuses == refuses
