"""From raw figures to what is shown and judged: means with intervals of each version, and changes between two.

Every interval is two-sided 90 % and draws whole conversations anew (feedback/statistics.py); those that ask nearly the
same are one if these functions are given the pairs of `witnesses.by_question`. A change is written so that above 0 is
better. Margins and accuracies compare implicit rewards r = log p_version(reply) - log p_base(reply),
in nats a token: the reward that DPO (Rafailov et al., arXiv 2305.18290, equation 5, with beta 1) and KTO (Ethayarajh
et al., arXiv 2402.01306, section 4) read out of a model, here a token so that long replies do not outweigh short ones.
What moves good and bad replies alike, as in a model that has only grown surer of itself, leaves them as they are.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from feedback.statistics import Estimate, area_under_curve, clustered, clustered_mean, wilson
from finetune.likelihood import Score
from finetune.measures import ReplyFigures, VersionFigures, own_pairs
from finetune.pairs import TrainingPair
from finetune.thumbs import DISLIKED, LIKED

# Of kept replies the loss alone is asked: it is in no gain, and whoever talked on loses something by worse ones too.
SOURCES = {"correction": ("correction",), "liked": ("approved", "thumb_up", "kept"), "chosen": ("chosen",)}
_HARDLY = 0.25  # nats a token; a correction that is likelier by less after its own question fits any as well
UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0, 0)


@dataclass(frozen=True)
class Reward:
    """One rated reply: good or bad, its reward under two versions, its log-likelihood a token under the second."""

    good: bool
    before: float
    after: float
    likelihood: float


@dataclass(frozen=True)
class Counts:
    """What became worse between two versions, counted, since of a few replies a share moves by chance.

    `mixed_up`: conversations with a correction that came to fit other questions as well as its own. `foreign`: by how
    many more of the own replies are in another language than people wanted. Of the `answered` general prompts,
    `run_on`: those whose reply ended, and now does not in twice the room; `came_to_end`: the other way round. `rated`:
    conversations with a liked reply, or with a disliked one, whichever are fewer.
    """

    mixed_up: int
    foreign: int
    run_on: int
    came_to_end: int
    answered: int
    rated: int


def values(pairs: Sequence[TrainingPair], base: VersionFigures, ours: VersionFigures) -> dict[str, Estimate]:
    """Return a version's figures by name, see docs/gate.md; one that nothing held out tells of is left out."""
    found = {f"{name}_loss": _losses(pairs, ours, kinds) for name, kinds in SOURCES.items()}
    found["correction_likelihood"] = _of_corrections(pairs, [_likelihood(score) for score in ours.scores])
    found["specific"] = _specific(pairs, _closeness(ours))
    found["end_loss"] = _end_losses(pairs, ours)
    found |= _rated(pairs, base, ours)
    found |= {f"own_{name}": one for name, one in _written(ours.own, own_pairs(pairs, ours.scores)).items()}
    general = ours.general
    found["general_loss"] = _mean(general.loss)
    found["kept_loss"] = _mean(general.kept)
    found["divergence"] = _mean(general.divergence)
    found |= _written(general.written)
    found["distinct_2"] = _known(general.distinct_2, len(general.written))
    found["refusals"] = _share(general.refused)
    found["bias"] = _mean(general.bias)
    return {name: one for name, one in found.items() if math.isfinite(one.mean)}


def changes(
    pairs: Sequence[TrainingPair], base: VersionFigures, before: VersionFigures, after: VersionFigures
) -> dict[str, Estimate]:
    """Return by how much `after` is better than `before`, paired by reply, by name of the figure."""
    found = {}
    for name, kinds in SOURCES.items():
        places = [n for n, pair in enumerate(pairs) if pair.good and pair.kind in kinds]
        gains = [before.scores[n].loss - after.scores[n].loss for n in places]
        found[f"{name}_loss"] = clustered_mean(gains, [pairs[n].conversation_id for n in places])
    gains = [_likelihood(b) - _likelihood(a) for a, b in zip(before.scores, after.scores, strict=True)]
    found["correction_likelihood"] = _of_corrections(pairs, gains)
    both = list(zip(_closeness(before), _closeness(after), strict=True))
    known = [None if was is None or now is None else (was, now) for was, now in both]
    found["specific"] = _specific(pairs, [None if pair is None else pair[1] - pair[0] for pair in known])
    mixed_up = _mixed_up(before, after)
    found["unspecific"] = _specific(pairs, [None if mixed is None else -float(mixed) for mixed in mixed_up])
    ends = [n for n, pair in enumerate(pairs) if pair.good and pair.ends]
    found["end_loss"] = clustered_mean(
        [(before.scores[n].end_loss or 0.0) - (after.scores[n].end_loss or 0.0) for n in ends],
        [pairs[n].conversation_id for n in ends],
    )
    rated = _rewards(pairs, base, before, after)
    found["margin"] = _over(rated, lambda rows: _margin(rows, _after) - _margin(rows, _before))
    found["accuracy"] = _over(rated, lambda rows: _accuracy(rows, _after) - _accuracy(rows, _before))
    found["general_loss"] = _mean([b - a for b, a in zip(before.general.loss, after.general.loss, strict=True)])
    return {name: one for name, one in found.items() if math.isfinite(one.mean)}


