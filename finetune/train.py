"""Training by maximum likelihood, and by what keeps it from forgetting: the loop, step by step.

The loss of a step is the mean loss of the good replies' tokens in it, plus `negative_weight` times that of the bad
replies' tokens, plus the contrast of liked and disliked replies, plus `keep_weight` times (twice that where nothing is
copied) how far the candidate has moved from the base on a few general prompts; each is a function in `objectives.py`.
All dice are thrown anew from the seed for every step and row, so that a run that goes on from a checkpoint throws the
same.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from feedback.errors import RapportError
from finetune import checkpoints, methods, objectives, shard
from finetune import perturbations as perturb
from finetune.batches import PairRows, deal, pad, parts
from finetune.best import better, mean
from finetune.checkpoints import State
from finetune.forward import reply_logits
from finetune.general import Answer
from finetune.lean import lean
from finetune.model import IGNORED, Encoded, Loaded
from finetune.pairs import TrainingPair
from finetune.plan import pace, plan
from finetune.settings import TrainSettings
from finetune.short_rows import short_rows
from finetune.spread import here
from finetune.thumbs import Thumbs, apart, are_contrasted
from finetune.tracking import Tell, quiet

Progress = Callable[[int, int, float, State], None]  # step, total, latest loss, and what was measured so far
# (batch, logits, tokens, places) -> weighted losses, of the places of the batch that the logits are for
_Losses = Callable[[dict[str, Tensor], Tensor, Tensor, slice], Tensor]
_Found = TypeVar("_Found")
_PUSHES = {"unlikelihood": objectives.unlikelihood, "cringe": objectives.cringe}  # token by token
_WITHOUT_EFFECT = {"train_threads", "train_gpu_memory", "report_to"}  # settings that change no adapter
_CHUNK = 512  # places whose losses are computed at once
_NEAR = 0.05  # weight of rated replies' drift beside that of general prompts: what is liked must be free to change
# Where a run has nothing to copy: share of a method's rate, and how much more general prompts pull.
_THUMBS_RATE, _THUMBS_PULL = 0.5, 2.0
_WATCHED = 8  # general prompts kept out of training, to see after each epoch what it forgets
_WATCH_FROM = 96  # general prompts from which on so many can be spared; of 48, eight less doubled what was forgotten


@dataclass(frozen=True)
class Trained:
    """What a run of training came to."""

    steps: int
    train_loss: float
    validation: list[
        float
    ]  # mean after each epoch of pairs' losses in nats a token, and of misranked thumbs; may be empty
    tokens: int  # tokens read in training, padding and general prompts left out
    general: list[
        float
    ]  # rise of the loss on general prompts not trained on, after each epoch; empty if none is spared
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
        self.filler = min(template.end_ids)
        plainly_good = not (settings.label_smoothing or settings.repeat_weight)
        self.lean_losses = [self._plain_losses, self._keep_losses, *([self._good_losses] if plainly_good else [])]
        contrasted = are_contrasted(train, settings.negative)
        (rated, copied), (judged, steering) = (apart(p) if contrasted else ([], p) for p in (train, validation))
        pushed = [p for p in copied if not p.good] if settings.negative in _PUSHES else []
        wear, seed = settings.wear_prompts, settings.seed
        self.good, self.bad = (PairRows(p, template, wear, seed) for p in ([p for p in copied if p.good], pushed))
        self.thumbs, self.judged = Thumbs(rated, template, seed), Thumbs(judged, template)
        steered = PairRows([p for p in steering if p.good], template)
        self.validation = [steered.read(i) for i in range(len(steered))]
        copies = len(self.good) or len(self.bad)
        if not copies and not self.thumbs.rows:
            raise RapportError("Nothing good is left to train on; thumb replies up, correct some, or give --negative.")
        self.plan = plan(copies, self.thumbs.larger_side, settings.batch_size, settings.epochs)
        general = [template.pair([("user", a.prompt)], a.text, a.ended) for a in keep]
        spared = _WATCHED if len(general) >= _WATCH_FROM else 0
        self.watched, general = general[:spared], general[spared:]
        self.keep = general if settings.keep_weight else []
        self.sharded = shard.is_asked_for(self.spread)
        if self.sharded:
            shard.shard(loaded.model, settings.method, self.spread)
        torch.manual_seed(settings.seed)
        with torch.no_grad():  # before anything is added to the base
            self.model = loaded.model
            self.watched_before = self._row_losses(self.watched)
            self.thumbs_before, self.judged_before = (self._said(t.rows) for t in (self.thumbs, self.judged))
            self.likely = self._likely(self.keep[: self.plan.steps * settings.keep_rows])
        self.rounded = loaded.model.dtype == torch.bfloat16
        self.base, self.embed = loaded.model, loaded.model.get_input_embeddings()
        self.model = methods.adapt(loaded, settings, self.plan.steps)
        self.weights = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.rate = settings.learning_rate or methods.METHODS[settings.method].rate * (1 if copies else _THUMBS_RATE)
        self.pull = settings.keep_weight * (1 if copies else _THUMBS_PULL)
        self.optimizer = torch.optim.AdamW(list(self.weights.values()), lr=self.rate, weight_decay=0.0, fused=True)

    def precision(self) -> AbstractContextManager[Any]:
        """Round what full training computes, whose weights stand in float32, as everything else is rounded."""
        half = self.settings.method == "full" and self.rounded
        return torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext()

    def run(self, work_dir: Path, progress: Progress, resume: bool) -> Trained:
        """Train to the last epoch, or until patience ends; put the weights that were kept in place."""
        key = self._key()
        state, kept, inner = self._begin(work_dir, key, resume)
        methods.set_inner_state(self.model, inner)
        while state.epoch < self.plan.epochs and not (self._is_judged and state.worse >= self.settings.patience):
            self._epoch(state, progress)
            if self._judge(state) and self.spread.main:
                kept = {name: weight.detach().clone() for name, weight in self.weights.items()}
            inner = methods.inner_state(self.model, self.settings.method)
            if self.spread.main:
                checkpoints.save(work_dir, key, state, self.weights, self.optimizer, kept, inner)
        self.spread.part()
        for name, weight in kept.items():
            self.weights[name].data.copy_(weight)
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
        try:
            loss = self._gradient(step, good, bad, rated)
        except torch.OutOfMemoryError:
            if self.base.is_gradient_checkpointing:
                raise
            # What a layer computed is forgotten from here on, and computed again on the way back.
            self.base.gradient_checkpointing_enable({"use_reentrant": False})
            self.optimizer.zero_grad()
            loss = self._gradient(step, good, bad, rated)
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

    def _gradient(self, step: int, good: Sequence[Encoded], bad: Sequence[Encoded], rated: Sequence[int]) -> float:
        """Add up the gradient of this process's rows part by part; return their part of the loss."""
        settings = self.settings
        torch.manual_seed(settings.seed * 1_000_003 + step + (self.spread.index << 40))
        loss = self._descend(good, self._good_losses, disturbed=True)
        loss += self._descend(bad, self._bad_losses, settings.negative_weight)
        loss += self._contrast(rated)
        if self.keep:
            turn = [(step * settings.keep_rows + i) % len(self.keep) for i in range(settings.keep_rows)]
            likely = [self.likely[i] for i in turn]
            loss += self._descend([self.keep[i] for i in turn], self._keep_losses, self.pull, likely)
        return loss

    def _descend(
        self,
        rows: Sequence[Encoded],
        losses: _Losses,
        scale: float = 1.0,
        likely: Sequence[tuple[Tensor, Tensor]] = (),
        disturbed: bool = False,
    ) -> float:
        """Add the gradient of `scale` times the rows' mean loss, weighted token by token; return that loss.

        Of it, a process adds and returns what its own rows make: the mean is over all processes' rows.
        """
        rows = [row for row in rows if any(label != IGNORED for label in row.labels)]
        whole = sum(sum(map(abs, row.weights)) for row in rows)
        done = 0.0
        for picked, batch in self._batches(rows) if whole else ():
            if likely:
                said = [likely[i] for i in picked] or [(likely[0][0][:0], likely[0][1][:0])]
                batch["likely"], batch["chances"] = (torch.cat(part) for part in zip(*said, strict=True))
            inputs = self._disturbed(batch) if disturbed else {}
            loss = self._sum(batch, losses, inputs) * (scale / whole)
            torch.autograd.backward(loss)
            if disturbed and self.settings.adversarial:
                read = inputs["inputs_embeds"]
                assert read.grad is not None
                worse = read.detach() + perturb.worst_direction(read.grad, self.settings.adversarial)
                torch.autograd.backward(self._sum(batch, losses, {"inputs_embeds": worse}) * (scale / whole))
            done += float(loss.detach())
        return done

    def _contrast(self, rated: Sequence[int]) -> float:
        """Add the gradient of the contrast of rated replies, and of how far their tokens drift; return that loss."""
        rows, done = [self.thumbs.rows[i] for i in rated], 0.0
        tokens = sum(len(self.thumbs_before[i]) for i in rated)
        for picked, batch in self._batches(rows):
            places = [rated[i] for i in picked]
            nothing = self.thumbs_before[0][:0]  # where this process has no row of the step
            before = torch.cat([nothing, *(self.thumbs_before[i] for i in places)])
            gains = before - self._places(batch, self._plain_losses, {})
            signs, weights = (
                torch.tensor([of[i] for i in places], device=self.device)
                for of in (self.thumbs.signs, self.thumbs.weights)
            )
            losses = objectives.reward(_by_row(gains, batch), signs, self.settings.reward_strength)
            loss = (losses * weights).sum() / self.plan.each
            loss = loss + _NEAR * self.settings.keep_weight * objectives.drift(gains).sum() / tokens
            torch.autograd.backward(loss)
            done += float(loss.detach())
        return done

    def _sum(self, batch: dict[str, Tensor], losses: _Losses, inputs: dict[str, Tensor]) -> Tensor:
        return self._places(batch, losses, inputs).sum()

    def _places(self, batch: dict[str, Tensor], losses: _Losses, inputs: dict[str, Tensor]) -> Tensor:
        """Return losses at a batch's places; what takes many whole in float32 is computed in chunks, and again."""
        logits, tokens = reply_logits(self.model, batch, **inputs)
        if len(logits) <= _CHUNK or losses in self.lean_losses:
            return losses(batch, logits, tokens, slice(None))
        made = []
        for start in range(0, len(logits), _CHUNK):
            places = slice(start, start + _CHUNK)
            made.append(checkpoint(losses, batch, logits[places], tokens[places], places, use_reentrant=False))
        return torch.cat(made)

    def _plain_losses(self, _: dict[str, Tensor], logits: Tensor, tokens: Tensor, __: slice) -> Tensor:
        return objectives.mle(logits, tokens)

    def _good_losses(self, batch: dict[str, Tensor], logits: Tensor, tokens: Tensor, places: slice) -> Tensor:
        said = batch["labels"][:, 1:] != IGNORED
        losses = objectives.mle(logits, tokens, self.settings.label_smoothing)
        if self.settings.repeat_weight:
            rows = said.nonzero()[:, 0][places]
            losses = losses + self.settings.repeat_weight * objectives.own_repeats(logits, tokens, rows)
        return losses * batch["weights"][:, 1:][said][places]

    def _bad_losses(self, batch: dict[str, Tensor], logits: Tensor, tokens: Tensor, places: slice) -> Tensor:
        contrast = _PUSHES[self.settings.negative]
        weights = -batch["weights"][:, 1:][batch["labels"][:, 1:] != IGNORED][places]
        return contrast(logits, tokens) * weights

    def _keep_losses(self, batch: dict[str, Tensor], logits: Tensor, _: Tensor, places: slice) -> Tensor:
        return objectives.divergence_from_base(logits, batch["likely"][places], batch["chances"][places])

    def _disturbed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what the model reads in place of a batch's ids: nothing but where a setting asks for it."""
        settings, ids, labels = self.settings, batch["input_ids"], batch["labels"]
        if settings.scheduled_sampling:
            with torch.no_grad():
                guesses = reply_logits(self.model, batch)[0].argmax(-1)
            ids = perturb.sampled_inputs(ids, labels, guesses, settings.scheduled_sampling)
        if not (settings.reply_dropout or settings.embedding_noise or settings.adversarial):
            return {"input_ids": ids}
        read = self.embed(ids)
        if settings.reply_dropout:
            read = perturb.earlier_replies_dropped(read, labels, settings.reply_dropout)
        if settings.embedding_noise:
            read = read + perturb.noise(read, batch["attention_mask"], settings.embedding_noise)
        if settings.adversarial:
            read = read if read.requires_grad else read.detach().requires_grad_()
            read.retain_grad()
        return {"inputs_embeds": read}

    def _batches(self, rows: Sequence[Encoded]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Yield this process's share of the rows, batch by batch: their places among all, and tensors.

        Where the model is divided, one that has fewer batches than another gets some of one row, which is nobody's.
        """
        lengths = [len(row.ids) for row in rows]
        hands = deal(lengths, self.spread.count)
        passes_of = [parts([lengths[i] for i in hand], self.device.type) for hand in hands]
        mine = [[hands[self.spread.index][i] for i in part] for part in passes_of[self.spread.index]]
        if self.sharded:
            mine += [[]] * (max(map(len, passes_of)) - len(mine))
        for picked in mine:
            batch = pad([rows[i] for i in picked] or [Encoded([self.filler], [IGNORED], [0.0])], self.filler)
            yield picked, {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _likely(self, rows: Sequence[Encoded]) -> list[tuple[Tensor, Tensor]]:
        """Return what the base says at each place of the rows, see `objectives.likely_tokens`."""
        made: dict[int, tuple[Tensor, Tensor]] = {}
        for picked, batch in self._batches(rows):
            counts = (batch["labels"][:, 1:] != IGNORED).sum(1).tolist()
            logits = torch.split(reply_logits(self.model, batch)[0], counts)
            for i, part in zip(picked, logits, strict=False):
                ids, chances = objectives.likely_tokens(part)
                made[i] = ids.cpu(), chances.cpu()
        return [(ids.to(self.device), chances.to(self.device)) for ids, chances in self._of_all(made)]

    def _said(self, rows: Sequence[Encoded]) -> list[Tensor]:
        """Return the loss, in nats, of each token of each row that carries one."""
        made: dict[int, Tensor] = {}
        for picked, batch in self._batches(rows):
            counts = (batch["labels"][:, 1:] != IGNORED).sum(1).tolist()
            each = torch.split(self._places(batch, self._plain_losses, {}), counts)
            made |= {i: part.cpu() for i, part in zip(picked, each, strict=False)}
        return [said.to(self.device) for said in self._of_all(made)]

    def _row_losses(self, rows: Sequence[Encoded]) -> list[float]:
        """Return each row's mean loss in nats a token that carries one."""
        return [float(said.mean()) for said in self._said(rows)]

    def _of_all(self, found: Mapping[int, _Found]) -> list[_Found]:
        """Return what each process found of its share of the rows, in the rows' order."""
        merged = {i: one for part in self.spread.gather(found) for i, one in part.items()}
        return [merged[i] for i in sorted(merged)]

    @property
    def _is_judged(self) -> bool:
        """Tell whether there are validation pairs."""
        return bool(self.validation or self.judged.rows)

    def _judge(self, state: State) -> bool:
        """Measure the epoch that has just ended; tell whether its weights are to be kept."""
        self.model.eval()
        with torch.no_grad():
            rows, watched = self._row_losses(self.validation), self._row_losses(self.watched)
            both = zip(self.judged_before, self._said(self.judged.rows), strict=True)
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
        if better(state, rows, self.settings.max_general_rise):
            state.kept, state.worse = state.epoch, 0
        else:
            state.worse += 1
        if rows and (not state.best or mean(rows) < mean(state.best)):
            state.best = rows
        return state.kept == state.epoch


def _by_row(places: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Sum what stands at a batch's places, (n,), row by row, (rows,)."""
    rows = (batch["labels"][:, 1:] != IGNORED).nonzero()[:, 0]
    return places.new_zeros(len(batch["labels"])).index_add(0, rows, places)
