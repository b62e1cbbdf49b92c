"""Any transformers model that lets its attention be replaced, computed for many replies in one batch."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from chatui.engine.memory import Piece, Shape, attend

_NAME = "rapport"
_now = threading.local()  # the pieces of the step that this thread computes


def shape_of(model: Any) -> Shape:
    """Tell what a token takes in a transformers model, as its configuration has it."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(config.num_hidden_layers, heads, size, model.dtype, model.device)


class Stock:
    """A transformers model as one function of tokens; its own code but for what attention looks at."""

    form = "as loaded"

    def __init__(self, model: Any, activate: Callable[[], None] = lambda: None):
        """`activate` makes the shared model this version's before each step."""
        self.model, self._activate, self.shape = model, activate, shape_of(model)

    @property
    def bytes(self) -> int:
        """Bytes that its weights take."""
        return sum(p.nbytes for p in self.model.parameters())

    def logits(self, ids: Tensor, pieces: Sequence[Piece], at: Tensor) -> Tensor:
        """Read ids (rows, tokens) into the pieces' seats; return (len(at), vocabulary); see `Decoder.logits`."""
        self._activate()
        ids, at = ids.to(self.shape.device), at.to(self.shape.device)
        former, _now.pieces = self.model.config._attn_implementation, pieces
        self.model.set_attn_implementation(_NAME)
        try:
            positions = torch.cat([piece.positions for piece in pieces])
            last = ids.shape[1] == 1
            out = self.model(input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=1 if last else 0)
        finally:
            self.model.set_attn_implementation(former)
            _now.pieces = ()
        logits: Tensor = out.logits.flatten(0, 1)[at]
        return logits


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers asks: (rows, heads, tokens, size) in, (rows, tokens, heads, size) out."""
    if softcap or s_aux is not None:
        raise NotImplementedError("attention with a soft cap or with sinks is not computed in batches")
    keys_values = torch.cat([key, value], 1).transpose(1, 2)
    return attend(_now.pieces, module.layer_idx, query.transpose(1, 2), keys_values, scaling, sliding_window), None


AttentionInterface.register(_NAME, _attention)
