"""The gate: is the candidate better where people said so, and no worse anywhere else? Words and figures, no model.

See docs/gate.md for every figure and bound.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from feedback.statistics import Estimate, observations_needed
from finetune.bounds import Bound, Measured, bounds_of
from finetune.figures import changes, counts, rated_conversations, values
from finetune.measures import VersionFigures
from finetune.misplaced import Taught
from finetune.pairs import HELD_OUT_SHARE, TrainingPair
from finetune.settings import GateSettings
from finetune.witnesses import by_question

SCHEMA = 3  # of the figures; 2 decided by correction_loss, 1 held the improvement and the general rise alone
DIVERGED = "Training diverged: the candidate gives no finite figures; try a lower --learning-rate."
_VERSIONS = ("base", "serving", "candidate")
_AS_ONE = "Conversations that ask nearly the same count as one."
FEWEST = 3  # held-out conversations; below that no test can tell
_OUT_OF_REACH = 20  # times the conversations of the kind that there are


@dataclass(frozen=True)
class Verdict:
    """What the gate says: promoted or refused, why in a few sentences, and the figures it stands on."""

    verdict: str
    reason: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Compared:
    """Three versions measured on the same held-out pairs, and what the candidate was taught."""

    pairs: Sequence[TrainingPair]
    base: VersionFigures
    serving: VersionFigures
    candidate: VersionFigures
    taught: Taught = field(default_factory=Taught)


def gate(compared: Compared, settings: GateSettings, usable_conversations: int) -> Verdict:
    """Decide on a candidate. A bound that is broken decides, then the evidence that it is better.

    Better means on held-out corrections, by the likelihood of their tokens; where fewer than three conversations hold
    one, by the margin between the replies people liked and those they did not. The loss of liked replies alone shows
    nothing: they are the model's own, and one that has only grown surer of itself finds them likelier.
    Conversations that ask nearly the same are one witness. `usable_conversations` are those that could be learned
    from, held out or not.
    """
    pairs, held = by_question(compared.pairs), {pair.conversation_id for pair in compared.pairs}
    kinds = dict(Counter(pair.kind for pair in pairs))
    measured = {name: values(pairs, compared.base, getattr(compared, name)) for name in _VERSIONS}
    changed = changes(pairs, compared.base, compared.serving, compared.candidate)
    # Figures that are not finite are in no `measured`; of a candidate that has such there is nothing to hold in bounds.
    sound = is_finite(compared.candidate)
    bounds = _bounds(compared, pairs, measured, changed, settings) if sound else []
    decides = _deciding(pairs)
    figures = finite(
        {
            "schema": SCHEMA,
            "form": compared.candidate.form,
            "held_out": {"pairs": len(pairs), "conversations": len(held), "kinds": kinds},
            "taught": {"corrections": compared.taught.corrections, "misplaced": list(compared.taught.misplaced)},
            "measures": _side_by_side(measured),
            "changes": {name: asdict(one) for name, one in changed.items()},
            "bounds": [{**asdict(bound), "broken": bound.broken} for bound in bounds],
            "decided_by": decides,
            "improvement": asdict(changed[decides]) if decides in changed else None,
        }
    )
    if not sound:
        return Verdict("refused", DIVERGED, figures)
    broken = [bound for bound in bounds if bound.broken]
    if broken:
        return Verdict("refused", " ".join(bound.sentence for bound in broken), figures)
    verdict, reason = _decide(pairs, decides, changed, usable_conversations)
    if len({pair.conversation_id for pair in pairs}) < len(held):
        reason += f" {_AS_ONE}"
    if verdict == "promoted":
        reason += f" {_elsewhere(bounds)}"
    return Verdict(verdict, reason, figures)


def _bounds(
    compared: Compared,
    pairs: Sequence[TrainingPair],
    measured: Mapping[str, Measured],
    changed: Measured,
    settings: GateSettings,
) -> list[Bound]:
    base, serving, candidate = (measured[name] for name in _VERSIONS)
    counted = counts(pairs, compared.serving, compared.candidate)
    return bounds_of(base, serving, candidate, changed, counted, compared.taught, settings)


def _side_by_side(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Put each figure's values together, by version, where a version has it."""
    return {
        name: {version: asdict(found[name]) for version, found in measured.items() if name in found}
        for name in sorted({name for found in measured.values() for name in found})
    }


