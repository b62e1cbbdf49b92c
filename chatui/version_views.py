"""What the Versions part is given to draw: what each is, when it served, which thumbs it earned, what it saw."""

import math
from collections.abc import Mapping
from typing import Any

from feedback.insight import ENOUGH
from feedback.records import Earned, TrialLine, VersionLine
from feedback.store import Store

_HISTORY = 50  # of what served, the newest


class VersionViews:
    """Draws versions; all here is asked for when it is looked at, and not by a timer."""

    def __init__(self, store: Store):
        """Draw `store`."""
        self.store = store

    def versions_told(self) -> dict[str, Any]:
        """Return the thumbs that versions earned, when each served, and the history of what served."""
        changes = self.store.promotions()
        served = self.store.served_when()
        return {
            "thumbs": {str(number): _earned(one) for number, one in self.store.version_thumbs().items()},
            "served": {
                str(version.number): [
                    {"since": since.isoformat(), "until": until and until.isoformat(), "share": share}
                    for since, until, share in served.get(version.number, [])
                ]
                for version in self.store.versions()
            },
            "promotions": [
                {"at": one.created_at.isoformat(), "reason": one.reason, "shares": sorted(one.shares.items())}
                for one in changes[-_HISTORY:]
            ],
        }

    def version_card(self, number: int) -> dict[str, Any]:
        """Return the card of a version. Raises NotFound."""
        card = self.store.card(number)
        return {
            "number": number,
            "base": card["base_model"].rstrip("/").rpartition("/")[2],
            "method": card["method"],
            "slower": card["slower"],
            "settings": sorted([name, str(value)] for name, value in card["settings"].items()),
            "figures": figures_told(card["figures"]),
        }

    def lineage_told(self, number: int) -> dict[str, Any]:
        """Return what a version saw, counted: texts by side and by what they are, and those taken back since.

        Raises NotFound.
        """
        saw = self.store.version_saw(number)
        return {"splits": list(saw.sides.items()), "kinds": saw.kinds.most_common(), "revoked": saw.revoked}


def version_told(version: VersionLine) -> dict[str, Any]:
    """Return one version as the page draws it."""
    return {
        "number": version.number,
        "verdict": version.verdict,
        "reason": version.reason,
        "share": version.share,
        "run": version.run_id,
        "made": version.created_at.isoformat(),
        "pinned": version.pinned,
        "pruned": version.pruned_at is not None,
    }


def trial_told(trial: TrialLine | None) -> dict[str, Any] | None:
    """Return the trial that goes on as the page draws it."""
    if trial is None:
        return None
    told = {name: getattr(trial, name) for name in ("candidate", "against", "share")}
    return {**told, "reason": trial.figures.get("reason") or trial.reason}


def figures_told(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the gate's figures, see docs/gate.md: of what served, of the version, and how much better that is."""
    changes = metrics.get("changes") or {}
    return [
        {
            "name": name,
            "serving": _estimate(sides.get("serving")),
            "candidate": _estimate(sides.get("candidate")),
            "change": _estimate(changes.get(name)),
            "decides": name == metrics.get("decided_by"),
        }
        for name, sides in (metrics.get("measures") or {}).items()
    ]


def _earned(one: Earned) -> dict[str, Any]:
    enough = one.conversations >= ENOUGH
    return {"share": one.share, "low": one.low, "high": one.high, "n": one.conversations, "enough": enough}


def _estimate(one: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {key: _number(one.get(key)) for key in ("mean", "low", "high")} if one else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None
