"""The forward pass of the Llama family in as few calls as it takes, with its linear layers in a chosen form.

Half the time of a step of one token goes into calling: transformers' own modules make about 45 calls a layer, these 20.
What another model is, `stock.Stock` computes. Both are checked against transformers' own pass before they serve.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

from chatui.engine.kernels import PACKS, Linear, Packed, Tuned, measured, on_grid
from chatui.engine.memory import Piece, Shape, attend

_FAMILY = ("llama", "mistral", "qwen2", "qwen3")


LowRank = tuple[Tensor, Tensor]  # what is added to a layer: up (outputs, rank) @ down (rank, inputs)


class Make:
    """Makes the parts of one form out of transformers' modules."""

    def __init__(self, form: str, hidden: int, inner: int, low_rank: Mapping[int, LowRank]):
        """`form` is float32, bfloat16, int8 or int4; the sizes are those that its speed is measured at.

        In int4 stand those weights only that lose nothing by it, if need be without what training added, which then
        stands beside them; the others are int8. `low_rank` tells what was added to a module, by the module's id.
        """
        self._low_rank = low_rank
        self.form, self._rows = form, measured(hidden, inner).rows if form in PACKS else {}
        self.dtype = torch.float32 if form == "float32" else torch.bfloat16

    def linear(self, *parts: Any) -> Linear:
        """Return one layer whose outputs are those of the parts, which read the same input, one after the other."""
        weight = torch.cat([part.weight.detach() for part in parts]) if len(parts) > 1 else parts[0].weight.detach()
        biases = [part.bias.detach() for part in parts if part.bias is not None]
        bias = torch.cat(biases) if biases else None
        if self.form in PACKS:
            return self._packed(weight.float(), bias, parts)
        if weight.dtype == self.dtype and len(parts) > 1:
            for part, piece in zip(parts, weight.split([p.weight.shape[0] for p in parts]), strict=True):
                part.weight.data = piece  # one copy in memory serves both
        return Linear(weight.to(self.dtype), None if bias is None else bias.to(self.dtype))

    def _packed(self, weight: Tensor, bias: Tensor | None, parts: Sequence[Any]) -> Linear:
        added = [self._low_rank.get(id(part)) for part in parts]
        if self.form == "int4" and any(added):
            up, down = side_by_side(parts, added)
            base = weight - up @ down
            if on_grid(base):
                return Tuned(Packed(base, bias, PACKS["int4"], self._rows["int4"]), up, down)
        form = "int4" if self.form == "int4" and on_grid(weight) else "int8"
        return Packed(weight, bias, PACKS[form], self._rows.get(form, 0))

    def norm(self, module: Any, of_stream: bool = True) -> "Norm":
        """Return a root-mean-square norm, of what runs through all layers or of what stays within one."""
        computed = stream_dtype(self.dtype, module.weight.device) if of_stream else self.dtype
        return Norm(module.weight.detach().to(computed), module.variance_epsilon, self.dtype)


def side_by_side(parts: Sequence[Any], added: Sequence[LowRank | None]) -> LowRank:
    """Return the low-rank part of layers whose outputs stand one after the other; None adds nothing to a layer."""
    ups, downs = [], []
    for part, one in zip(parts, added, strict=True):
        weight = part.weight
        up, down = one if one else (weight.new_zeros(weight.shape[0], 0), weight.new_zeros(0, weight.shape[1]))
        ups.append(up.float())
        downs.append(down.float())
    diagonal: Tensor = torch.block_diag(*ups)  # type: ignore[no-untyped-call]
    return diagonal, torch.cat(downs)


def stream_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return what the sum through all layers is kept in: on a CPU float32, which takes no longer and rounds less."""
    return torch.float32 if device.type == "cpu" else dtype


class Norm:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last dimension."""

    def __init__(self, weight: Tensor, epsilon: float, dtype: torch.dtype):
        """weight: (size,), in x's dtype; the result is in `dtype`."""
        self.weight, self.epsilon, self.dtype = weight, epsilon, dtype

    def __call__(self, x: Tensor) -> Tensor:
        """Return x's shape."""
        return rms_norm(x, self.weight.shape, self.weight, self.epsilon).to(self.dtype)


