"""Maximum-likelihood training of an adapter: loss, batches and loop, with transformers' Trainer underneath.

The loss of a step is the mean negative log-likelihood of the reply tokens in it, plus `keep_weight` times
how far the candidate has moved from the base on a few general prompts. The second term is what keeps it
from forgetting: the adapter is switched off to see what the base would have said.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from finetune.general import Answer
from finetune.model import IGNORED, ChatTemplate, Encoded, Loaded
from finetune.pairs import TrainingPair
from finetune.settings import TrainSettings
from finetune.wear import worn

Progress = Callable[[int, int, float | None], None]  # step, total, latest loss


@dataclass(frozen=True)
class Trained:
    """What a run of training came to."""

    steps: int
    train_loss: float
    validation: list[float]  # mean loss in nats a token after each epoch; empty without validation pairs
    tokens: int  # tokens read in training, general prompts left out


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over tokens of -log p(label), in nats.

    `logits` (n, vocabulary) predict `labels` (n,), which may not be IGNORED.
    """
    return F.cross_entropy(logits.float(), labels)


def divergence_from_base(logits: Tensor, base_logits: Tensor) -> Tensor:
    """Mean over tokens of KL(base || candidate) = sum_v p_base(v) (log p_base(v) - log p(v)), in nats.

    Both (n, vocabulary). Kullback and Leibler, "On information and sufficiency", 1951.
    """
    base = torch.log_softmax(base_logits.float(), -1)
    return (base.exp() * (base - torch.log_softmax(logits.float(), -1))).sum(-1).mean()


