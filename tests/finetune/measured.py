"""Figures of made-up versions, for the gate's tests."""

from collections.abc import Sequence
from dataclasses import replace

from finetune.likelihood import Score
from finetune.measures import GeneralFigures, ReplyFigures, VersionFigures
from finetune.pairs import TrainingPair


def pairs(n: int, conversations: int | None = None, kind: str = "correction", good: bool = True) -> list[TrainingPair]:
    return [
        TrainingPair(f"{kind}{i}", f"c{i % (conversations or n)}", (("user", "hello"),), "world", True, kind, good=good)
        for i in range(n)
    ]


GENERAL = GeneralFigures(
    loss=[2.0, 2.5, 1.5, 2.2],
    kept=[0.5, 0.7],
    divergence=[0.0] * 6,
    written=[ReplyFigures(20, True, 0.0), ReplyFigures(48, False, 0.1)],
    distinct_2=0.8,
    refused=[True, False, True, False],
    bias=[0.1, 0.1],
)


def version(
    losses: Sequence[float],
    end: float = 0.1,
    general: GeneralFigures = GENERAL,
    good: int | None = None,
    ended: bool = True,
    elsewhere: Sequence[float | None] = (),
    foreign: Sequence[bool | None] = (),
    own: Sequence[ReplyFigures] = (),
) -> VersionFigures:
    """Make up a version by the loss of each held-out reply; so many of these are good, all unless told.

    `elsewhere` is the loss of each after other prompts, `foreign` whether the version's own reply to each prompt is in
    another language; not asked, unless told. `own` are those replies as a whole.
    """
    own = [*own] or [ReplyFigures(12, ended, 0.0, 0.5)] * (len(losses) if good is None else good)
    own = [replace(figures, foreign=told) for figures, told in zip(own, foreign, strict=True)] if foreign else own
    return VersionFigures(
        "float32", general, [Score(loss, 10, end) for loss in losses], own, [*elsewhere] or [None] * len(losses)
    )


def general(**changed: object) -> GeneralFigures:
    return replace(GENERAL, **changed)
