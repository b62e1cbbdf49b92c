"""What a process does that `accelerate launch` started beside the main one: its share of training, and nothing else."""

from feedback.settings import DataSettings
from finetune.base import ensure_base
from finetune.model import best_device, load_base
from finetune.spread import Ended, here
from finetune.train import train_along


def follow(data: DataSettings) -> None:
    """Wait for the main process's dataset, train on it beside that, and return when training has ended.

    It neither reads nor writes the record. Where the main process ends without training, it returns at once.
    """
    try:
        work = here().share(None)
        ensure_base(data)  # its own, on another host
        train_along(load_base(data.base_dir, dtype=work.dtype, device=best_device()), work)
    except Ended:
        return  # who ended it says why
