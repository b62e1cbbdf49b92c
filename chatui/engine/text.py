"""A reply's text as it grows token by token, and where it must end."""

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


def until_stop(text: str, stops: Sequence[str], since: int) -> tuple[str, bool]:
    """Return the text before the first stop string that begins at `since` or later, and whether there is one.

    Without one, what may yet become the beginning of a stop string is held back.
    """
    found = [place for place in (text.find(stop, since) for stop in stops) if place >= 0]
    if found:
        return text[: min(found)], True
    longest = max((len(stop) for stop in stops), default=0)
    for place in range(max(since, len(text) - longest + 1), len(text)):
        if any(stop.startswith(text[place:]) for stop in stops):
            return text[:place], False
    return text, False
