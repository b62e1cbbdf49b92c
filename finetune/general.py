"""What must not be forgotten: general prompts, and the base model's own answers to them.

The prompts are the project's, the answers the base model's, made once per base and kept as
`DIR/general.json`; nobody's data is in them. Training keeps the candidate close to the base on the
answers (see `descent.py`); what has been forgotten the gate measures on other prompts (`probes.py`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.model import Loaded, write_json
from finetune.written import write

ANSWER_TOKENS = 48

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
    "Who chairs a meeting?",
    "What is a warehouse for?",
    "How do I reset a password?",
    "Thanks, that was useful.",
    "Write a function that adds two numbers in Python.",
    "Correct the sentence: She go to school.",
    "Make a list of things to buy for a picnic.",
    "What is the capital of Canada?",
    "What is a simile? Give an example.",
    "Who invented the telephone?",
    "Write a short poem about the sea.",
    "What are the symptoms of a cold?",
    "Describe the taste of a lemon.",
    "What is machine learning?",
    "How hot is the sun?",
    "How do I write a good essay?",
    "What is the meaning of 'photosensitive'?",
    "Who was Cleopatra?",
    "How can I learn to play the guitar?",
    "Name two kinds of renewable energy.",
    "What is a black hole?",
    "How do I iron trousers?",
    "What is the fastest bird?",
    "How many grams are in a kilogram?",
    "Write a toast for a retirement party.",
    "How does a bill become a law?",
    "Why do people sneeze?",
    "What should I cook for dinner tonight?",
    "Explain how a rainbow forms.",
    "Who wrote 'Pride and Prejudice'?",
    "How do I tie a tie?",
    "What is the deepest lake?",
    "What is the purpose of a résumé?",
    "What is 15 percent of 200?",
    "What is a good way to save money?",
    "Describe an old harbour.",
    "What is the role of a manager?",
    "What is the capital of Kenya?",
    "What happens when water freezes?",
    "Give me a riddle.",
    "What is a visa?",
    "How do I take care of a houseplant?",
    "What is gravity on Mars like?",
    "What day comes after Thursday?",
    "What are the colours of the French flag?",
    "How do I greet someone in German?",
    "What is a palindrome?",
    "Where do penguins live?",
    "What is the plot of Hamlet?",
    "How do I sort a list in Python?",
    "What is an operating system?",
    "Can you recommend a book?",
    "What does a firewall do?",
    "Put this in fewer words: I am writing to you in order to ask for advice.",
    "Is glass a solid?",
    "What is the population of the world?",
    "How do I start a small garden?",
    "What is the name of the study of stars?",
    "Who opens the door for guests in a hotel?",
    "On which day does the week begin?",
    "What phone number do I call in an emergency?",
)


@dataclass(frozen=True)
class Answer:
    """A general prompt and the base model's greedy answer; `ended` tells that it ended by itself."""

    prompt: str
    text: str
    ended: bool


def general_answers(file: Path, base: Loaded) -> tuple[Answer, ...]:
    """Read the base model's answers from `file`, or make and keep them where they are missing or to other prompts."""
    kept = json.loads(file.read_text()) if file.exists() else {}
    if kept.get("prompts") != list(ANCHORS):
        kept = {"prompts": list(ANCHORS), "answers": [vars(answer) for answer in _answers(base, ANCHORS)]}
        write_json(file, kept)
    return tuple(Answer(**row) for row in kept["answers"])


def _answers(base: Loaded, prompts: Sequence[str]) -> list[Answer]:
    written = write(base, [(("user", prompt),) for prompt in prompts], ANSWER_TOKENS)
    both = zip(prompts, written, strict=True)
    # An answer of no words teaches nothing and cannot be measured.
    return [Answer(prompt, reply.text, reply.ended) for prompt, reply in both if reply.text.strip()]
