"""One run, from the record to a version: pairs, training, the gate, promotion.

A candidate that finished training becomes a version, promoted or refused. Its folder is made under a
temporary name and renamed when whole; its row is written last. Whatever serves is never touched.
"""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from feedback.errors import RapportError
from feedback.frozen import PairRow
from feedback.records import Serving
from feedback.schema import now
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import methods
from finetune.base import check_base, ensure_base
from finetune.chart import draw
from finetune.compare import judged
from finetune.dataset import Built, Sides, build, check_trainable, remember, rule_of, write
from finetune.evaluate import Verdict
from finetune.general import Answer, general_answers
from finetune.lock import the_only_run
from finetune.model import best_device, load_base, training_dtype, write_json
from finetune.pairs import TrainingPair
from finetune.schedule import require_feedback
from finetune.settings import ScheduleSettings, TrainSettings
from finetune.train import Trained, train_adapter
from finetune.trials import trial_rule

log = logging.getLogger("rapport.retrain")
CHANGED_MEANWHILE = "What serves changed while this version was tested, so it was compared with another; retrain."
CANDIDATE = ".run-"  # begins the name of a version's folder until it is whole
_BEAT_S = 1.0  # least time between two writes of a run's progress


class RunFailed(RapportError):
    """A run that began and came to nothing; `run` is its id."""

    def __init__(self, run: int, reason: str):
        super().__init__(reason)
        self.run = run


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    run: int
    version: int | None
    verdict: str
    reason: str


def retrain(
    store: Store, data: DataSettings, settings: TrainSettings, schedule: ScheduleSettings, force: bool = False
) -> Result:
    """Make one run. Raises Busy if another one is under way, NotEnough if there is too little feedback.

    Anything else that goes wrong is written to the run as its reason, and raised as RunFailed.
    """
    with the_only_run(store, data):
        for left in data.versions_dir.glob(f"{CANDIDATE}*"):
            shutil.rmtree(left)  # of a run that died: whoever holds the lock is the only one
        check_base(data)
        require_feedback(store, None if force else schedule)
        run = _Run(store, data, settings)
        with run.recorded():
            return run.make()