def counts(pairs: Sequence[TrainingPair], before: VersionFigures, after: VersionFigures) -> Counts:
    """Count what became worse, reply by reply, from `before` to `after`."""
    mixed_up = zip(pairs, _mixed_up(before, after), strict=True)
    earlier, now = (sum(reply.foreign is True for reply in version.own) for version in (before, after))
    replies = list(zip(before.general.written, after.general.written, strict=True))
    return Counts(
        mixed_up=len({pair.conversation_id for pair, mixed in mixed_up if mixed}),
        foreign=now - earlier,
        run_on=sum(was.ended and bool(now.runs_on) for was, now in replies),
        came_to_end=sum(bool(was.runs_on) and now.ended for was, now in replies),
        answered=len(replies),
        rated=min(rated_conversations(pairs)),
    )


def rated_conversations(pairs: Sequence[TrainingPair]) -> tuple[int, int]:
    """Count the conversations with a good and with a bad reply among those that margins are made of."""
    rated = [pair for pair in pairs if _is_rated(pair)]
    return tuple(len({p.conversation_id for p in rated if p.good == good}) for good in (True, False))  # type: ignore[return-value]


def _is_rated(pair: TrainingPair) -> bool:
    """Tell whether somebody said that the reply is good or bad, as a run's contrast takes it.

    Corrections and what they replaced are judged by their own loss, and would drown every thumb here. Of a kept reply
    nobody said anything.
    """
    return pair.kind in (LIKED if pair.good else DISLIKED)


def _losses(pairs: Sequence[TrainingPair], ours: VersionFigures, kinds: Sequence[str]) -> Estimate:
    places = [n for n, pair in enumerate(pairs) if pair.good and pair.kind in kinds]
    return clustered_mean([ours.scores[n].loss for n in places], [pairs[n].conversation_id for n in places])


def _likelihood(score: Score) -> float:
    """Return the geometric mean of the likelihoods of a reply's tokens, exp(-loss): 1 over its perplexity.

    Between 0 and 1, so that no single conversation outweighs the others: a wrong answer that has only grown surer of
    itself, where neither version would have said the right one, loses next to nothing by it.
    """
    return math.exp(-score.loss)


def _of_corrections(pairs: Sequence[TrainingPair], each: Sequence[float]) -> Estimate:
    places = [n for n, pair in enumerate(pairs) if pair.kind == "correction"]
    return clustered_mean([each[n] for n in places], [pairs[n].conversation_id for n in places])


def _closeness(ours: VersionFigures) -> list[float | None]:
    """Return by how much likelier each correction is after its own prompt than after others, in nats a token.

    An estimate of the pointwise mutual information of reply and prompt, log p(y | x) - log p(y) (Church and Hanks,
    "Word association norms, mutual information, and lexicography", 1990). How likely the wording is by itself
    cancels, so that a model which has only picked up how corrections sound gains nothing.
    """
    both = zip(ours.scores, ours.elsewhere, strict=True)
    return [None if other is None else other - score.loss for score, other in both]


def _mixed_up(before: VersionFigures, after: VersionFigures) -> list[bool | None]:
    both = zip(_closeness(before), _closeness(after), strict=True)
    return [None if was is None or now is None else now < min(was, _HARDLY) for was, now in both]


def _specific(pairs: Sequence[TrainingPair], closeness: Sequence[float | None]) -> Estimate:
    known = [(value, pair.conversation_id) for value, pair in zip(closeness, pairs, strict=True) if value is not None]
    return clustered_mean([value for value, _ in known], [conversation for _, conversation in known])