def is_finite(figures: VersionFigures) -> bool:
    """Tell whether a version gives finite losses everywhere."""
    general = figures.general
    losses = [
        *(score.loss for score in figures.scores),
        *general.loss,
        *general.kept,
        *general.divergence,
        *general.bias,
    ]
    return all(map(math.isfinite, losses))


def finite(figures: Any) -> Any:
    """Write None for every figure that is not finite: JSON knows no NaN."""
    if isinstance(figures, dict):
        return {name: finite(value) for name, value in figures.items()}
    if isinstance(figures, list):
        return [finite(value) for value in figures]
    return None if isinstance(figures, float) and not math.isfinite(figures) else figures


def _deciding(pairs: Sequence[TrainingPair]) -> str:
    """Name the change that decides, by what there is and never by how it came out."""
    corrected = {pair.conversation_id for pair in pairs if pair.kind == "correction"}
    return "margin" if len(corrected) < FEWEST <= min(rated_conversations(pairs)) else "correction_likelihood"


def _decide(pairs: Sequence[TrainingPair], decides: str, changed: dict[str, Estimate], usable: int) -> tuple[str, str]:
    found, by_corrections = changed.get(decides), decides == "correction_likelihood"
    wanted = "a correction" if by_corrections else "a thumb up or down"
    held, everyone = found.clusters if found else 0, len({pair.conversation_id for pair in pairs})
    fit = round(usable * held / everyone) if everyone else usable  # of the usable conversations, those of this kind
    if found is None or held < FEWEST:
        more = max(1, round(FEWEST / HELD_OUT_SHARE) - fit)
        return "refused", (
            f"Not enough evidence: held-out conversations with a correction: {held}, too few to tell; about {more:,} "
            "more conversations with a correction are needed, or with thumbs both up and down."
        )
    if by_corrections:
        where, unit = "on held-out corrections", "in the likelihood of a token"
        loss = f"; {changed['correction_loss'].mean:+.2f} nats a token"
    else:
        where, unit, loss = "at telling liked replies from disliked ones", "nats a token better", ""
    shown = (
        f"{found.mean:+.2f} {unit} (90 % interval {found.low:+.2f} to {found.high:+.2f}, "
        f"{found.n} {'replies' if by_corrections else 'rated'} of {found.clusters} conversations{loss})"
    )
    if found.low > 0:
        return "promoted", f"Better {where}: {shown}."
    if found.mean <= 0:
        return "refused", f"Not better {where}: {shown}."
    return "refused", f"Not enough evidence {where}: {shown}; {_wanted(_more(found, fit), fit, wanted)}."


def _wanted(more: int, fit: int, kind: str) -> str:
    """Say what it takes beside the conversations of a kind that there are; a number out of reach is not advice."""
    if more > _OUT_OF_REACH * fit:
        times = f"over {_OUT_OF_REACH} times as many conversations"
        return f"so small a change, if it is one, takes {times} with {kind} to tell"
    return f"about {more:,} more conversations with {kind} are needed"


def _more(found: Estimate, fit: int) -> int:
    """Estimate how many more conversations it takes than `fit`; an interval narrows with the root of their number."""
    if math.isnan(found.deviation):
        needed = found.clusters * ((found.mean - found.low) / found.mean) ** 2
    else:
        needed = observations_needed(found.mean, found.deviation)
    return max(1, math.ceil(fit * needed / found.clusters) - fit)


def _elsewhere(bounds: Sequence[Bound]) -> str:
    told = {bound.name: bound.value for bound in bounds}
    return (
        f"General loss {told['general loss']:+.2f}, divergence {told['divergence']:.2f} nats a token; no bound broken."
    )
