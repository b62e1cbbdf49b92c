"""Held-out conversations that bear witness together: those that ask nearly the same, as the split judges it."""

from collections.abc import Sequence
from dataclasses import replace

from finetune.alike import digest, signature
from finetune.pairs import TrainingPair
from finetune.splits import Question, asked_last, groups, question, questions_by_conversation


def by_question(pairs: Sequence[TrainingPair]) -> list[TrainingPair]:
    """Give the pairs of conversations that share a question one conversation id, that of the first of them.

    A conversation that asks nothing which can be understood by itself stays alone.
    """
    asked = {conversation: frozenset[int]() for conversation in dict.fromkeys(pair.conversation_id for pair in pairs)}
    asked |= questions_by_conversation(_questions(pairs))
    first = {conversation: group[0] for group in groups(asked) for conversation in group}
    return [replace(pair, conversation_id=first[pair.conversation_id]) for pair in pairs]


def _questions(pairs: Sequence[TrainingPair]) -> list[Question]:
    """Tell what conversations ask, in all and last."""
    found: dict[tuple[str, str], Question] = {}
    for pair in pairs:
        for said in (question(pair.prompt), asked_last(pair.prompt)):
            key = pair.conversation_id, digest(said)
            if said and key not in found:
                found[key] = Question(*key, signature(said))
    return list(found.values())
