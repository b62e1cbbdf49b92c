"""The verb on a version's card: all that the record knows of one version.

What its run wrote beside its folder (`card.json`) stays as it was written; this card lives: when it served, which
thumbs it earned, how its trials went.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from feedback.promotions import Promotions
from feedback.schema import Dataset, Run, TrainingPair
from feedback.sessions import Sessions
from feedback.thumbs import Thumbs
from feedback.trials import Trials
from feedback.versions import Versions

UNMERGED = ("prefix", "prompt", "bottleneck")  # methods whose versions are no sum with the base's weights, so slower


class Cards(Versions, Promotions, Trials, Thumbs):
    """What a version is, what made it, and how it fared."""

    def card(self, number: int) -> dict[str, Any]:
        """Return a version's card as JSON; times are ISO 8601 in UTC. Raises NotFound.

        `dataset` holds counts per rule (taken and rejected) and pairs per side and kind, None for the base; `figures`
        are the gate's, with intervals; `slower` tells of a version that cannot be merged into the base's weights;
        `served` lists since, until (None: still) and share; `earned` counts the thumbs on its own replies;
        `promotions` are the rows that let it serve.
        """
        line = self.version(number)
        settings, dataset = _taught(self, line.run_id)
        trials = [one for one in self.trials() if number in (one.candidate, one.against)]
        told: dict[str, Any] = _plain(
            {
                "version": number,
                "kind": line.kind,
                "base_model": line.base_model,
                "path": line.path,
                "run": line.run_id,
                "created_at": line.created_at,
                "verdict": line.verdict,
                "reason": line.reason,
                "method": settings.get("method"),
                "slower": settings.get("method") in UNMERGED,
                "settings": settings,
                "dataset": dataset,
                "figures": line.metrics,
                "share": line.share,
                "served": [dict(zip(("since", "until", "share"), spell, strict=True)) for spell in self.served(number)],
                "promotions": [vars(one) for one in self.promotions() if number in one.shares],
                "earned": vars(self.version_earned(number)),
                "trials": [vars(one) for one in trials],
                "pinned": line.pinned,
                "pruned_at": line.pruned_at,
            }
        )
        return told


def _taught(record: Sessions, run_id: int | None) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the settings and the dataset of a run; none of the base's."""
    with record.reading() as session:
        run = session.get(Run, run_id) if run_id is not None else None
        dataset = session.scalar(select(Dataset).where(Dataset.run_id == run_id).order_by(Dataset.id.desc()).limit(1))
        if run is None or dataset is None:
            return (dict(run.settings) if run else {}), None
        sides: dict[str, dict[str, int]] = {}
        pairs = select(TrainingPair.split, TrainingPair.kind, func.count()).where(TrainingPair.dataset_id == dataset.id)
        for split, kind, count in session.execute(pairs.group_by(TrainingPair.split, TrainingPair.kind)):
            sides.setdefault(split, {})[kind] = count
        told = {"id": dataset.id, "cut": dataset.created_at, "rule": dataset.rule, "counts": dataset.counts}
        return dict(run.settings), {**told, "pairs": sides}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
