"""Which messages are given to a model that cannot read all of them."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from chatui.engine.protocol import EngineError

Messages = Sequence[tuple[str, str]]


def share(
    messages: Messages, count: Callable[[Messages], int], context: int, most: int, begun: int = 0
) -> tuple[list[int], int, int]:
    """Share the `context` tokens that a model reads between messages and at most `most` that it may write.

    The reply has `begun` tokens already; of what they leave, half is for the messages. Returns the places of the
    messages kept, what they count, and how many tokens may be written.

    Raises EngineError when the last message alone does not fit, or a reply that was begun fills all there is.
    """
    most = min(most, (context - begun) // 2)
    kept, tokens = fit(messages, count, context - begun - most)
    if begun:
        # These messages were answered once: to write less is better than to say now that one is too long.
        most = min(most, context - begun - tokens)
        if most < 1:
            raise EngineError(too_long_to_go_on(context))
    elif tokens > context - most:
        raise EngineError(
            f"The message has {tokens:,} tokens with its frame; the model reads at most {context - most:,}: shorten it."
        )
    return kept, tokens, most


def too_long_to_go_on(context: int | None) -> str:
    """Say that nothing can be added to a reply; `context` is how many tokens are read, None if that is not known."""
    reads = f" ({context:,} tokens with the message before it)" if context else ""
    return f"The reply is as long as the model can read{reads}; it cannot go on."


def fit(messages: Messages, count: Callable[[Messages], int], room: int) -> tuple[list[int], int]:
    """Leave out the oldest turns until the rest counts at most `room` tokens, or only the last message is left.

    A system message in front stays, and what is left does not begin with a reply. Returns the places kept and what
    they count.
    """
    everything = list(range(len(messages)))
    tokens = count(messages)
    if tokens <= room or len(messages) < 2:
        return everything, tokens
    fixed = everything[:1] if messages[0][0] == "system" else []
    last = len(messages) - 1
    starts = [place for place in everything[len(fixed) :] if place == last or messages[place][0] != "assistant"]

    def kept_from(turn: int) -> list[int]:
        return fixed + everything[starts[turn] :]

    def fits(turn: int) -> bool:
        return count([messages[place] for place in kept_from(turn)]) <= room

    first = bisect_left(range(len(starts) - 1), True, key=fits)
    kept = kept_from(_lasting(first, len(starts)))
    return kept, count([messages[place] for place in kept])


def _lasting(first: int, turns: int) -> int:
    """Choose where to begin, at most a quarter of the turns beyond the `first` that fits, so that it lasts.

    What begins elsewhere than the turn before has to be read again from its beginning. So it is the turn that most
    powers of two divide: it stays while `first` moves on, until it fits no more or a rounder one comes into reach.
    """
    return max(range(first, first + (turns - first) // 4 + 1), key=lambda turn: turn & -turn)


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
