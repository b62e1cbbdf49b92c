"""Corrections that answer another question than their own: rows that slipped in a file, or a rater who mixed two up.

Where what is held out is right, no held-out reply tells of them. The base model does: it finds such an answer much
likelier after the question that it belongs to, and the two answers likelier in each other's place. Asked are only the
few questions that share rarer words with the answer than its own question does, and do not say it already ("Mira Voss."
is likely after "What is Mira Voss's extension?", whatever was asked), so that it costs little where all is in order.
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
_NEW_WORDS = 2  # of the answer, that the other question does not say
_MUCH, _BETTER = 0.5, 0.25  # nats a token: of the answer elsewhere, and of both answers the other way round


@dataclass(frozen=True)
class Taught:
    """How many corrections were looked at, and which of them suit another question better: by name, never in words.

    What the gate says is kept with the version and handed to trackers, and outlives a conversation that is deleted.
    """

    corrections: int = 0
    misplaced: tuple[str, ...] = ()  # message ids

    @property
    def share(self) -> float:
        """Return the share that suits another question; not a number where there is no correction."""
        return len(self.misplaced) / self.corrections if self.corrections else math.nan


def look_at(pairs: Sequence[TrainingPair], score: Callable[[Sequence[Said]], Sequence[Score]]) -> Taught:
    """Look at the corrections of a run; `score` gives the base model's losses, and is not called without need."""
    corrections = [pair for pair in pairs if pair.kind == "correction"]
    picked = corrections[:: -(-len(corrections) // _LOOKED_AT) or 1]
    asked = [(pair, other) for pair, others in _with_others(picked, corrections) for other in others]
    said = [Said(at.prompt, answer.completion, answer.ends) for both in asked for answer in both for at in both]
    losses = [one.loss for one in score(said)] if said else []
    found = []
    for place, (pair, _) in enumerate(asked):
        own, elsewhere, others_here, others_own = losses[4 * place : 4 * place + 4]
        gained = own - elsewhere
        if gained > _MUCH and gained + others_own - others_here > _BETTER:
            found.append(pair.message_id)
    return Taught(len(picked), tuple(dict.fromkeys(found)))


def _with_others(
    picked: Sequence[TrainingPair], corrections: Sequence[TrainingPair]
) -> Iterator[tuple[TrainingPair, list[TrainingPair]]]:
    """Yield the corrections that other questions share rarer words with, and the corrections of those questions."""
    questions = {_question(pair): pair for pair in corrections}
    told = {question: frozenset(words(question)) for question in questions}
    counts = Counter(word for one in told.values() for word in one)
    # A word of half of all questions tells nothing, and is in too many.
    rare = {word: math.log(len(told) / many) for word, many in counts.items() if 2 * many < len(told)}
    asking = defaultdict(list)
    for question, its in told.items():
        for word in its & rare.keys():
            asking[word].append(question)
    for pair in picked:
        said, shared = frozenset(words(pair.completion)), defaultdict[str, float](float)
        for word in sorted(said & rare.keys()):
            for question in asking[word]:
                shared[question] += rare[word]
        own = shared.get(_question(pair), 0.0)
        closer = sorted((weight, question) for question, weight in shared.items() if weight > own)[::-1]
        others = [
            questions[question]
            for _, question in closer
            if questions[question].completion != pair.completion and len(said - told[question]) >= _NEW_WORDS
        ]
        if others:
            yield pair, others[:_OTHERS]


def _question(pair: TrainingPair) -> str:
    return next((content for role, content in reversed(pair.prompt) if role == "user"), "")
