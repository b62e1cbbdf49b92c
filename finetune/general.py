"""What must not be forgotten: general prompts, and the base model's own answers to them.

The prompts are the project's, the answers the base model's, made once per base and kept as
`DIR/general.json`; nobody's data is in them. Training keeps the candidate close to the base on the
answers to `ANCHORS` (see `train.py`); the gate measures forgetting on those to `UNSEEN`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from finetune.model import Loaded, write_json

ANSWER_TOKENS = 48
_BATCH = 16

ANCHORS = (
    "Explain gravity to a child.",
    "Give me a recipe for pancakes.",
    "Who wrote Romeo and Juliet?",
    "What is a database?",
    "List five animals that live in the sea.",
    "How can I sleep better?",
    "Write a haiku about rain.",
    "What does a lawyer do?",
    "Summarise the plot of Cinderella.",
    "How many days are in a leap year?",
    "What is the difference between a virus and a bacterium?",
    "Tell me a joke.",
    "What should I pack for a beach holiday?",
    "How do computers store numbers?",
    "Describe a sunset in two sentences.",
    "Who was Albert Einstein?",
    "What is the largest ocean?",
    "Give me tips for a job interview.",
    "What is an adverb?",
    "How do I change a bicycle tyre?",
    "Write an email asking for a day off.",
    "What is inflation?",
    "Why do leaves fall in autumn?",
    "What is a healthy breakfast?",
    "Name a famous painter.",
    "How does a fridge work?",
    "What is the boiling point of water?",
    "Suggest a name for a dog.",
    "What is Python used for?",
    "Give three reasons to exercise.",
    "Who are you?",
    "What can you help me with?",
    "Where is the Eiffel Tower?",
    "What colour is a ripe banana?",
    "When did the Second World War end?",
    "Which planet is closest to the sun?",
    "Who painted the Mona Lisa?",
    "What time zone is London in?",
    "Name the capital of Japan.",
    "How long is a marathon?",
    "What is the name of the longest river?",
    "Who leads a company?",
    "What is a warehouse for?",
    "How do I reset a password?",
    "Thank you for your help.",
    "Write a function that adds two numbers in Python.",
    "Correct the sentence: She go to school.",
    "Make a list of things to buy for a picnic.",
)
UNSEEN = (
    "What is the capital of France?", "Why is the sky blue?", "Name three primary colours.",
    "How do I boil an egg?", "What is photosynthesis?", "Translate 'good morning' into French.",
    "Write a short thank-you note to a colleague.", "What is 12 times 8?", "Who discovered penicillin?",
    "What is the heaviest land animal?", "Give me two ideas for a birthday present.",
    "Which country has the most people?", "What does a thermometer measure?",
    "Write one sentence about the moon.", "How do bees make honey?", "What is a mortgage?",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """A general prompt and the base model's greedy answer; `ended` tells that it ended by itself."""

    prompt: str
    text: str
    ended: bool


@dataclass(frozen=True)
class General:
    """The base model's answers: to train beside, and to measure on."""

    anchors: tuple[Answer, ...]
    unseen: tuple[Answer, ...]


def general_answers(file: Path, base: Loaded) -> General:
    """Read the base model's answers from `file`, or make and keep them."""
    if not file.exists():
        made = {"anchors": _answers(base, ANCHORS), "unseen": _answers(base, UNSEEN)}
        write_json(file, {part: [vars(a) for a in answers] for part, answers in made.items()})
    kept = json.loads(file.read_text())
    return General(*(tuple(Answer(**row) for row in kept[part]) for part in ("anchors", "unseen")))


def _answers(base: Loaded, prompts: tuple[str, ...]) -> list[Answer]:
    answers = []
    for start in range(0, len(prompts), _BATCH):
        answers += _answer_batch(base, prompts[start : start + _BATCH])
    # An answer of no words teaches nothing and cannot be measured.
    return [a for a in answers if a.text.strip()]


def _answer_batch(base: Loaded, prompts: tuple[str, ...]) -> list[Answer]:
    template = base.template
    rows = [template.prompt([("user", prompt)]) for prompt in prompts]
    width, pad = max(map(len, rows)), min(template.end_ids)
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=base.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=base.device)
    with torch.inference_mode():
        written = base.model.generate(
            ids, attention_mask=mask, max_new_tokens=ANSWER_TOKENS, do_sample=False, pad_token_id=pad
        )
    answers = []
    for prompt, tokens in zip(prompts, written[:, width:].tolist(), strict=True):
        end = next((place for place, token in enumerate(tokens) if token in template.end_ids), None)
        answers.append(Answer(prompt, template.decode(tokens[:end]), end is not None))
    return answers
