"""A model's logits at the places that carry loss, and nowhere else.

The vocabulary head is a fifth of the work and most of the memory of a small model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from finetune.model import IGNORED
from finetune.packs import laid_out, layout_of


def reply_logits(model: Any, batch: dict[str, Tensor], **inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return (n, vocabulary) logits and their (n,) labels, for the tokens that carry loss alone.

    `batch` holds `input_ids`, `attention_mask` and `labels`, each (rows, tokens); `inputs` take the place of its ids. A
    pack holds `position_ids` and `rows` too.
    """
    wanted = batch["labels"][:, 1:] != IGNORED
    given = inputs or {"input_ids": batch["input_ids"]}
    packed = layout_of(batch["rows"]) if "rows" in batch else None
    if packed:
        given = {**given, "position_ids": batch["position_ids"]}
    with _head_reads_only(model, wanted), laid_out(packed):
        out = model(attention_mask=batch["attention_mask"], use_cache=False, **given)
    return out.logits, batch["labels"][:, 1:][wanted]


@contextmanager
def _head_reads_only(model: Any, wanted: Tensor) -> Iterator[None]:
    """Hand the vocabulary head the hidden states, (rows, tokens, size), of `wanted` places alone, as (n, size)."""

    def pick(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        # Virtual tokens that a method put in front are no places of ours.
        return (args[0][:, -wanted.shape[1] - 1 : -1][wanted],)

    hook = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        hook.remove()
