"""Held-out conversations that bear witness together: those that ask nearly the same, as the split judges it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from finetune.alike import digest, signature
from finetune.asides import asides
from finetune.openings import Prompt, openings
from finetune.pairs import TrainingPair
from finetune.splits import Question, asked_last, groups, question, questions_by_conversation


def by_question(pairs: Sequence[TrainingPair]) -> list[TrainingPair]:
    """Give the pairs of conversations that share a question one conversation id, that of their group.

    Pairs that know no group (a dataset of an earlier version has none) are grouped by what they ask themselves.
    """
    known = pairs if all(pair.group for pair in pairs) else grouped(pairs)
    return [replace(pair, conversation_id=pair.group or pair.conversation_id) for pair in known]


def grouped(pairs: Sequence[TrainingPair]) -> list[TrainingPair]:
    """Name the group of each pair; a conversation that asks nothing which can be understood by itself stays alone.

    Fixed openings and messages that say nothing by themselves are told by these pairs alone.
    """
    fixed = openings([pair.prompt for pair in pairs])
    prompts = [fixed.left_out_of(pair.prompt) for pair in pairs]
    nothing = asides(prompts)
    asked = {conversation: frozenset[int]() for conversation in dict.fromkeys(pair.conversation_id for pair in pairs)}
    asked |= questions_by_conversation(_questions(pairs, [tuple(nothing.left_out_of(prompt)) for prompt in prompts]))
    return in_groups(pairs, asked)


def in_groups(pairs: Sequence[TrainingPair], asked: Mapping[str, Collection[int]]) -> list[TrainingPair]:
    """Name the group of each pair, by the first of its conversations; `asked` are the numbers of their questions."""
    first = {conversation: group[0] for group in groups(asked) for conversation in group}
    return [replace(pair, group=first[pair.conversation_id]) for pair in pairs]


def _questions(pairs: Sequence[TrainingPair], prompts: Sequence[Prompt]) -> list[Question]:
    """Tell what conversations ask, in all and last; `prompts` are those of the pairs, without what says nothing."""
    found: dict[tuple[str, str], Question] = {}
    for pair, prompt in zip(pairs, prompts, strict=True):
        for said in (question(prompt), asked_last(prompt)):
            key = pair.conversation_id, digest(said)
            if said and key not in found:
                found[key] = Question(*key, signature(said))
    return list(found.values())
