"""Characters that a server cuts in two.

JSON writes a character beyond U+FFFF as two halves (surrogates). A server that ends a piece of text between them sends
one half in each, and a text that holds a half alone can be neither kept nor sent.
"""

_FIRST = ("\ud800", "\udbff")  # of the two; the others are the second


class Halves:
    """Joins the halves of characters over the pieces of a text."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._held = ""

    def add(self, piece: str) -> str:
        """Return what is certain of the text with this piece: a first half at its end is held back."""
        text, self._held = self._held + piece, ""
        if text and _FIRST[0] <= text[-1] <= _FIRST[1]:
            text, self._held = text[:-1], text[-1]
        return whole(text)

    def rest(self) -> str:
        """Return what stands for a half that was held back when nothing more comes."""
        held, self._held = self._held, ""
        return whole(held)


def whole(text: str) -> str:
    """Join halves that stand beside each other; U+FFFD stands for each that has no other."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
