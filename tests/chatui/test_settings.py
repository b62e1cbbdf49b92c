import argparse

import pytest

from chatui.settings import ChatSettings
from feedback.errors import BadInput


def test_reasons_come_between_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_REASONS_DOWN", "off topic, rude,,rude")
    settings = ChatSettings.given(argparse.Namespace(reasons_up="kind,correct"))
    assert (settings.reasons_up, settings.reasons_down) == (["kind", "correct"], ["off topic", "rude"])


@pytest.mark.parametrize("given", ["", " , ", "x" * 101, ",".join(map(str, range(21)))])
def test_reasons_that_cannot_be_used_are_one_sentence(given: str) -> None:
    with pytest.raises(BadInput, match="--reasons-up .* between commas"):
        ChatSettings.given(reasons_up=given)


def test_a_reply_may_be_left_alone_for_ever() -> None:
    assert ChatSettings.given(end_unfollowed_after="off").unfollowed_s == float("inf")
    assert ChatSettings.given(end_unfollowed_after="30s").unfollowed_s == 30
