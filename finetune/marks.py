"""What is said stays text: a control token's name that someone wrote, as in "What does <|im_end|> mean?", is no token.

The library does the work: names are enclosed in characters of private use before the template is rendered, and what is
enclosed is then encoded as plain text (transformers, `sanitize_control_tokens`).
"""

import re
from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import encode_marked_chat, mark_control_tokens


class Marks:
    """The control tokens of one tokenizer, as they may stand in what is said."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        """Know special tokens, and added ones that the chat template writes; these in a reply are left alone.

        Its model may have written them itself (`<think>`), and must then read them as it wrote them.
        """
        self._tokenizer = tokenizer
        template, added = str(tokenizer.chat_template), tokenizer.added_tokens_decoder.values()
        special = self._tellable(token.content for token in added if token.special)
        written = self._tellable(token.content for token in added if not token.special and token.content in template)
        self._in_reply, self._elsewhere = _any_of(special), _any_of(special + written)

    def are_in(self, messages: Iterable[tuple[str, str]]) -> bool:
        """Tell whether any (role, content) message holds the name of a control token."""
        return any(self._of(role).search(content) for role, content in messages)

    def enclosed(self, messages: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the messages with each such name enclosed."""
        return [(role, mark_control_tokens(content, self._of(role))) for role, content in messages]

    def ids(self, text: str) -> list[int]:
        """Encode a text in which names are enclosed: those as text, all others as tokens."""
        return list(encode_marked_chat(self._tokenizer, text))

    def _of(self, role: str) -> re.Pattern[str]:
        return self._in_reply if role == "assistant" else self._elsewhere

    def _tellable(self, names: Iterable[str]) -> list[str]:
        """Leave out names that a template uses as text (a newline), and those that this tokenizer cannot spell out."""
        return [name for name in names if name.strip() and self._spells(name)]

    def _spells(self, name: str) -> bool:
        try:
            return bool(self.ids(mark_control_tokens(name, _any_of([name]))))
        except ValueError:  # what the library raises where the plain text becomes the token all the same
            return False


def _any_of(names: Sequence[str]) -> re.Pattern[str]:
    """Match any of the names, the longest first; none: nothing."""
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)")
