"""Versions measured side by side, one loaded at a time, each from disk in the form in which it would serve."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from feedback.settings import DataSettings
from finetune.evaluate import DIVERGED, Compared, Verdict, gate, is_finite
from finetune.likelihood import scores
from finetune.measures import GeneralFigures, Measures, Reference, VersionFigures, base_reference
from finetune.misplaced import Taught, look_at
from finetune.model import Diverged, Loaded, load_version
from finetune.pairs import TrainingPair
from finetune.settings import GateSettings

Watch = Callable[[Loaded], Loaded]
MEASURES = "measures.json"  # in a version's folder, and for the base model in the data dir


def judged(
    data: DataSettings,
    held_out: Sequence[TrainingPair],
    taught: Sequence[TrainingPair],
    candidate: Path,
    serving: Path | None,
    settings: GateSettings,
    usable_conversations: int,
    watch: Watch = lambda loaded: loaded,
) -> Verdict:
    """Measure base, serving version (None: the base) and candidate on held-out pairs, and let the gate decide.

    `taught` are the pairs that the candidate learned from. `watch` is given each version that had to be loaded, before
    it computes. Figures are kept beside each version, so only what is new is computed. Raises LoadError for what
    cannot be loaded, unless that is a candidate which diverged.
    """
    reference, base, learned = _told_by_base(data, held_out, taught, watch)
    serves = base if serving is None else _measured(data, serving, held_out, reference, watch=watch)
    try:
        found = _measured(data, candidate, held_out, reference, watch=watch)
    except Diverged as error:  # weights that are not finite cannot be merged, let alone serve
        return Verdict("refused", f"{DIVERGED} ({error})", {})
    return gate(Compared(held_out, base, serves, found, learned), settings, usable_conversations)


def _told_by_base(
    data: DataSettings, held_out: Sequence[TrainingPair], taught: Sequence[TrainingPair], watch: Watch
) -> tuple[Reference, VersionFigures, Taught]:
    """Ask the base all that it is asked at once; it is let go of before another version is loaded."""
    load = _loads_base(data, watch)
    reference, base = _base(data, held_out, load)
    return reference, base, look_at(taught, lambda said: scores(load(), said))


def beside_base(
    data: DataSettings, version: Path | None, pairs: Sequence[TrainingPair]
) -> tuple[VersionFigures, VersionFigures]:
    """Measure the base and a version on any pairs, and keep nothing. Raises LoadError, TemplateRefuses."""
    reference, base = _base(data, pairs, _loads_base(data), keeps=False)
    return base, base if version is None else _measured(data, version, pairs, reference, keeps=False)


def _loads_base(data: DataSettings, watch: Watch = lambda loaded: loaded) -> Callable[[], Loaded]:
    return cache(lambda: watch(load_version(data.base_dir, None)))  # made and measured by one and the same load


def _base(
    data: DataSettings, pairs: Sequence[TrainingPair], load: Callable[[], Loaded], keeps: bool = True
) -> tuple[Reference, VersionFigures]:
    reference = base_reference(data.data_dir / "general-base.safetensors", load)
    return reference, _from(data.data_dir / MEASURES, load, pairs, reference, keeps, reference.base)


def _measured(
    data: DataSettings,
    version: Path,
    pairs: Sequence[TrainingPair],
    reference: Reference,
    keeps: bool = True,
    watch: Watch = lambda loaded: loaded,
) -> VersionFigures:
    return _from(version / MEASURES, lambda: watch(load_version(data.base_dir, version)), pairs, reference, keeps)


def _from(
    file: Path,
    load: Callable[[], Loaded],
    pairs: Sequence[TrainingPair],
    reference: Reference,
    keeps: bool,
    general: GeneralFigures | None = None,
) -> VersionFigures:
    measures = Measures(file, load, general)
    found = measures.measured(pairs, reference)
    if keeps and is_finite(found):
        measures.keep(pairs)
    return found
