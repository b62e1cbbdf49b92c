"""Which messages are given to a model that cannot read all of them."""

from collections.abc import Callable, Sequence

Messages = Sequence[tuple[str, str]]


def fit(messages: Messages, count: Callable[[Messages], int], room: int) -> tuple[list[int], int]:
    """Leave out the oldest messages until the rest counts at most `room` tokens, or only one is left.

    Returns the places kept and what they count.
    """
    kept = list(range(len(messages)))
    while True:
        tokens = count([messages[place] for place in kept])
        fewer = without_oldest(messages, kept)
        if tokens <= room or fewer is None:
            return kept, tokens
        kept = fewer


def without_oldest(messages: Messages, kept: Sequence[int]) -> list[int] | None:
    """Leave out an eighth of the messages kept, oldest first; None when only the last one is left.

    A system message in front stays, and what is left does not begin with a reply.
    """
    fixed = [place for place in kept[:1] if messages[place][0] == "system"]
    rest = list(kept[len(fixed) :])
    if len(rest) <= 1:
        return None
    rest = rest[max(1, len(rest) // 8) :]
    while len(rest) > 1 and messages[rest[0]][0] == "assistant":
        rest = rest[1:]
    return fixed + rest


def joined(messages: Messages) -> list[tuple[str, str]]:
    """Join neighbours of one role into one message, for templates that want roles to take turns."""
    result: list[tuple[str, str]] = []
    for role, content in messages:
        if result and result[-1][0] == role:
            result[-1] = (role, result[-1][1] + "\n\n" + content)
        else:
            result.append((role, content))
    return result
