"""One run, from the record to a version: pairs, training, the gate, promotion.

A candidate that finished training becomes a version, promoted or refused. Its folder is made under a
temporary name and renamed when whole; its row is written last. Whatever serves is never touched. A run whose process
was killed is taken up by the next start, from what `kept.py` finds of it.
"""

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from feedback.errors import Overtaken, RapportError, TakenOver
from feedback.records import RunLine, Serving
from feedback.schema import now
from feedback.settings import DataSettings
from feedback.store import Store
from finetune import methods
from finetune.base import check_base, check_record, ensure_base
from finetune.chart import draw
from finetune.compare import judged
from finetune.dataset import Sides, build, check_trainable, remember
from finetune.evaluate import Verdict
from finetune.general import Answer, general_answers
from finetune.kept import Kept
from finetune.leftovers import ASIDE, candidate_of
from finetune.lock import the_only_run
from finetune.machine import require_disk
from finetune.model import Loaded, best_device, load_base, training_dtype, write_json
from finetune.pairs import TrainingPair
from finetune.prune import prune
from finetune.pulse import Cancelled, Pulse
from finetune.schedule import require_feedback
from finetune.settings import DiskSettings, ScheduleSettings, TrainSettings
from finetune.tracking import Tell, check_trackers, figures, quiet, reporting
from finetune.train import Trained, train_adapter
from finetune.trials import trial_rule

log = logging.getLogger("rapport.retrain")


class RunFailed(RapportError):
    """A run that began and came to nothing; `run` is its id."""

    def __init__(self, run: int, reason: str):
        super().__init__(reason)
        self.run = run


class RunCancelled(RunFailed):
    """A run that somebody ended."""


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
    """Make one run, or go on with the one whose process was killed, with its own settings.

    Raises Busy if another one is under way, NotEnough if there is too little feedback, NoRoom if there is too little
    disk. Anything else that goes wrong is written to the run as its reason, and raised as RunFailed.
    """
    check_trackers(settings.report_to)
    with the_only_run(store, data) as dead:
        check_base(data)
        check_record(data, store)
        if dead is None:
            require_feedback(store, None if force else schedule)
        require_disk(data, schedule)
        run = _Run(store, data, settings, dead)
        try:
            with run.recorded():
                if dead:
                    run.take_up()
                with reporting(run.settings, run.dir, run.id) as tell:
                    return run.make(tell)
        finally:
            _tidy(store, data, schedule)


