"""What feedback can reach, as rows to read: datasets, runs, and versions with the times at which they served."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from feedback.messages import in_batches
from feedback.promotions import served_when, shares_now
from feedback.schema import Dataset, ModelVersion, Run, TrainingPair


def dataset_rows(session: Session, ids: Collection[int]) -> list[dict[str, Any]]:
    """Tell of each dataset how many pairs it has by split, and how many texts each rule took or rejected."""
    size = select(TrainingPair.split, func.count()).group_by(TrainingPair.split)
    return [
        {
            "dataset": row.id,
            "run": row.run_id,
            "created_at": row.created_at.isoformat(),
            "pairs": dict(session.execute(size.where(TrainingPair.dataset_id == row.id)).tuples().all()),
            "rules": {rule: count for rule, count in row.counts.items() if count},
        }
        for row in in_batches(session, Dataset, Dataset.id, sorted(ids))
    ]


def run_rows(session: Session, ids: Collection[int]) -> list[dict[str, Any]]:
    """Tell of each run how it ended."""
    return [
        {
            "run": row.id,
            "status": row.status,
            "reason": row.reason,
            "began_at": row.created_at.isoformat(),
            "ended_at": row.finished_at.isoformat() if row.finished_at else None,
        }
        for row in in_batches(session, Run, Run.id, sorted(ids))
    ]


def version_rows(session: Session, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Tell of each version its verdict, and when it served; what reached it is for the caller to fill in."""
    served = served_when(session)
    shares = shares_now(served)
    return [
        {
            "version": row.number,
            "run": row.run_id,
            "verdict": row.verdict,
            "reason": row.reason,
            "made_at": row.created_at.isoformat(),
            "serves": row.number in shares,
            "share": shares.get(row.number, 0.0),
            "served": [
                {"since": since.isoformat(), "until": until.isoformat() if until else None, "share": share}
                for since, until, share in served.get(row.number, [])
            ],
            "reached": [],
            "revoked": [],
            "clean": [],
        }
        for row in in_batches(session, ModelVersion, ModelVersion.number, list(numbers))
    ]
