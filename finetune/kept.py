"""What a run has put down for good on disk, in `runs/ID/`, so that the next process can go on from there.

In this order: `base.json` (which base it was begun on), `numbers.json` (in which numbers it is read to train),
`general.json` and `dataset/` (frozen with the record's row), `work/` (checkpoints, see `checkpoints.py`), then the
candidate's folder, and `metrics.json` once that is whole.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from feedback.errors import RapportError
from feedback.frozen import PairRow
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.dataset import Built, Sides, read, rule_of, write
from finetune.general import Answer
from finetune.leftovers import ASIDE
from finetune.model import write_json
from finetune.prints import print_of
from finetune.settings import TrainSettings
from finetune.train import Trained

MOST_KILLS = 3


class CannotGoOn(RapportError):
    """What a run left on disk is not what it was, or not all there."""


class Kept:
    """One run's folder."""

    def __init__(self, store: Store, data: DataSettings, run_id: int, candidate: Path):
        """`candidate` is where the run's version is made."""
        self.store, self.data, self.id, self.candidate = store, data, run_id, candidate
        self.dir = data.runs_dir / str(run_id)
        self.work = self.dir / "work"

    def begin(self) -> None:
        """Make the folder of a new run; one of another record that is in the way is put aside."""
        if self.dir.exists():
            aside = next(p for n in range(10**6) if not (p := self.dir.with_name(f"{self.id}{ASIDE}{n}")).exists())
            self.dir.rename(aside)
        self.dir.mkdir(parents=True)

    def require_same_base(self) -> None:
        """Remember the base that the run is begun on. Raises CannotGoOn if it was begun on another."""
        file, seen = self.dir / "base.json", print_of(self.data.base_dir)
        if not file.exists():
            write_json(file, {"files": seen})
        elif json.loads(file.read_text())["files"] != seen:
            raise CannotGoOn("The base model's files changed since the run was begun, so it cannot go on; retrain.")

    def dtype(self, choose: Callable[[], torch.dtype]) -> torch.dtype:
        """Return the numbers that the run trains in: those chosen when it first read the base, and written down then.

        A run that goes on does not choose anew: what is timed beside other work may come out otherwise.
        """
        file = self.dir / "numbers.json"
        if not file.exists():
            write_json(file, {"training": str(choose()).removeprefix("torch.")})
        dtype: torch.dtype = getattr(torch, json.loads(file.read_text())["training"])
        return dtype

    def freeze(self, built: Built, settings: TrainSettings, general: tuple[Answer, ...]) -> None:
        """Freeze the dataset, in the record and here, and beside it the general answers.

        The files are whole before the row is there, and get their name after: so the row decides what a kill leaves.
        """
        rule = rule_of(settings)
        rows = [
            PairRow(p.message_id, p.correction_id, p.kind, p.weight, split)
            for split, part in vars(built.sides).items()
            for p in part
        ]
        shutil.rmtree(self._partial, ignore_errors=True)
        write(built.sides, self._partial)
        write_json(self.dir / "rules.json", {"rule": rule, "counts": built.counts})
        write_json(self.dir / "general.json", [vars(answer) for answer in general])
        self.store.freeze_dataset(self.id, rule, built.counts, rows, built.cut, built.rejected)
        self._partial.rename(self._dataset)

    def frozen(self) -> tuple[Sides, tuple[Answer, ...]] | None:
        """Return what the run learns from, None before it is frozen. Raises CannotGoOn if its files are not whole."""
        pairs = self.store.frozen_pairs(self.id)
        if pairs is None:
            return None
        if self._partial.exists():
            self._partial.rename(self._dataset)
        try:
            sides = read(self._dataset)
            general = tuple(Answer(**row) for row in json.loads((self.dir / "general.json").read_text()))
        # Whatever a file that was touched makes the library raise, the run cannot go on.
        except Exception as error:
            raise CannotGoOn(f"The run's dataset in {str(self.dir)!r} cannot be read ({error}); retrain.") from error
        found = sum(map(len, vars(sides).values()))
        if found != pairs:
            raise CannotGoOn(f"The run's dataset in {str(self.dir)!r} has {found} pairs, not {pairs}; retrain.")
        return sides, general

    def finish_training(self, trained: Trained) -> None:
        """Write down that the candidate is whole; its checkpoints are needed no more."""
        write_json(self.dir / "metrics.json", asdict(trained))
        shutil.rmtree(self.work, ignore_errors=True)

    def trained(self) -> Trained | None:
        """Return what training came to if the candidate is whole, else None.

        One that has got its name but no row is given back the name of a candidate.
        """
        file = self.dir / "metrics.json"
        if not file.exists():
            return None
        if not self.candidate.exists():
            for card in self.data.versions_dir.glob("*/card.json"):
                if card.parent.name.isdigit() and self._is_ours(card):
                    card.parent.rename(self.candidate)
        if self.candidate.exists():
            return Trained(**json.loads(file.read_text()))
        file.unlink()
        shutil.rmtree(self.work, ignore_errors=True)  # of which a part may be gone already
        return None

    def count_kill(self) -> None:
        """Write down how far the run was when it was killed. Raises CannotGoOn if that was so three times."""
        file = self.dir / "kills.json"
        kills: list[Any] = json.loads(file.read_text()) if file.exists() else []
        kills.append(self._reached())
        write_json(file, kills)
        if len(kills) >= MOST_KILLS and all(kill == kills[-1] for kill in kills[-MOST_KILLS:]):
            raise CannotGoOn(f"It was killed {MOST_KILLS} times without getting further ({kills[-1]}).")

    def clear(self) -> None:
        """Delete what only a run that goes on would need."""
        for folder in (self.work, self._partial, self.candidate):
            shutil.rmtree(folder, ignore_errors=True)

    def _reached(self) -> str:
        if self.store.frozen_pairs(self.id) is None:
            return "before its dataset was frozen"
        if (self.dir / "metrics.json").exists():
            return "after training"
        done = [folder.name for folder in self.work.glob("epoch-*")]
        return f"after epoch {int(max(done).removeprefix('epoch-'))}" if done else "in its first epoch"

    def _is_ours(self, card: Path) -> bool:
        told = json.loads(card.read_text())
        return told.get("run") == self.id and told.get("version") not in {v.number for v in self.store.versions()}

    @property
    def _dataset(self) -> Path:
        return self.dir / "dataset"

    @property
    def _partial(self) -> Path:
        return self.dir / "dataset.partial"
