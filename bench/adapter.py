"""Rapport's training alone, without pairs, gate and record: `bench/adapter.py NAME --lesson FILE ...`, as a process.

`rapport` is its loop with the objective and the rates of all the others in `bench/train.py`; `rapport-recipe` is what
`retrain` does by default: general prompts beside every batch, prompts worn, its own rates.
"""

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.learners import BATCH, RATE, Task, main
from bench.lessons import pairs
from finetune.general import Answer, general_answers
from finetune.model import best_device, load_base, training_dtype
from finetune.pairs import TrainingPair
from finetune.settings import TrainSettings
from finetune.train import train_adapter


def rapport(task: Task) -> float:
    """Train on the rows alone."""
    settings = {"keep_weight": 0.0, "wear_prompts": False, "learning_rate": RATE, "batch_size": BATCH}
    return _train(task, (), settings)


def rapport_recipe(task: Task) -> float:
    """Train as `retrain` does; the base model's answers to general prompts are made beforehand, as they are once."""
    device = best_device()
    base = load_base(task.base, dtype=training_dtype(device), device=device)
    task.out.mkdir(parents=True, exist_ok=True)
    return _train(task, general_answers(task.out / "general.json", base), {})


def _train(task: Task, keep: tuple[Answer, ...], own: dict[str, Any]) -> float:
    device = best_device()
    loaded = load_base(task.base, dtype=training_dtype(device), device=device)
    rows = [
        TrainingPair(str(place), str(place), pair.messages, pair.reply, pair.ended, "thumb_up")
        for place, pair in enumerate(pairs(task.told))
    ]
    passes = {"epochs": task.epochs} if task.epochs else {}
    settings = TrainSettings(seed=task.seed, **passes, **own)
    began = time.monotonic()
    model, _ = train_adapter(loaded, rows, [], keep, settings, task.out / "work", lambda *_: None)
    seconds = time.monotonic() - began
    model.save_pretrained(task.out, safe_serialization=True)
    return seconds


if __name__ == "__main__":
    sys.exit(main({"rapport": rapport, "rapport-recipe": rapport_recipe}))
