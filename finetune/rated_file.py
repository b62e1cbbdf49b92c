"""Any file of rated conversations as pairs to measure a version on; nothing of it reaches the record."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from feedback.errors import BadInput
from feedback.formats import BadLine, Incoming, IncomingMessage, read_lines
from finetune.model import ChatTemplate, TemplateRefuses
from finetune.pairs import TrainingPair


@dataclass
class RatedFile:
    """The pairs of a file, its bad lines, and how many replies the model cannot take: too long, or refused."""

    pairs: list[TrainingPair] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)
    left_out: int = 0


def read_rated(path: Path) -> RatedFile:
    """Read a file in any format that `python -m feedback import` takes. Raises BadInput.

    A reply that several lines hold counts once for each way in which it is meant.
    """
    found, seen = RatedFile(), set()
    try:
        with path.open("rb") as lines:
            for _, parsed in read_lines(lines):
                if isinstance(parsed, BadLine):
                    found.bad.append(parsed)
                    continue
                for pair in rated_pairs(parsed):
                    key = (pair.prompt, pair.completion, pair.kind)
                    if key not in seen:
                        found.pairs.append(pair)
                    seen.add(key)
    except OSError as error:
        raise BadInput(f"The file {str(path)!r} cannot be read: {error.strerror}.") from error
    if not found.pairs:
        raise BadInput(
            f"The file {str(path)!r} holds no reply with a thumb, a correction or a preference{_unusable(found.bad)}."
        )
    return found


def fitting(rated: RatedFile, template: ChatTemplate) -> RatedFile:
    """Leave out what the model cannot take. Raises BadInput if nothing is left."""
    pairs = [pair for pair in rated.pairs if _fits(pair, template)]
    if not pairs:
        raise BadInput(
            f"No rated reply of the file fits the model, which takes {template.context:,} tokens with what was said "
            "before; give a file with shorter ones."
        )
    return RatedFile(pairs, rated.bad, len(rated.pairs) - len(pairs))


def _unusable(bad: list[BadLine]) -> str:
    if not bad:
        return ""
    counted = "1 line was" if len(bad) == 1 else f"{len(bad):,} lines were"
    return f"; {counted} unusable, the first of them line {bad[0].number}: {bad[0].reason}"


def rated_pairs(incoming: Incoming) -> Iterator[TrainingPair]:
    """Give the good and bad replies of one line: corrections and what they replaced, thumbs, preferences."""
    told: list[tuple[str, str]] = []
    chosen, discarded = ({pair[side] for pair in incoming.preferences} for side in (0, 1))
    for place, message in enumerate(incoming.messages):
        if message.role == "assistant":
            yield from _of_reply(incoming, place, message, tuple(told), chosen, discarded)
        shown = message.correction if message.correction_shown and message.correction else message.content
        told.append((message.role, shown))


def _of_reply(
    incoming: Incoming,
    place: int,
    message: IncomingMessage,
    prompt: tuple[tuple[str, str], ...],
    chosen: set[str],
    discarded: set[str],
) -> Iterator[TrainingPair]:
    def pair(kind: str, good: bool, text: str = message.content) -> TrainingPair:
        ends = text is not message.content or message.finish == "end"
        name = message.id or f"{incoming.conversation_id}/{place}"
        instead = message.correction if kind == "corrected" else None
        return TrainingPair(name, incoming.conversation_id, prompt, text, ends, kind, None, 1.0, good, instead)

    if message.correction is not None:
        yield pair("correction", True, message.correction)
    if not message.content.strip():
        return
    if message.correction is not None:
        yield pair("corrected", False)
    elif message.review == "approved" or message.rating == 1:
        yield pair("approved" if message.review == "approved" else "thumb_up", True)
    elif message.rating == -1:
        yield pair("thumb_down", False)
    if message.id in chosen:
        yield pair("chosen", True)
    if message.id in discarded:
        yield pair("discarded", False)


def _fits(pair: TrainingPair, template: ChatTemplate) -> bool:
    try:
        return len(template.pair(pair.prompt, pair.completion, pair.ends).ids) <= template.context
    except TemplateRefuses:
        return False
