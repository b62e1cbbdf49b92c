"""Choosing how a version is computed here: the fastest way that says the same.

Every way sits the exam; what raises the loss over the model as it was loaded by more than `MOST_RISE`, or says
something else altogether, does not serve.
"""

import logging
from collections.abc import Callable, Iterator

import torch

from chatui.engine.decoder import Decoder, fits
from chatui.engine.exam import Exam, Network
from chatui.engine.graphs import graphed, recordable
from chatui.engine.kernels import PACKS, measured
from chatui.engine.stock import Stock
from chatui.needs import LoadedVersion

log = logging.getLogger("rapport.engine")
MOST_RISE = 0.015  # nats a token on the exam, so that 0.02 holds elsewhere
_MOST_APART = 0.25  # nats between the losses of a token; rounding moves them by a tenth of that, a fault by more
_PACK_UP_TO = 2_000_000_000  # parameters; a pack stands beside the weights in bfloat16, and takes half as much again


def fit(loaded: LoadedVersion, form: str = "auto", shared: bool = False) -> Network | None:
    """Return the fastest way to compute a version, None where that is reply by reply with the model's own code.

    `form` is how its weights are kept on a CPU; unless it is auto, only it and the model's own are tried. A `shared`
    model, that others put adapters on, is computed as it is.
    """
    exam = Exam(loaded)
    for make in _ways(loaded, form, shared):
        try:
            network = make()
            marks = exam.marks(network)
        # A stranger's model or this build's kernels may fail in any way; the next way is tried, and the last is plain.
        except Exception as error:  # noqa: BLE001
            log.warning("A way to compute the model failed (%s); another one is taken.", error)
            continue
        if marks.rise <= MOST_RISE and marks.apart <= _MOST_APART:
            return network
        log.warning("Computed as %s the model is not the same (%s); another way is taken.", network.form, marks)
    return None


def _ways(loaded: LoadedVersion, form: str, shared: bool = False) -> Iterator[Callable[[], Network]]:
    model = loaded.model
    if fits(model) and not shared:
        for name in _forms(loaded, form):
            if loaded.device.type == "cuda" and recordable(model):
                yield lambda name=name: graphed(Decoder(model, name, loaded.low_rank))  # type: ignore[misc]
            yield lambda name=name: Decoder(model, name, loaded.low_rank)  # type: ignore[misc]
    yield lambda: Stock(model)


def _forms(loaded: LoadedVersion, form: str) -> list[str]:
    own = "float32" if loaded.model.dtype == torch.float32 else "bfloat16"
    if loaded.device.type != "cpu":
        return [own]
    if form != "auto":
        return [form, own]
    config = loaded.model.config
    big = sum(p.numel() for p in loaded.model.parameters()) > _PACK_UP_TO
    order = measured(config.hidden_size, config.intermediate_size).order
    # More bits than the model came with make it slower and no better.
    return [f for f in order if not (big and f in PACKS) and (f != "float32" or own == "float32")]
