"""Whether two prompts ask nearly the same: half of the shorter one's words with content, two of them at least."""

_EMPTY_WORDS = """
a about an and are at be best between by can describe do does for from give good help how i in is it list make me most
my name of on one or sentence sentences short so tell that the this three to two was were what when where which who why
with write you your
"""
_EMPTY = frozenset(_EMPTY_WORDS.split())


def content(text: str) -> frozenset[str]:
    """Return a text's words with content, plurals as their singular."""
    plain = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return frozenset(word.rstrip("s") for word in plain if word not in _EMPTY)


def near(one: str, other: str) -> bool:
    """Tell whether two prompts ask nearly the same."""
    first, second = content(one), content(other)
    shared = len(first & second)
    return shared >= max(1, min(2, len(first), len(second))) and 2 * shared >= min(len(first), len(second))
