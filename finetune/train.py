"""Training by maximum likelihood, and by what keeps it from forgetting: the loop, epoch by epoch.

What a step descends is in `descent.py`. All dice are thrown anew from the seed for every step and row, so that a run
that goes on from a checkpoint throws the same.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from feedback.errors import RapportError
from finetune import checkpoints, methods, shard
from finetune.batches import PairRows
from finetune.best import choose, mean
from finetune.checkpoints import State
from finetune.descent import Descent, Held
from finetune.division import divide
from finetune.general import Answer
from finetune.lean import lean
from finetune.model import Encoded, Loaded
from finetune.pairs import TrainingPair
from finetune.plan import pace, plan
from finetune.reading import Reader
from finetune.settings import TrainSettings
from finetune.short_rows import short_rows
from finetune.spread import here
from finetune.thumbs import Thumbs
from finetune.tracking import Tell, quiet

Progress = Callable[[int, int, float, State], None]  # step, total, latest loss, and what was measured so far
_WITHOUT_EFFECT = {"train_threads", "train_gpu_memory", "report_to"}  # settings that change no adapter
_THUMBS_RATE = 0.5  # share of a method's rate where a run has nothing to copy
_WATCHED = 8  # general prompts kept out of training, to see after each epoch what it forgets
WATCH_FROM = 96  # general prompts from which on so many can be spared; of 48, eight less doubled what was forgotten


@dataclass(frozen=True)
class Trained:
    """What a run of training came to."""

    steps: int
    train_loss: float
    # Mean after each epoch of pairs' losses in nats a token, and of misranked thumbs; may be empty.
    validation: list[float]
    tokens: int  # tokens read in training, padding and general prompts left out
    # Rise of the loss on general prompts not trained on, after each epoch; empty if none is spared.
    general: list[float]
    kept_epoch: int  # whose weights were kept


@dataclass(frozen=True)
class Work:
    """What the processes of a run train on together, and how; `dtype` is what the base is read in."""

    dtype: torch.dtype
    train: Sequence[TrainingPair]
    validation: Sequence[TrainingPair]
    keep: Sequence[Answer]
    settings: TrainSettings


def train_adapter(
    loaded: Loaded,
    train: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
    keep: Sequence[Answer],
    settings: TrainSettings,
    work_dir: Path,
    progress: Progress,
    resume: bool = False,
    tell: Tell = quiet,
) -> tuple[Any, Trained]:
    """Train what `settings.method` adds to the base model, which itself stays as it is (but for `full`).

    Kept is the last epoch that is as good on the validation pairs as the best, and within `max_general_rise` if any
    is; training stops after `patience` worse ones. With `resume` it goes on from the newest checkpoint in `work_dir`
    that is of the same settings and data. Where there are other processes, `train_along` is theirs. `tell` is given
    what trackers show. Returns the model, for `methods.save`, and what training came to.
    """
    work = here().share(Work(loaded.model.dtype, train, validation, keep, settings))
    training, trained = _trained(loaded, work, work_dir, progress, resume, tell)
    training.model.eval()
    return training.model, trained


def train_along(loaded: Loaded, work: Work) -> None:
    """Take a share of every step of the main process's `train_adapter`; returns when training has ended."""
    _trained(loaded, work, Path(), lambda *_: None, False, quiet)


def _trained(
    loaded: Loaded, work: Work, work_dir: Path, progress: Progress, resume: bool, tell: Tell
) -> tuple["_Training", Trained]:
    if work.settings.train_threads:
        torch.set_num_threads(work.settings.train_threads)
    with short_rows(loaded.model):
        training = _Training(loaded, work.train, work.validation, work.keep, work.settings, tell)
        with lean(training.model), training.precision():
            return training, training.run(work_dir, progress, resume)