class _Run:
    """The steps of one run, and its row in the record."""

    def __init__(self, store: Store, data: DataSettings, settings: TrainSettings, dead: RunLine | None = None):
        self.store, self.data, self.settings, self.dead = store, data, settings, dead
        self.id = dead.id if dead else store.open_run(settings.model_dump())
        self.kept = Kept(store, data, self.id, candidate_of(data, self.id))
        self.dir = self.kept.dir
        self.pulse = Pulse(store, self.id, settings.train_threads)
        self._base: Loaded | None = None
        self._has_folder = False

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Keep a log of the run beside its data; a failure ends the row with its reason."""
        handler: logging.Handler = logging.NullHandler()
        try:
            handler = self._log_file()
            yield
        except Cancelled as error:
            raise self._ended("cancelled", str(error)) from error
        except KeyboardInterrupt as error:
            raise self._ended("cancelled", "Ended by Ctrl-C.") from error
        except TakenOver as error:  # row and files are another's by now
            log.info("%s", error)
            raise RunFailed(self.id, str(error)) from error
        # Whatever it is, the row must not stay open.
        except BaseException as error:
            log.exception("The run failed.")
            reason = str(error) if isinstance(error, RapportError) else f"{type(error).__name__}: {error}"
            raise self._ended("failed", " ".join(reason.split())[:500]) from error
        finally:
            log.removeHandler(handler)
            handler.close()

    def _log_file(self) -> logging.Handler:
        self._open_folder()
        handler = logging.FileHandler(self.dir / "log.txt")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        return handler

    def _open_folder(self) -> None:
        """Make the run's folder, once: a new run's in place of one that another record left."""
        if self.dead is None and not self._has_folder:
            self.kept.begin()
        self.dir.mkdir(parents=True, exist_ok=True)
        self._has_folder = True

    def _ended(self, status: str, reason: str) -> RunFailed:
        log.info("%s: %s", status, reason)
        self.store.update_run(self.id, status=status, reason=reason)
        self.kept.clear()
        return (RunCancelled if status == "cancelled" else RunFailed)(self.id, reason)

    def take_up(self) -> None:
        """Go on with a killed run by its own settings. Raises CannotGoOn if it was killed again and again."""
        self._open_folder()
        taken = self.store.take_up_run(self.id)
        log.info("taken up again, attempt %d; it was %s, at step %d", taken.attempts, taken.status, taken.step)
        self.kept.count_kill()
        given, self.settings = self.settings, TrainSettings.given(**self.store.run_settings(self.id))
        if given != self.settings:
            ignored = f"Run {self.id} was cut off and goes on with its own settings; those given now do not count."
            print(ignored, file=sys.stderr, flush=True)
        self.pulse = Pulse(self.store, self.id, self.settings.train_threads)

    def make(self, tell: Tell = quiet) -> Result:
        """Build, train, evaluate, as far as that is not done yet; return what came of it. Trackers hear by `tell`."""
        self._open_folder()
        write_json(self.dir / "settings.json", self.settings.model_dump())
        if torch.cuda.is_available() and self.settings.train_gpu_memory:
            torch.cuda.set_per_process_memory_fraction(self.settings.train_gpu_memory)
        self.store.add_base(ensure_base(self.data))
        self.kept.require_same_base()
        sides, general = self.kept.frozen() or self._build()
        trained = self.kept.trained() or self._train(sides, general, tell)
        self._enter("evaluating")
        while True:
            serving = self.store.serving()
            verdict = self._evaluate(sides, serving)
            tell(figures(verdict.verdict, verdict.reason, verdict.figures), trained.steps)
            try:
                return self._publish(verdict, trained, sides, serving)
            except Overtaken as error:  # figures are kept, so only what serves now is measured
                log.info("%s", error)

    def _enter(self, status: str, **columns: Any) -> None:
        log.info("%s", status)
        self.store.update_run(self.id, status=status, **columns)
        self.pulse.beat(at_once=True)

    def _build(self) -> tuple[Sides, tuple[Answer, ...]]:
        """Freeze the dataset: choose pairs, fix their sides, write them down."""
        self._enter("building")
        base = self._load()
        general = general_answers(self.data.data_dir / "general.json", base)
        self.pulse.beat(at_once=True)
        built = build(self.store, self.data, base.template, self.settings, writes=True)
        log.info("texts by rule: %s", built.counts)
        check_trainable(built)
        remember(self.store, built)
        self.pulse.beat(at_once=True)
        self.kept.freeze(built, self.settings, general)
        return built.sides, general

    def _load(self) -> Loaded:
        if self._base is None:
            device = best_device()
            dtype = self.kept.dtype(lambda: training_dtype(device))
            self._base = self.pulse.watch(load_base(self.data.base_dir, dtype=dtype, device=device))
        return self._base

    def _train(self, sides: Sides, general: tuple[Answer, ...], tell: Tell) -> Trained:
        """Train, from the newest checkpoint if there is one; write the candidate's folder under a temporary name."""
        self._enter("training")
        base, candidate = self._load(), self.kept.candidate
        self._base = None
        model, trained = train_adapter(
            base,
            sides.train,
            sides.validation,
            general,
            self.settings,
            self.kept.work,
            self.pulse.progress,
            resume=True,
            tell=tell,
        )
        self.pulse.trained(trained)
        shutil.rmtree(candidate, ignore_errors=True)
        methods.save(model, base, self.settings.method, candidate)
        self.kept.finish_training(trained)
        log.info("trained: %s", trained)
        return trained

    def _evaluate(self, sides: Sides, serving: Serving | None) -> Verdict:
        """Measure what serves and the candidate on the held-out pairs, and draw the figures beside the card."""
        candidate = self.kept.candidate
        verdict = judged(
            self.data,
            sides.held_out,
            [*sides.train, *sides.validation],
            candidate,
            self._serving_dir(serving),
            self.settings,
            sides.conversations,
            self.pulse.watch,
        )
        figures = {"verdict": verdict.verdict, "reason": verdict.reason, **verdict.figures}
        write_json(self.dir / "figures.json", figures)
        for folder in (self.dir, candidate):
            draw(folder / "figures.svg", figures)
        return verdict

    def _serving_dir(self, serving: Serving | None) -> Path | None:
        """Return the folder of what a candidate must beat: in a trial, of what is proven. None: the base model."""
        trial = self.store.trial()
        if trial and serving and trial.promotion_id == serving.promotion_id:
            number = trial.against
        else:
            number = max(serving.shares, key=lambda v: serving.shares[v]) if serving else 0
        return self.data.data_dir / self.store.version(number).path if number else None

    def _publish(self, verdict: Verdict, trained: Trained, sides: Sides, compared: Serving | None) -> Result:
        """Give the candidate its number: card, rename, row, in this order. Raises Overtaken, and takes it back."""
        self.pulse.beat(at_once=True)  # the last moment in which it can be cancelled
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the app loads the new version the moment that its row is there
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
        write_json(self.kept.candidate / "card.json", card)
        home = self.data.versions_dir / f"{number:03d}"
        if home.exists():  # left by a run that died before it wrote the row, or another database's
            home.rename(home.with_name(f"{home.name}{ASIDE}{self.id}"))
        self.kept.candidate.rename(home)
        path = str(home.relative_to(self.data.data_dir))
        trial = (self.settings.trial_share, trial_rule(self.settings)) if self.settings.trial_share else None
        seen = compared.promotion_id if compared else None
        found = verdict.verdict, verdict.reason, verdict.figures
        try:
            self.store.add_version(number, kind, path, self.id, *found, trial, seen)
        except Overtaken:
            home.rename(self.kept.candidate)
            raise
        log.info("version %d: %s. %s", number, verdict.verdict, verdict.reason)
        return Result(self.id, number, verdict.verdict, verdict.reason)


def _tidy(store: Store, data: DataSettings, settings: DiskSettings) -> None:
    try:
        prune(store, data, settings)
    # The run has ended, whatever the disk does now; the next one prunes what is left.
    except Exception:
        log.exception("What is old could not be pruned.")


def _counted(pairs: list[TrainingPair]) -> dict[str, int]:
    good = sum(pair.good for pair in pairs)
    return {"good": good, "bad": len(pairs) - good}
