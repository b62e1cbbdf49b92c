"""Which messages are given to a model that cannot read all of them."""

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
