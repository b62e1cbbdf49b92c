"""A reply's text as it grows token by token."""

from collections.abc import Callable, Sequence

_HALF_A_CHARACTER = "\ufffd"


class Growing:
    """Turns tokens into text without decoding all of it again for each.

    A few tokens before the new ones are decoded with them, since a token's text may depend on the one before it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], ids: Sequence[int]):
        """`ids` are tokens that the text begins with."""
        self._decode, self._ids = decode, list(ids)
        self._from, self._to = 0, len(self._ids)  # tokens decoded for context; all before the second are in the text
        self.text = decode(self._ids) if ids else ""

    def add(self, token: int) -> bool:
        """Take a token; say whether the text grew. Half a character is held back until it is whole."""
        self._ids.append(token)
        before, after = self._decode(self._ids[self._from : self._to]), self._decode(self._ids[self._from :])
        if len(after) <= len(before) or after.endswith(_HALF_A_CHARACTER):
            return False
        self.text += after[len(before) :]
        self._from, self._to = self._to, len(self._ids)
        return True

    def whole(self) -> str:
        """Return the text at the end, without half a character."""
        text = self._decode(self._ids).rstrip(_HALF_A_CHARACTER)
        return text if text.startswith(self.text) else self.text