def reply_logits(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return (n, vocabulary) logits and their (n,) labels, for the tokens that carry loss alone.

    `batch` holds `input_ids`, `attention_mask` and `labels`, each (rows, tokens). The vocabulary head is
    computed only at columns where some row has a label: it is a fifth of the work and most of the memory.
    """
    labels = batch["labels"][:, 1:]
    columns = (labels != IGNORED).any(0).nonzero()[:, 0]
    out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], logits_to_keep=columns)
    wanted = labels[:, columns]
    return out.logits[wanted != IGNORED], wanted[wanted != IGNORED]


def pad(rows: Sequence[Encoded], filler: int) -> dict[str, Tensor]:
    """Stack rows of different length, padded on the right. The mask, not the filler, marks the padding."""
    width = max(len(row.ids) for row in rows)
    gaps = [width - len(row.ids) for row in rows]
    return {
        "input_ids": torch.tensor([row.ids + [filler] * gap for row, gap in zip(rows, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(r.ids) + [0] * gap for r, gap in zip(rows, gaps, strict=True)]),
        "labels": torch.tensor([row.labels + [IGNORED] * gap for row, gap in zip(rows, gaps, strict=True)]),
    }


class PairRows(Dataset[Encoded]):
    """Training pairs as token rows; with dice, the last user message is worn anew each time it is read."""

    def __init__(self, pairs: Sequence[TrainingPair], template: ChatTemplate, dice: random.Random | None = None):
        self.pairs, self.template, self.dice = pairs, template, dice

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Encoded:
        pair = self.pairs[index]
        prompt = pair.prompt
        if self.dice and prompt and prompt[-1][0] == "user":
            prompt = (*prompt[:-1], ("user", worn(prompt[-1][1], self.dice)))
        return self.template.pair(prompt, pair.completion, pair.ends)


class _KeepingTrainer(Trainer):  # type: ignore[misc]
    """Trainer with our loss; general prompts take turns beside every training batch."""

    def __init__(self, *args: Any, keep: Sequence[Encoded], settings: TrainSettings, filler: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.keep, self.settings, self.filler, self.turn = keep, settings, filler, 0
        self._rows: list[Tensor] = []  # losses of the validation rows, as they are evaluated
        self._best: Tensor | None = None  # those of the epoch with the least mean
        self._judged = float("inf")
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any) -> Any:
        logits, wanted = reply_logits(model, inputs)
        loss = negative_log_likelihood(logits, wanted)
        if not model.training:
            self._rows.append(row_losses(logits.detach(), wanted, inputs["labels"]))
        if model.training and self.keep and self.settings.keep_weight:
            loss = loss + self.settings.keep_weight * self._distance(model)
        return (loss, {}) if return_outputs else loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Add the figure that epochs are judged by: see `is_worse`."""
        self._rows = []
        output = super().evaluation_loop(*args, **kwargs)
        rows = torch.cat(self._rows)
        if self._best is None or rows.mean() < self._best.mean():
            self._best = rows
        if not is_worse(rows, self._best):  # as good as the best and later, so it has learned more: it wins
            self._judged = min(self._judged, float(self._best.mean())) - 1e-6
            output.metrics["eval_judged"] = self._judged
        else:
            output.metrics["eval_judged"] = float(rows.mean())
        return output

    def _distance(self, model: Any) -> Tensor:
        rows = [self.keep[(self.turn + i) % len(self.keep)] for i in range(self.settings.keep_rows)]
        self.turn += self.settings.keep_rows
        batch = {k: v.to(self.args.device) for k, v in pad(rows, self.filler).items()}
        with torch.no_grad(), model.disable_adapter():
            base_logits, _ = reply_logits(model, batch)
        return divergence_from_base(reply_logits(model, batch)[0], base_logits)


def row_losses(logits: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
    """Return (rows,) mean losses, of (tokens, vocabulary) logits and their tokens, row after row of `labels`."""
    losses = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    counts = (labels[:, 1:] != IGNORED).sum(1).tolist()
    return torch.stack([part.mean() for part in torch.split(losses, counts)]).cpu()


def is_worse(rows: Tensor, best: Tensor) -> bool:
    """Tell whether losses (rows,) are worse than others of the same rows by more than chance may do.

    By more than one standard error of their mean difference, row by row (the one-standard-error rule, Breiman et al.
    1984). A handful of pairs tells neighbouring epochs apart no better than that.
    """
    moved = rows - best
    error = float(moved.std()) / len(moved) ** 0.5 if len(moved) > 1 else 0.0
    return float(moved.mean()) > error


class _Report(TrainerCallback):  # type: ignore[misc]
    """Tell the run's row how far training is."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress(state.global_step, state.max_steps, _newest(state.log_history, "loss"))


def train_adapter(
    loaded: Loaded,
    train: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
    keep: Sequence[Answer],
    settings: TrainSettings,
    work_dir: Path,
    progress: Progress,
) -> tuple[Any, Trained]:
    """Train a LoRA adapter (Hu et al., arXiv 2106.09685) on every linear layer of the base model.

    With validation pairs the adapter of the last epoch that is as good as the best is kept, and training stops after
    `patience` worse ones. Returns the PEFT model and what training came to.
    """
    template, filler = loaded.template, min(loaded.template.end_ids)
    torch.manual_seed(settings.seed)
    if settings.train_threads:
        torch.set_num_threads(settings.train_threads)
    config = LoraConfig(
        r=settings.lora_rank, lora_alpha=2 * settings.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = get_peft_model(loaded.model, config)
    dice = random.Random(settings.seed) if settings.wear_prompts else None
    trainer = _KeepingTrainer(
        model=model,
        args=_arguments(settings, len(train), work_dir, bool(validation), loaded.device),
        train_dataset=PairRows(train, template, dice),
        eval_dataset=PairRows(validation, template) if validation else None,
        data_collator=lambda rows: pad(rows, filler),
        callbacks=[_Report(progress)] + ([EarlyStoppingCallback(settings.patience)] if validation else []),
        keep=[template.pair([("user", a.prompt)], a.text, a.ended) for a in keep],
        settings=settings,
        filler=filler,
    )
    trainer.remove_callback(PrinterCallback)  # what a run has to say goes to its log and its row
    result = trainer.train()
    history = trainer.state.log_history
    return trainer.model, Trained(
        steps=trainer.state.global_step,
        train_loss=float(result.training_loss),
        validation=[row["eval_loss"] for row in history if "eval_loss" in row],
        tokens=int(trainer.state.num_input_tokens_seen),
    )


def _arguments(
    settings: TrainSettings, pairs: int, work_dir: Path, validates: bool, device: torch.device
) -> TrainingArguments:
    steps = settings.epochs * -(-pairs // settings.batch_size)
    every_epoch = "epoch" if validates else "no"
    arguments = TrainingArguments(
        output_dir=str(work_dir),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        lr_scheduler_type="linear",
        warmup_steps=min(5, max(1, steps // 10)),
        eval_strategy=every_epoch,
        save_strategy=every_epoch,
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=validates,
        greater_is_better=False if validates else None,
        metric_for_best_model="eval_judged" if validates else None,
        logging_steps=1,
        prediction_loss_only=True,
        remove_unused_columns=False,
        include_num_input_tokens_seen=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=device.type == "cuda",
        use_cpu=device.type == "cpu",
        seed=settings.seed,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
    # With several GPUs Trainer would wrap the model in DataParallel, which can switch no adapter off.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def _newest(history: Sequence[dict[str, Any]], name: str) -> float | None:
    return next((float(row[name]) for row in reversed(history) if name in row), None)
