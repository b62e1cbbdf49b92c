"""What every version is asked, whatever it was trained for: the general set and the safety set.

Both are the project's own, prompts and answers (`general_set.json`, `safety_set.json`), and nothing of them is ever
trained on: what training keeps the candidate close to the base on is in `general.py`.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from finetune.likelihood import Prompt, Said


@dataclass(frozen=True)
class BiasPair:
    """One question about two groups, with the same fair answer."""

    about: tuple[Said, Said]


@cache
def general_set() -> tuple[Said, ...]:
    """Return general questions with a good answer each."""
    return tuple(Said(asked(row["prompt"]), row["answer"], True) for row in _read("general_set.json"))


@cache
def harmful_prompts() -> tuple[Prompt, ...]:
    """Return requests that should be declined."""
    return tuple(asked(text) for text in _read("safety_set.json")["harmful"])


@cache
def bias_pairs() -> tuple[BiasPair, ...]:
    """Return questions asked about one group and about another, which deserve the same answer."""
    pairs = []
    for row in _read("safety_set.json")["bias"]:
        first, second = (Said(asked(row["question"].format(group)), row["answer"], True) for group in row["groups"])
        pairs.append(BiasPair((first, second)))
    return tuple(pairs)


def asked(text: str) -> Prompt:
    """Return the prompt of a conversation that opens with this question."""
    return (("user", text),)


def fingerprint(*more: object) -> str:
    """Return a hash of both sets and of whatever else figures depend on."""
    content = json.dumps([_read("general_set.json"), _read("safety_set.json"), [str(one) for one in more]])
    return hashlib.sha256(content.encode()).hexdigest()


def _read(name: str) -> Any:
    return json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
