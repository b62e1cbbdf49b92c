"""A run's curves for TensorBoard, Weights & Biases or trackio, through accelerate's trackers; none unless asked for."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from feedback.errors import BadInput
from finetune.settings import TrainSettings

log = logging.getLogger("rapport.retrain")
Tell = Callable[[Mapping[str, Any], int], None]  # figures and words by name, and the step that they are of
_PROJECT = "rapport"


def quiet(_: Mapping[str, Any], __: int) -> None:
    """Tell nobody."""


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are not installed, before any work. Raises BadInput; each is a package of its own name."""
    for name in names:
        if find_spec(name) is None:
            raise BadInput(
                f"--report-to {name!r} needs the package {name}, which is not installed; run "
                f"`.venv/bin/python -m pip install {name}`, or leave it out."
            )


@contextmanager
def reporting(settings: TrainSettings, folder: Path, run: int) -> Iterator[Tell]:
    """Hand out what tells `settings.report_to` of a run in `folder`.

    A tracker that fails, as where nobody has logged in or a server is gone, is dropped with a line in the log: no
    curve is worth a run.
    """
    trackers = [_tracker(name, settings, folder, run) for name in settings.report_to]
    told = "\n".join(f"    {key} = {value}" for key, value in settings.model_dump(mode="json").items())
    trackers = [tracker for tracker in trackers if _works(tracker, lambda one: _begin(one, told))]

    def tell(values: Mapping[str, Any], step: int) -> None:
        for tracker in list(trackers):
            if not _works(tracker, lambda one: one.log(dict(values), step=step)):
                trackers.remove(tracker)

    try:
        yield tell
    finally:
        for tracker in trackers:
            _works(tracker, lambda one: one.finish())


def figures(verdict: str, reason: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the gate said and measured as one flat mapping: `gate/general/rise/mean` and so on."""
    return {"gate/verdict": verdict, "gate/reason": reason, **_flat("gate", measured)}


def _tracker(name: str, settings: TrainSettings, folder: Path, run: int) -> Any:
    """Make a tracker: TensorBoard in `folder`/tensorboard, the others as run `run` of the project rapport."""
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # accelerate's trackers ask it which process this is
    if name == "tensorboard":
        return LOGGER_TYPE_TO_CLASS[name](name, folder)
    more = {"dir": str(folder)} if name == "wandb" else {}
    return LOGGER_TYPE_TO_CLASS[name](_PROJECT, name=f"run-{run}", config=settings.model_dump(mode="json"), **more)


def _begin(tracker: Any, settings: str) -> None:
    tracker.start()
    if tracker.name == "tensorboard":  # the others have the settings as what they call a config
        tracker.log({"settings": settings}, step=0)


def _works(tracker: Any, use: Callable[[Any], None]) -> bool:
    try:
        use(tracker)
    # A stranger's package: it may raise anything, and must not end a run.
    except Exception:
        log.exception("Nothing more is reported to %s.", tracker.name)
        return False
    return True


def _flat(name: str, value: Any) -> dict[str, float]:
    """Return the finite numbers of nested mappings by their path; lists hold single rows, and are left out."""
    if isinstance(value, Mapping):
        return {path: number for key, part in value.items() for path, number in _flat(f"{name}/{key}", part).items()}
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {name: float(value)} if is_number and math.isfinite(value) else {}
