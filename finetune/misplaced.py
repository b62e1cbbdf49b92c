"""Corrections that answer another question than their own: rows that slipped in a file, or a rater who mixed two up.

Where what is held out is right, no held-out reply tells of them. The base model does: it finds such an answer much
likelier after the question that it belongs to. Asked are only the few questions that share rarer words with the answer
than its own question does, so that it costs next to nothing where all is in order.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from finetune.alike import words
from finetune.likelihood import Said, Score
from finetune.pairs import TrainingPair

_LOOKED_AT = 100  # corrections, evenly picked, so that a large record takes no longer
_OTHERS = 2  # other questions for each
_MUCH = 0.5  # nats a token; of 232 right ones none was likelier by more than 0.25 elsewhere
_QUOTED = 80  # characters


@dataclass(frozen=True)
class Taught:
    """How many corrections were looked at, which of them suit another question better, and the question of one."""

    corrections: int = 0
    misplaced: tuple[str, ...] = ()  # message ids
    example: str = ""

    @property
    def share(self) -> float:
        """Return the share that suits another question; not a number where there is no correction."""
        return len(self.misplaced) / self.corrections if self.corrections else math.nan


def look_at(pairs: Sequence[TrainingPair], score: Callable[[Sequence[Said]], Sequence[Score]]) -> Taught:
    """Look at the corrections of a run; `score` gives the base model's losses, and is not called without need."""
    corrections = [pair for pair in pairs if pair.kind == "correction"]
    picked = corrections[:: -(-len(corrections) // _LOOKED_AT) or 1]
    asked = list(_with_others(picked, corrections))
    said = [Said(prompt, pair.completion, pair.ends) for pair, prompts in asked for prompt in prompts]
    losses = iter([one.loss for one in score(said)] if said else [])
    found = []
    for pair, prompts in asked:
        own, *others = (next(losses) for _ in prompts)
        if own - min(others) > _MUCH:
            found.append(pair)
    example = " ".join(_question(found[0]).split())[:_QUOTED] if found else ""
    return Taught(len(picked), tuple(pair.message_id for pair in found), example)


def _with_others(
    picked: Sequence[TrainingPair], corrections: Sequence[TrainingPair]
) -> Iterator[tuple[TrainingPair, list[tuple[tuple[str, str], ...]]]]:
    """Yield the corrections that other questions share rarer words with, their own prompt and then those others'."""
    questions = {_question(pair): pair for pair in corrections}
    told = {question: set(words(question)) for question in questions}
    counts = Counter(word for one in told.values() for word in one)
    rare = {word: math.log(len(told) / many) for word, many in counts.items()}
    asking = defaultdict(list)
    for question, its in told.items():
        for word in its:
            if rare[word] > math.log(2):  # a word of half of all questions tells nothing, and is in too many
                asking[word].append(question)
    for pair in picked:
        said = set(words(pair.completion))
        shared: Counter[str] = Counter()
        for word in sorted(said & asking.keys()):
            for question in asking[word]:
                shared[question] += rare[word]  # type: ignore[assignment]  # a Counter sums what it is given
        own = shared[_question(pair)]
        others = [question for question, weight in shared.most_common() if weight > own]
        others = [question for question in others if questions[question].completion != pair.completion][:_OTHERS]
        if others:
            yield pair, [pair.prompt, *(questions[question].prompt for question in others)]


def _question(pair: TrainingPair) -> str:
    return next((content for role, content in reversed(pair.prompt) if role == "user"), "")