class Layer:
    """One layer's parts, those that read the same input side by side."""

    def __init__(self, module: Any, make: Make):
        """Take the weights out of a transformers decoder layer."""
        attn, mlp = module.self_attn, module.mlp
        self.before, self.after = make.norm(module.input_layernorm), make.norm(module.post_attention_layernorm)
        self.qkv, self.out = make.linear(attn.q_proj, attn.k_proj, attn.v_proj), make.linear(attn.o_proj)
        self.gate_up, self.down = make.linear(mlp.gate_proj, mlp.up_proj), make.linear(mlp.down_proj)
        norms = [make.norm(m, False) for m in (getattr(attn, "q_norm", None), getattr(attn, "k_norm", None)) if m]
        self.head_norms = (norms[0], norms[1]) if norms else None  # of queries and keys
        self.scale = float(attn.scaling)


def fits(model: Any) -> bool:
    """Tell whether a transformers model is one that `Decoder` computes."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        config.model_type in _FAMILY
        and config.hidden_act == "silu"
        and kinds == {"full_attention"}
        and not (config.model_type == "mistral" and config.sliding_window)
        and not hasattr(model, "peft_config")
        and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    )


class Decoder:
    """A model of the Llama family as one function of tokens."""

    def __init__(self, model: Any, form: str, low_rank: Mapping[str, LowRank] | None = None):
        """Take the weights of a transformers model over in a form; `low_rank` tells what was added to which layer."""
        config, inner = model.config, model.model
        added = {id(model.get_submodule(path)): parts for path, parts in (low_rank or {}).items()}
        make = Make(form, config.hidden_size, config.intermediate_size, added)
        self.layers = [Layer(layer, make) for layer in inner.layers]
        self.head, self.norm, self.form = make.linear(model.lm_head), make.norm(inner.norm), form
        tied = model.lm_head.weight is inner.embed_tokens.weight and type(self.head) is Linear
        self.embedding = self.head.weight if tied else inner.embed_tokens.weight.detach().to(make.dtype)
        self.stream = stream_dtype(make.dtype, self.embedding.device)
        self.rotary, self.heads = inner.rotary_emb, int(config.num_attention_heads)
        size = int(inner.layers[0].self_attn.head_dim)
        self.shape = Shape(len(self.layers), config.num_key_value_heads, size, make.dtype, self.embedding.device)

    @property
    def bytes(self) -> int:
        """Bytes that its weights take."""
        layers = (linear for one in self.layers for linear in (one.qkv, one.out, one.gate_up, one.down))
        tied = self.embedding is self.head.weight
        return sum(linear.bytes for linear in layers) + self.head.bytes + (0 if tied else int(self.embedding.nbytes))

    def logits(self, ids: Tensor, pieces: Sequence[Piece], at: Tensor) -> Tensor:
        """Read ids (rows, tokens) into the pieces' seats; return (len(at), vocabulary).

        `at` names the tokens whose successors are asked for, counted through the rows.
        """
        positions, size = torch.cat([piece.positions for piece in pieces]), self.shape.size
        ids, at = ids.to(self.shape.device), at.to(self.shape.device)
        x = self.embedding[ids.flatten()]
        cos, sin = self.rotary(x[None], positions)
        x = x.to(self.stream)
        # Rolling by half and (-sin, sin) do in two calls what negating and swapping the halves does.
        turn = torch.cat([-sin[..., : size // 2], sin[..., size // 2 :]], -1).view(-1, 1, size)
        cos = cos.view(-1, 1, size)
        for number, layer in enumerate(self.layers):
            states = layer.qkv(layer.before(x)).view(len(x), -1, size)
            x = x + layer.out(self._seen(number, layer, states, ids.shape, pieces, cos, turn))
            gate, up = layer.gate_up(layer.after(x)).chunk(2, -1)
            x = x + layer.down(silu(gate).mul_(up))
        return self.head(self.norm(x[at]))

    def _seen(
        self,
        number: int,
        layer: Layer,
        states: Tensor,
        batch: Sequence[int],
        pieces: Sequence[Piece],
        cos: Tensor,
        turn: Tensor,
    ) -> Tensor:
        """Attend with states (rows * tokens, heads, size): queries and keys, still to be turned, then values."""
        heads, size = self.heads, self.shape.size
        both = states[:, : heads + self.shape.heads]
        if layer.head_norms:
            of_queries, of_keys = layer.head_norms
            both.copy_(torch.cat([of_queries(both[:, :heads]), of_keys(both[:, heads:])], 1))
        both.copy_((both * cos).addcmul_(both.roll(size // 2, -1), turn))
        states = states.view(*batch, -1, size)
        seen = attend(pieces, number, states[:, :, :heads], states[:, :, heads:], layer.scale)
        return seen.reshape(-1, heads * size)