class _Training:
    """One run's rows, model and optimizer."""

    def __init__(
        self,
        loaded: Loaded,
        train: Sequence[TrainingPair],
        validation: Sequence[TrainingPair],
        keep: Sequence[Answer],
        settings: TrainSettings,
        tell: Tell,
    ):
        self.settings, self.device, template = settings, loaded.device, loaded.template
        self.spread, self.tell = here(), tell
        parts = divide(train, validation, settings.negative)
        wear, seed = settings.wear_prompts, settings.seed
        self.good, self.bad = (PairRows(p, template, wear, seed) for p in (parts.copied, parts.pushed))
        self.thumbs, self.judged = Thumbs(parts.contrasted, template, seed), Thumbs(parts.ranked, template)
        steered = PairRows(parts.steering, template)
        self.validation = [steered.read(i) for i in range(len(steered))]
        copies = len(self.good) or len(self.bad)
        if not copies and not self.thumbs.rows:
            raise RapportError("Nothing good is left to train on; thumb replies up, correct some, or give --negative.")
        self.plan = plan(copies, self.thumbs.larger_side, settings.batch_size, settings.epochs)
        general = [template.pair([("user", a.prompt)], a.text, a.ended) for a in keep]
        spared = _WATCHED if len(general) >= WATCH_FROM else 0
        self.watched, general = general[:spared], general[spared:]
        self.keep = general if settings.keep_weight else []
        sharded = shard.is_asked_for(self.spread)
        if sharded:
            shard.shard(loaded.model, settings.method, self.spread)
        torch.manual_seed(settings.seed)
        self.reader = Reader(loaded, self.spread, sharded, methods.METHODS[settings.method].packs)
        with torch.no_grad():  # before anything is added to the base
            self.watched_before = self.reader.row_losses(self.watched)
            thumbs_before, self.judged_before = (self.reader.said(t.rows) for t in (self.thumbs, self.judged))
            likely = self.reader.likely(self.keep[: self.plan.steps * settings.keep_rows])
        held = Held(self.keep, likely, thumbs_before)
        self.descent = Descent(self.reader, settings, self.thumbs, held, self.plan.each, bool(copies))
        self.rounded, self.base = loaded.model.dtype == torch.bfloat16, loaded.model
        self.model = self.reader.model = methods.adapt(loaded, settings, self.plan.steps)
        self.weights = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.rate = settings.learning_rate or methods.METHODS[settings.method].rate * (1 if copies else _THUMBS_RATE)
        self.optimizer = torch.optim.AdamW(list(self.weights.values()), lr=self.rate, weight_decay=0.0, fused=True)

    def precision(self) -> AbstractContextManager[Any]:
        """Round what full training computes, whose weights stand in float32, as everything else is rounded."""
        half = self.settings.method == "full" and self.rounded
        # Without its cache: that would hold the weights as they were when training began, to the end of training.
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False) if half else nullcontext()

    def run(self, work_dir: Path, progress: Progress, resume: bool) -> Trained:
        """Train to the last epoch, or until patience ends; put the weights that were kept in place."""
        key = self._key()
        state, kept, inner = self._begin(work_dir, key, resume)
        method = self.settings.method
        methods.set_inner_state(self.model, method, inner)
        while state.epoch < self.plan.epochs and not (self._is_judged and state.worse >= self.settings.patience):
            self._epoch(state, progress)
            if self._judge(state) and self.spread.main:
                kept = {name: weight.detach().clone() for name, weight in self.weights.items()}
                kept |= methods.given_ranks(self.model, method)
            inner = methods.inner_state(self.model, method)
            if self.spread.main:
                checkpoints.save(work_dir, key, state, self.weights, self.optimizer, kept, inner)
        self.spread.part()
        if kept:
            for name, weight in self.weights.items():
                weight.data.copy_(kept[name])
            methods.give_ranks(self.model, method, kept)
        return Trained(
            steps=state.step,
            train_loss=state.loss_sum / state.step,
            validation=state.validation,
            tokens=state.tokens,
            general=state.general,
            kept_epoch=state.kept,
        )

    def _begin(self, work_dir: Path, key: str, resume: bool) -> tuple[State, dict[str, Tensor], dict[str, Tensor]]:
        """Begin in all processes as the main one does: with its weights, or where its checkpoint was."""
        found = checkpoints.newest(work_dir, key, self.weights, self.optimizer) if resume and self.spread.main else None
        state, kept, inner = found or (State(), {}, {})
        state, inner = self.spread.share((state, inner))
        self.spread.level([weight.data for weight in self.weights.values()])
        if state.step:
            checkpoints.level(state, self.weights, self.optimizer, self.spread)
        return state, kept, inner

    def _key(self) -> str:
        """Name the settings and rows of this run, so that no checkpoint of another is taken for its own."""
        rows = [row for side in (self.good, self.bad) for row in side.rows]
        read = (rows, self.thumbs.rows, self.validation, self.judged.rows, self.keep)
        told = repr((self.settings.model_dump(exclude=_WITHOUT_EFFECT), *read))
        return hashlib.sha256(told.encode()).hexdigest()

    def _epoch(self, state: State, progress: Progress) -> None:
        self.model.train()
        batch, order, others = self.plan.copied, self.good.order(state.epoch), self.bad.order(state.epoch)
        # Bad rows of a step: all are read in an epoch, or enough.
        share = min(self.settings.batch_size, -(-len(others) // self.plan.per_epoch))
        for turn in range(self.plan.per_epoch):
            good = [self.good.read(i, state.epoch) for i in order[turn * batch : (turn + 1) * batch]]
            bad = [self.bad.read(i, state.epoch) for i in others[turn * share : (turn + 1) * share]]
            rated = self.thumbs.of_step(state.step, self.plan.each)
            began = time.perf_counter()
            loss = self._step(state.step, good, bad, rated)
            tokens = sum(len(row.ids) for row in [*good, *bad, *(self.thumbs.rows[i] for i in rated)])
            state.step += 1
            state.loss_sum += loss
            state.tokens += tokens
            progress(state.step, self.plan.steps, loss, state)
            told = {"loss": loss, "learning_rate": self.optimizer.param_groups[0]["lr"]}
            self.tell(told | {"tokens_per_s": tokens / (time.perf_counter() - began)}, state.step)
        state.epoch += 1

    def _step(self, step: int, good: Sequence[Encoded], bad: Sequence[Encoded], rated: Sequence[int]) -> float:
        """Compute the gradient, each process its part, and take the step; return its loss."""
        loss = None
        try:
            loss = self.descent.gradient(step, good, bad, rated)
        except torch.OutOfMemoryError:
            if self.base.is_gradient_checkpointing or not methods.METHODS[self.settings.method].again:
                raise
        if loss is None:  # not in the handler, whose exception still holds all that the failed pass computed
            # What a layer computed is forgotten from here on, and computed again on the way back.
            self.base.gradient_checkpointing_enable({"use_reentrant": False})
            self.optimizer.zero_grad()
            torch.cuda.empty_cache()  # does nothing where there is no GPU
            loss = self.descent.gradient(step, good, bad, rated)
        loss = self._add_up(loss)
        methods.regularise(self.model, self.settings.method)
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        self.optimizer.param_groups[0]["lr"] = self.rate * pace(step, self.plan.steps)
        self.optimizer.step()
        methods.after_step(self.model, self.settings.method, step)
        self.optimizer.zero_grad()
        return loss

    def _add_up(self, loss: float) -> float:
        """Add the other processes' gradients to this one's; return the sum of their losses."""
        if self.spread.count == 1:
            return loss
        for weight in self.weights.values():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        total = torch.tensor([loss], device=self.device)
        self.spread.add_up([total, *(weight.grad for weight in self.weights.values() if weight.grad is not None)])
        return float(total)

    @property
    def _is_judged(self) -> bool:
        """Tell whether there are validation pairs."""
        return bool(self.validation or self.judged.rows)

    def _judge(self, state: State) -> bool:
        """Measure the epoch that has just ended; tell whether its weights are to be kept."""
        self.model.eval()
        with torch.no_grad():
            rows, watched = self.reader.row_losses(self.validation), self.reader.row_losses(self.watched)
            both = zip(self.judged_before, self.reader.said(self.judged.rows), strict=True)
            rows += self.judged.misranked([float((before - now).mean()) for before, now in both])
        if watched:
            state.general.append(mean(watched) - mean(self.watched_before))
        if rows:
            state.validation.append(mean(rows))
        if not rows and not self.watched:
            state.kept = state.epoch
            return False  # the last is kept, which needs no copy
        told = {"general_rise": state.general[-1:], "validation_loss": state.validation[-1:]}
        self.tell({name: value for name, values in told.items() for value in values}, state.step)
        choose(state, rows, self.settings.max_general_rise)
        return state.kept == state.epoch
