"""How long a run trains and what each of its steps reads, by what there is to read."""

from dataclasses import dataclass

_STEPS, _FEWEST_PASSES, _MOST_PASSES = 120, 3, 24
_CONTRASTS, _FEWEST_CONTRASTED = 40, 2  # steps and passes of thumbs: a taste is learned sooner than facts


@dataclass(frozen=True)
class Plan:
    """A run's epochs, the steps of each, and the rows of a step.

    `copied` replies are made likelier token by token, or less likely; of contrasted ones `each` side gives so many.
    """

    epochs: int
    per_epoch: int
    copied: int
    each: int

    @property
    def steps(self) -> int:
        """Count the steps of all epochs."""
        return self.epochs * self.per_epoch


def plan(copied: int, contrasted: int, batch_size: int, epochs: int = 0) -> Plan:
    """Plan a run over so many copied rows and contrasted ones of the larger side; `epochs` 0: what suits them.

    Every epoch reads all copied rows. Of thumbs beside them only as many are read as it takes to learn from them, but
    each at least once in a run of its own length.
    """
    half = max(1, batch_size // 2)
    contrasts = -(-contrasted // half)
    if not copied:
        passes_of = max(_FEWEST_CONTRASTED, min(_MOST_PASSES, -(-_CONTRASTS // contrasts)))
        return Plan(epochs or passes_of, contrasts, 0, half)
    per_epoch = max(-(-copied // batch_size), -(-contrasts // _MOST_PASSES))
    chosen = epochs or passes(per_epoch, max(_STEPS, contrasts))
    wanted = max(_CONTRASTS, contrasts) * half if contrasted else 0
    rows = -(-copied // per_epoch) if contrasted else batch_size
    return Plan(chosen, per_epoch, rows, min(half, -(-wanted // (chosen * per_epoch))))


def passes(per_epoch: int, steps: int = _STEPS) -> int:
    """Return how many passes suit rows that make so many steps a pass: few rows are read more often."""
    return max(_FEWEST_PASSES, min(_MOST_PASSES, -(-steps // per_epoch)))


def pace(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step: a short way up, then a straight line down."""
    warm = min(5, max(1, steps // 10))
    return min(1.0, (step + 1) / warm, (steps - step) / max(1, steps - warm))
