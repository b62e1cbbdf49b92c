"""Which characters a record can keep: not NUL, which PostgreSQL refuses, nor half a character, which no file holds.

A half (a lone surrogate) comes of a pair that was cut in two, as JSON can write it: `"\\ud83d"`.
"""

import re

_UNKEPT = re.compile("[\0\ud800-\udfff]")


def unkept(text: str) -> str:
    """Say what a text holds that cannot be kept; nothing if all of it can be."""
    found = _UNKEPT.search(text)
    if found is None:
        return ""
    return "a NUL character" if found[0] == "\0" else "half a character (a lone surrogate)"


def keepable(text: str) -> str:
    """Return a text as it can be kept: without NULs, halves that belong together joined, a lone one made U+FFFD."""
    if not unkept(text):
        return text
    return text.replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
