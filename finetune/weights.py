"""How much a pair counts in the loss, against a correction that was made just now (1)."""

import math
from collections.abc import Collection

# A correction says what is right; a choice or a thumb only that this was better, or good enough.
OF_KIND = {
    "correction": 1.0,
    "chosen": 0.8,
    "approved": 0.7,
    "thumb_up": 0.6,
    "kept": 0.2,
    "corrected": 0.8,
    "thumb_down": 0.6,
    "discarded": 0.4,
}
LEAST = 1e-6  # however old: what weighs nothing cannot be weighed against the other side
WITH_REASONS = 1.25  # a thumb whose giver said why was given with more care


def weight(kind: str, reasons: Collection[str], votes: Collection[int], age_days: int, half_life_days: int) -> float:
    """Return OF_KIND x reasons x agreement x 2^(-age / half-life), in [LEAST, 1.25].

    Agreement is |sum of votes| / number of votes: 1 if raters agree or nobody voted, near 0 if they nearly cancel each
    other. What a person wrote as a correction, or a reviewer approved, stands whatever the votes on the reply.
    """
    worth = OF_KIND[kind]
    if kind in ("thumb_up", "thumb_down") and reasons:
        worth *= WITH_REASONS
    if kind in ("chosen", "thumb_up", "thumb_down", "discarded") and votes:
        worth *= abs(sum(votes)) / len(votes)
    return max(LEAST, round(worth * math.exp2(-max(age_days, 0) / half_life_days), 6))