class _Run:
    """The steps of one run, and its row in the record."""

    def __init__(self, store: Store, data: DataSettings, settings: TrainSettings):
        self.store, self.data, self.settings = store, data, settings
        self.id = store.open_run(settings.model_dump())
        self.dir = data.runs_dir / str(self.id)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.general_file = data.data_dir / "general.json"
        self._beaten_at = 0.0

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep a log of the run beside its data; a failure ends the row with its reason."""
        handler = logging.FileHandler(self.dir / "log.txt")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            yield
        # A Ctrl-C too must not leave the row open.
        except BaseException as error:
            log.exception("The run failed.")
            reason = str(error) if isinstance(error, RapportError) else f"{type(error).__name__}: {error}"
            reason = " ".join(reason.split())[:500]
            self.store.update_run(self.id, status="failed", reason=reason)
            raise RunFailed(self.id, reason) from error
        finally:
            log.removeHandler(handler)
            handler.close()

    def make(self) -> Result:
        """Build, train, evaluate; return what came of it."""
        write_json(self.dir / "settings.json", self.settings.model_dump())
        self._enter("building")
        self.store.add_base(ensure_base(self.data))
        sides, general = self._build()
        candidate, trained = self._train(sides, general)
        self._enter("evaluating")
        serving = self.store.serving()
        verdict = self._evaluate(sides, candidate, serving)
        return self._publish(candidate, verdict, trained, sides, serving)

    def _enter(self, status: str, **columns: Any) -> None:
        log.info("%s", status)
        self.store.update_run(self.id, status=status, **columns)

    def _build(self) -> tuple[Sides, tuple[Answer, ...]]:
        """Freeze the dataset: choose pairs, fix their sides, write them down."""
        device = best_device()
        self._base = load_base(self.data.base_dir, dtype=training_dtype(device), device=device)
        general = general_answers(self.general_file, self._base)
        built = build(self.store, self.data, self._base.template, self.settings, writes=True)
        log.info("texts by rule: %s", built.counts)
        check_trainable(built)
        remember(self.store, built)
        self._freeze(built)
        return built.sides, general

    def _freeze(self, built: Built) -> None:
        rule = rule_of(self.settings)
        rows = [
            PairRow(p.message_id, p.correction_id, p.kind, p.weight, split)
            for split, part in vars(built.sides).items()
            for p in part
        ]
        self.store.freeze_dataset(self.id, rule, built.counts, rows, built.cut, built.rejected)
        write(built.sides, self.dir / "dataset")
        write_json(self.dir / "rules.json", {"rule": rule, "counts": built.counts})

    def _train(self, sides: Sides, general: tuple[Answer, ...]) -> tuple[Path, Trained]:
        """Train and write the candidate's folder under a temporary name."""
        self._enter("training")
        model, trained = train_adapter(
            self._base, sides.train, sides.validation, general, self.settings, self.dir / "work", self._beat
        )
        candidate = self.data.versions_dir / f"{CANDIDATE}{self.id}"
        shutil.rmtree(candidate, ignore_errors=True)
        methods.save(model, self._base, self.settings.method, candidate)
        del self._base
        shutil.rmtree(self.dir / "work", ignore_errors=True)
        write_json(self.dir / "metrics.json", asdict(trained))
        log.info("trained: %s", trained)
        return candidate, trained

    def _beat(self, step: int, total: int, loss: float | None) -> None:
        if step < total and time.monotonic() - self._beaten_at < _BEAT_S:
            return
        self._beaten_at = time.monotonic()
        self.store.update_run(self.id, step=step, total=total, metrics={"loss": loss})

    def _evaluate(self, sides: Sides, candidate: Path, serving: Serving | None) -> Verdict:
        """Measure what serves and the candidate on the held-out pairs, and draw the figures beside the card."""
        verdict = judged(
            self.data, sides.held_out, candidate, self._serving_dir(serving), self.settings, sides.conversations
        )
        figures = {"verdict": verdict.verdict, "reason": verdict.reason, **verdict.figures}
        write_json(self.dir / "figures.json", figures)
        for folder in (self.dir, candidate):
            draw(folder / "figures.svg", figures)
        return verdict

    def _serving_dir(self, serving: Serving | None) -> Path | None:
        number = max(serving.shares, key=lambda v: serving.shares[v]) if serving else 0
        return self.data.data_dir / self.store.version(number).path if number else None

    def _publish(
        self, candidate: Path, verdict: Verdict, trained: Trained, sides: Sides, compared: Serving | None
    ) -> Result:
        """Give the candidate its number: card, rename, row, in this order."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the app loads the new version the moment that its row is there
        if verdict.verdict == "promoted" and self.store.serving() != compared:
            verdict = Verdict("refused", CHANGED_MEANWHILE, verdict.figures)
        number = self.store.next_version()
        method = methods.METHODS[self.settings.method]
        kind = "model" if method.part == "model" else "adapter"
        base = self.store.version(0).base_model
        card = {
            "version": number,
            "kind": kind,
            "method": self.settings.method,
            "merged": method.merged,
            "base_model": base,
            "run": self.id,
            "created_at": now().isoformat(),
            "verdict": verdict.verdict,
            "reason": verdict.reason,
            "figures": verdict.figures,
            "pairs": {side: _counted(part) for side, part in vars(sides).items()},
            "training": asdict(trained),
            "settings": self.settings.model_dump(),
        }
        write_json(candidate / "card.json", card)
        home = self.data.versions_dir / f"{number:03d}"
        if home.exists():  # left by a run that died before it wrote the row, or another database's
            home.rename(home.with_name(f"{home.name}.left-{self.id}"))
        candidate.rename(home)
        path = str(home.relative_to(self.data.data_dir))
        trial = (self.settings.trial_share, trial_rule(self.settings)) if self.settings.trial_share else None
        self.store.add_version(number, kind, path, self.id, verdict.verdict, verdict.reason, verdict.figures, trial)
        log.info("version %d: %s. %s", number, verdict.verdict, verdict.reason)
        return Result(self.id, number, verdict.verdict, verdict.reason)


def _counted(pairs: list[TrainingPair]) -> dict[str, int]:
    good = sum(pair.good for pair in pairs)
    return {"good": good, "bad": len(pairs) - good}
