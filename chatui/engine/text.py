"""A reply's text as it grows, by a token or by many at once."""

from collections.abc import Callable, Sequence

_HALF_A_CHARACTER = "\ufffd"


class Growing:
    """Turns tokens into text without decoding all of it again each time.

    A few tokens before the new ones are decoded with them, since a token's text may depend on the one before it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], ids: Sequence[int]):
        """`ids` are tokens that the text begins with."""
        self._decode, self._ids = decode, list(ids)
        self._from, self._to = 0, len(self._ids)  # tokens decoded for context; all before the second are in the text
        self.text = decode(self._ids) if ids else ""

    def add(self, tokens: Sequence[int]) -> bool:
        """Take tokens; say whether the text grew. Half a character is held back until it is whole."""
        known = len(self._ids)
        self._ids += tokens
        before = self._decode(self._ids[self._from : self._to])
        # What ends in half a character is looked at without its last token, until it ends in a whole one.
        for end in range(len(self._ids), known, -1):
            after = self._decode(self._ids[self._from : end])
            if len(after) > len(before) and not after.endswith(_HALF_A_CHARACTER):
                self.text += after[len(before) :]
                self._from, self._to = self._to, end
                return True
        return False

    def whole(self) -> str:
        """Return the text at the end, without half a character."""
        text = self._decode(self._ids).rstrip(_HALF_A_CHARACTER)
        return text if text.startswith(self.text) else self.text
