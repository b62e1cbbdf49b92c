"""Rows as the trainers of TRL read them, one JSON object a line, in their conversational formats.

`sft`: `prompt`, `completion`: every text that is good, corrections in the place of what they correct.
`kto`: the same with `label`, and every text that is bad with the label false.
`dpo`: `prompt`, `chosen`, `rejected`: corrections before the words that they correct, and replies before the siblings
that they were chosen over. In all of them the texts are lists of messages, and the prompt is what was served.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from feedback.judging import GOOD, opinions
from feedback.records import Feedback

TRL_FORMATS = ("sft", "kto", "dpo")


def trl_lines(record: Iterable[Feedback], form: str) -> Iterator[str]:
    """Write a record as lines of one of TRL_FORMATS; replies without a prompt have no row."""
    rows = {"sft": _sft, "kto": _kto, "dpo": _dpo}[form]
    for feedback in record:
        if feedback.prompt:
            prompt = [{"role": role, "content": text} for role, text in feedback.prompt]
            for row in rows(feedback):
                yield json.dumps({"prompt": prompt, **row}, ensure_ascii=False) + "\n"


def _sft(feedback: Feedback) -> Iterator[dict[str, Any]]:
    for opinion in opinions(feedback):
        if opinion.rule in GOOD:
            yield {"completion": _reply(opinion.text)}


def _kto(feedback: Feedback) -> Iterator[dict[str, Any]]:
    for opinion in opinions(feedback):
        if opinion.usable:
            yield {"completion": _reply(opinion.text), "label": opinion.rule in GOOD}


def _dpo(feedback: Feedback) -> Iterator[dict[str, Any]]:
    good, *own = opinions(feedback)
    if own and own[0].rule in ("corrected", "corrected_but_liked"):  # liked or not, the correction is better
        yield {"chosen": _reply(good.text), "rejected": _reply(own[0].text)}
    if good.rule == "reviewer_rejected" or not feedback.content.strip():
        return
    for text in feedback.beat.values():
        yield {"chosen": _reply(feedback.content), "rejected": _reply(text)}


def _reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
