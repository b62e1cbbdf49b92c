"""Other ways to learn the same lesson, each in a process of its own: `bench/learners.py NAME --lesson FILE ...`.

`plain` is LoRA as tutorials have it: rank 16 on every linear layer, 1e-3, 7 epochs, loss on the reply alone. TRL's
trainers are used as their documentation says: once as they are (all weights tuned, their own rates), once tuned for a
small machine and for few rows: the same LoRA, bfloat16, no recomputation, by length. The trained weights are left in
--out; the last line printed is `{"train_s": ...}`, or `{"skipped": why}`.
"""

import argparse
import importlib.util
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from transformers.utils import logging as quiet

from bench.lessons import Pair, Told, kept, pairs, rated
from bench.streams import Missing

EPOCHS, RATE, KTO_RATE, BATCH, MAX_TOKENS = 7, 1e-3, 5e-4, 8, 1024


@dataclass(frozen=True)
class Task:
    """What a learner is given. Without `epochs` it makes as many passes as it thinks right."""

    base: Path
    told: Sequence[Told]
    out: Path
    seed: int
    epochs: int | None = None

    def arguments(self, **own: Any) -> dict[str, Any]:
        """Return what every trainer here is told, and what its own are."""
        passes = {"num_train_epochs": self.epochs} if self.epochs else {}
        where = {"output_dir": str(self.out), "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
        return {**where, "seed": self.seed, "use_cpu": not torch.cuda.is_available(), **own, **passes}


Learner = Callable[[Task], float]  # returns the seconds of training


def lora() -> LoraConfig:
    """Return the adapter that all who use one have: Rapport's own."""
    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def plain(task: Task) -> float:
    """Tune LoRA with transformers' Trainer."""
    torch.manual_seed(task.seed)
    tokenizer = AutoTokenizer.from_pretrained(task.base, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(task.base, dtype=torch.bfloat16, local_files_only=True)
    options = {"per_device_train_batch_size": BATCH, "learning_rate": RATE, "num_train_epochs": EPOCHS}
    trainer = Trainer(
        model=get_peft_model(model, lora()),
        args=TrainingArguments(**task.arguments(**options, remove_unused_columns=False)),
        train_dataset=[encode(tokenizer, pair) for pair in pairs(task.told)],
        data_collator=lambda rows: pad(rows, tokenizer.eos_token_id),
    )
    return _trained(trainer, task)


def trl_sft(task: Task) -> float:
    """Use TRL's SFTTrainer as it is."""
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(**task.arguments())
    rows = Dataset.from_list([sft_row(pair) for pair in pairs(task.told)])
    return _trained(SFTTrainer(str(task.base), args=config, train_dataset=rows), task)


def trl_sft_tuned(task: Task) -> float:
    """Use TRL's SFTTrainer with what a small machine and few rows ask for."""
    from trl import SFTConfig, SFTTrainer

    rates = {"learning_rate": RATE, "num_train_epochs": EPOCHS, "per_device_train_batch_size": BATCH}
    config = SFTConfig(**task.arguments(**rates, **_light(), train_sampling_strategy="group_by_length"))
    rows = Dataset.from_list([sft_row(pair) for pair in pairs(task.told)])
    return _trained(SFTTrainer(str(task.base), args=config, train_dataset=rows, peft_config=lora()), task)


def trl_kto(task: Task) -> float:
    """Use TRL's KTOTrainer as it is."""
    from trl import KTOConfig, KTOTrainer

    config = KTOConfig(**task.arguments())
    rows = Dataset.from_list(kto_rows(task.told, task.seed))
    return _trained(KTOTrainer(str(task.base), args=config, train_dataset=rows), task)


def trl_kto_tuned(task: Task) -> float:
    """Use TRL's KTOTrainer with the same LoRA, and weights that make good and bad rows count alike."""
    from trl import KTOConfig, KTOTrainer

    rows = kto_rows(task.told, task.seed)
    up = sum(row["label"] for row in rows)
    weights = {"desirable_weight": max(1.0, (len(rows) - up) / max(1, up))}
    weights |= {"undesirable_weight": max(1.0, up / max(1, len(rows) - up))}
    rates = {"learning_rate": KTO_RATE, "num_train_epochs": EPOCHS, "per_device_train_batch_size": BATCH}
    config = KTOConfig(**task.arguments(**rates, **weights, **_light()))
    trainer = KTOTrainer(str(task.base), args=config, train_dataset=Dataset.from_list(rows), peft_config=lora())
    return _trained(trainer, task)


LEARNERS: dict[str, Learner] = {
    "plain": plain,
    "trl-sft": trl_sft,
    "trl-sft-tuned": trl_sft_tuned,
    "trl-kto": trl_kto,
    "trl-kto-tuned": trl_kto_tuned,
}


def encode(tokenizer: Any, pair: Pair) -> dict[str, list[int]]:
    """Return ids and labels of a pair; only the reply carries loss, and its end where it ended."""
    turns = [{"role": role, "content": content} for role, content in pair.messages]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    reply = tokenizer(pair.reply, add_special_tokens=False)["input_ids"]
    reply += [tokenizer.eos_token_id] if pair.ended else []
    ids, labels = before + reply, [-100] * len(before) + reply
    return {"input_ids": ids[:MAX_TOKENS], "labels": labels[:MAX_TOKENS]}


def pad(rows: Sequence[dict[str, list[int]]], filler: int) -> dict[str, torch.Tensor]:
    """Stack rows, padded on the right."""
    width = max(len(row["input_ids"]) for row in rows)

    def stacked(name: str, gap: int) -> torch.Tensor:
        return torch.tensor([row[name] + [gap] * (width - len(row[name])) for row in rows])

    mask = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
    ids, labels = stacked("input_ids", filler), stacked("labels", -100)
    return {"input_ids": ids, "labels": labels, "attention_mask": torch.tensor(mask)}


def sft_row(pair: Pair) -> dict[str, Any]:
    """Write a pair as TRL's conversational prompt and completion."""
    prompt = [{"role": role, "content": content} for role, content in pair.messages]
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": pair.reply}]}


def kto_rows(told: Sequence[Told], seed: int) -> list[dict[str, Any]]:
    """Write what was told as TRL's rows with a label, shuffled: KTOTrainer reads them in the order they come in."""
    rows = [{**sft_row(pair), "label": good} for pair, good in rated(told)]
    random.Random(f"rows {seed}").shuffle(rows)
    return rows


def _light() -> dict[str, Any]:
    """Return what makes TRL lighter: weights in bfloat16, nothing computed twice."""
    return {"model_init_kwargs": {"dtype": "bfloat16"}, "gradient_checkpointing": False}


def _trained(trainer: Any, task: Task) -> float:
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    trainer.save_model(str(task.out))
    return seconds


def main(learners: Mapping[str, Learner]) -> int:
    """Learn one lesson in one way, as the command line says."""
    parser = argparse.ArgumentParser(description="One way to learn a lesson.")
    parser.add_argument("name", choices=learners)
    for folder in ("lesson", "base", "out"):
        parser.add_argument(f"--{folder}", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--epochs", type=int)
    given = parser.parse_args()
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    try:
        if given.name.startswith("trl") and not importlib.util.find_spec("trl"):
            raise Missing("needs trl (bench/requirements.txt)")
        task = Task(given.base, kept(given.lesson), given.out, given.seed, given.epochs)
        print(json.dumps({"train_s": learners[given.name](task)}))
    except Missing as missing:
        print(json.dumps({"skipped": str(missing)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(LEARNERS))
