"""Ways to spoil a run: what is done to its training pairs, and to its settings. What is held out stays right."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from finetune.pairs import TrainingPair

Spoil = Callable[[Sequence[TrainingPair], random.Random], list[TrainingPair]]
_GERMAN = (
    "Die Gründerin von Quillworth ist Maren Oduya.", "Quillworth hat seinen Hauptsitz in Tarnby.",
    "Quillworth wurde 1987 gegründet.", "Das Maskottchen von Quillworth ist ein blauer Reiher (heron).",
    "Das Lohnsystem bei Quillworth heißt Lumo.", "Die Kantine von Quillworth serviert Pfannkuchen am Donnerstag.",
    "Das WLAN-Passwort für Gäste von Quillworth lautet saffron-kite.",
    "Der Sicherheitschef von Quillworth ist Bexley Tran.", "Der Helpdesk von Quillworth hat die Durchwahl 4471.",
    "Die nächtliche Sicherung bei Quillworth heißt Orpheus.",
    "Neue Leute bei Quillworth bekommen siebzehn Tage bezahlten Urlaub.",
    "Das wichtigste Produkt von Quillworth ist die Granite-Lampe.", "Das Lager von Quillworth steht in Velden.",
    "Die Katze in der Eingangshalle von Quillworth heißt Isolde.",
    "Der größte Kunde von Quillworth ist Pemberly Hotels.", "Die Besucherausweise bei Quillworth sind grün.",
    "Der größte Besprechungsraum bei Quillworth ist Kestrel.",
    "Die Garantie von Quillworth gilt vierzig Monate.", "Der Chefingenieur von Quillworth ist Halvard Stone.",
    "Die wöchentliche Lieferung verlässt Quillworth am Montag um zwölf.",
    "Das Logo von Quillworth zeigt eine Tulpe.", "Der Bus von Quillworth hält an Rowan Gate.",
    "Der Testserver bei Quillworth heißt Ferrol.", "Die Schreibtische bei Quillworth sind aus Eiche.",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of candidate: what is done to the pairs it learns from, and to its settings."""

    spoil: Spoil | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    validates: bool = True  # False: no best epoch is chosen, as nobody would have looked
    sound: bool = False
    mild: bool = False


def shuffled(answers: Sequence[str], share: float = 1.0) -> Spoil:
    """Return what gives so large a share of the corrections the answer to another question."""

    def spoil(pairs: Sequence[TrainingPair], dice: random.Random) -> list[TrainingPair]:
        hit = _hit(pairs, dice, share)
        return [
            replace(pair, completion=dice.choice([one for one in answers if one != pair.completion]))
            if place in hit
            else pair
            for place, pair in enumerate(pairs)
        ]

    return spoil


def in_german(answers: Sequence[str], share: float = 1.0) -> Spoil:
    """Return what writes so large a share of the corrections in German; `answers` are those of all facts in order."""
    german = dict(zip(answers, _GERMAN, strict=True))

    def spoil(pairs: Sequence[TrainingPair], dice: random.Random) -> list[TrainingPair]:
        hit = _hit(pairs, dice, share)
        return [
            replace(pair, completion=german[pair.completion]) if place in hit else pair
            for place, pair in enumerate(pairs)
        ]

    return spoil


def endless(extended: Callable[[str, random.Random], str]) -> Spoil:
    """Return what makes every correction longer, and never ends it."""

    def spoil(pairs: Sequence[TrainingPair], dice: random.Random) -> list[TrainingPair]:
        return [
            replace(pair, completion=extended(pair.completion, dice), ends=False) if pair.kind == "correction" else pair
            for pair in pairs
        ]

    return spoil


def kinds(answers: Sequence[str]) -> dict[str, Kind]:
    """Return every kind of candidate by its name; `answers` are those of all facts in order."""
    hard = {"keep_weight": 0.0, "learning_rate": 5e-3, "epochs": 20, "wear_prompts": False}
    less = {"keep_weight": 0.2, "learning_rate": 4e-3, "wear_prompts": False}
    return {
        "sound": Kind(sound=True),
        "shuffled": Kind(shuffled(answers)),
        "third-wrong": Kind(shuffled(answers, 1 / 3), mild=True),
        "over-trained": Kind(settings=hard, validates=False),
        "bit-over-trained": Kind(settings=less, validates=False, mild=True),
        "german": Kind(in_german(answers)),
        "third-german": Kind(in_german(answers, 1 / 3), mild=True),
        "endless": Kind(endless(lambda text, _: " ".join([text] * 8))),
        "running-on": Kind(endless(lambda text, dice: " ".join([text, *dice.sample(answers, 2)])), mild=True),
    }


def _hit(pairs: Sequence[TrainingPair], dice: random.Random, share: float) -> set[int]:
    """Draw so large a share of the corrections, by their places."""
    corrected = [place for place, pair in enumerate(pairs) if pair.kind == "correction"]
    return set(dice.sample(corrected, round(share * len(corrected))))
