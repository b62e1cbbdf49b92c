"""Making a prompt fit the model's context: the oldest messages are left out first, a system message in front never."""

from collections.abc import Sequence
from dataclasses import dataclass

from chatui.engine.protocol import EngineError
from chatui.engine.window import share
from chatui.needs import Template


@dataclass(frozen=True)
class Prompt:
    """What a model is given: token ids, the places of the messages in them, and how much it may write.

    The last `begun` tokens are the beginning of the reply itself.
    """

    ids: list[int]
    kept: list[int]
    most: int
    begun: int


def fit_prompt(template: Template, messages: Sequence[tuple[str, str]], max_new_tokens: int, begun: str = "") -> Prompt:
    """Encode (role, content) messages and the beginning of the reply. Raises EngineError where that cannot fit."""
    for text in (begun, *(part for message in messages for part in message)):
        _check_readable(text)
    beginning = template.encode(begun)
    kept, tokens, most = share(
        messages, lambda some: len(_prompt(template, some)), template.context, max_new_tokens, len(beginning)
    )
    if not tokens:
        raise EngineError("There is nothing to reply to; say something first.")
    return Prompt(_prompt(template, [messages[place] for place in kept]) + beginning, kept, most, len(beginning))


def _prompt(template: Template, messages: Sequence[tuple[str, str]]) -> list[int]:
    try:
        return template.prompt(messages)
    # A stranger's chat template is a program; whatever it raises is the reader's notice.
    except Exception as error:
        raise EngineError(str(error)) from error


def _check_readable(text: str) -> None:
    try:
        text.encode()
    except (UnicodeEncodeError, AttributeError):
        raise EngineError(
            "A message is no text, or holds half a character (a lone surrogate); write it anew."
        ) from None