def _end_losses(pairs: Sequence[TrainingPair], ours: VersionFigures) -> Estimate:
    places = [n for n, pair in enumerate(pairs) if pair.good and pair.ends]
    return clustered_mean([ours.scores[n].end_loss or 0.0 for n in places], [pairs[n].conversation_id for n in places])


def _rated(pairs: Sequence[TrainingPair], base: VersionFigures, ours: VersionFigures) -> dict[str, Estimate]:
    rated = _rewards(pairs, base, base, ours)
    return {
        "margin": _over(rated, lambda rows: _margin(rows, _after)),
        "accuracy": _over(rated, lambda rows: _accuracy(rows, _after)),
        "plain_accuracy": _over(rated, lambda rows: _accuracy(rows, lambda row: row.likelihood)),
        "preferred": _preferred(pairs, base, ours),
    }


def _rewards(
    pairs: Sequence[TrainingPair], base: VersionFigures, before: VersionFigures, after: VersionFigures
) -> list[list[Reward]]:
    """Return the rated replies of each conversation."""
    together: dict[str, list[Reward]] = {}
    for pair, at_base, first, second in zip(pairs, base.scores, before.scores, after.scores, strict=True):
        if _is_rated(pair):
            row = Reward(pair.good, at_base.loss - first.loss, at_base.loss - second.loss, -second.loss)
            together.setdefault(pair.conversation_id, []).append(row)
    return list(together.values())


def _over(rated: Sequence[list[Reward]], statistic: Callable[[Sequence[Reward]], float]) -> Estimate:
    return clustered(rated, statistic) if rated else UNKNOWN


def _before(row: Reward) -> float:
    return row.before


def _after(row: Reward) -> float:
    return row.after


def _margin(rows: Iterable[Reward], of: Callable[[Reward], float]) -> float:
    good, bad = _split(rows, of)
    return fmean(good) - fmean(bad) if good and bad else math.nan


def _accuracy(rows: Iterable[Reward], of: Callable[[Reward], float]) -> float:
    return area_under_curve(*_split(rows, of))


def _split(rows: Iterable[Reward], of: Callable[[Reward], float]) -> tuple[list[float], list[float]]:
    sides: tuple[list[float], list[float]] = ([], [])
    for row in rows:
        sides[not row.good].append(of(row))
    return sides


def _preferred(pairs: Sequence[TrainingPair], base: VersionFigures, ours: VersionFigures) -> Estimate:
    """Of good and bad replies to one and the same prompt: the share in which the good one has the higher reward."""
    gained: dict[tuple[object, ...], tuple[list[float], list[float]]] = {}
    for pair, at_base, score in zip(pairs, base.scores, ours.scores, strict=True):
        if pair.kind == "kept":
            continue  # nobody preferred it
        sides = gained.setdefault((pair.conversation_id, pair.prompt), ([], []))
        sides[not pair.good].append(at_base.loss - score.loss)
    wins = [((good > bad) + (good >= bad)) / 2 for goods, bads in gained.values() for good in goods for bad in bads]
    where = [key[0] for key, (goods, bads) in gained.items() for _ in goods for _ in bads]
    return clustered_mean(wins, where)


def _written(replies: Sequence[ReplyFigures], pairs: Sequence[TrainingPair] = ()) -> dict[str, Estimate]:
    where = [pair.conversation_id for pair in pairs] or list(map(str, range(len(replies))))

    def over(figure: Callable[[ReplyFigures], float]) -> Estimate:
        return clustered_mean([figure(reply) for reply in replies], where)

    found = {
        "stop_rate": _share([reply.ended for reply in replies]),
        "repetition": over(lambda reply: reply.repeated),
        "tokens": over(lambda reply: reply.tokens),
    }
    if not pairs:
        return found
    told = [(float(reply.foreign), one) for reply, one in zip(replies, where, strict=True) if reply.foreign is not None]
    foreign = clustered_mean([value for value, _ in told], [one for _, one in told])
    return found | {"overlap": over(lambda reply: reply.overlap or 0.0), "foreign": foreign}


def _mean(figures: Sequence[float]) -> Estimate:
    return clustered_mean(figures, range(len(figures)))


def _share(told: Sequence[bool]) -> Estimate:
    if not told:
        return UNKNOWN
    return Estimate(sum(told) / len(told), *wilson(sum(told), len(told)), len(told), len(told))


def _known(value: float, n: int) -> Estimate:
    return Estimate(value, math.nan, math.nan, n, n)
