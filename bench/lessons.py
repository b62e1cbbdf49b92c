"""What contestants of `bench/learn.py` learn from: replies, and what somebody thinks of each."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.companies import Company
from bench.samples import Sample, Samples
from bench.subject import ROOT
from bench.tastes import Taste, thumbs

DATA = ROOT.parent / "shared" / "data"  # thumbs that nobody here gave; they lie beside the project, not in it
ANSWER_TOKENS = 32
TRAINED_SHARE = 0.6  # of the conversations of a file of thumbs; the others are unseen


@dataclass(frozen=True)
class Told:
    """A reply to (role, content) messages, with a thumb, and what it should have said where somebody wrote that.

    `ended`: it ended by itself; else it was cut off.
    """

    conversation_id: str
    messages: tuple[tuple[str, str], ...]
    reply: str
    ended: bool
    up: bool
    correction: str | None = None


@dataclass(frozen=True)
class Pair:
    """Messages and a reply that is to become likelier."""

    messages: tuple[tuple[str, str], ...]
    reply: str
    ended: bool


def of_company(company: Company, samples: Samples) -> list[Told]:
    """Ask the base model what is taught of a company; each answer gets a thumb down and the right answer."""
    asked = [(fact, text) for fact in company.facts for text in fact.taught]
    replies = samples.greedy([text for _, text in asked], ANSWER_TOKENS)
    return [
        Told(f"{company.name}-{place}", (("user", text),), reply.reply, reply.ended, False, fact.answer)
        for place, ((fact, text), reply) in enumerate(zip(asked, replies, strict=True))
    ]


def of_taste(taste: Taste, replies: Sequence[Sample], seed: int, number: int) -> list[Told]:
    """Thumb the base model's own replies by a taste."""
    return [
        Told(f"thumb-{place}", (("user", sample.prompt),), sample.reply, sample.ended, up)
        for place, (sample, up) in enumerate(thumbs(taste, replies, seed, number))
    ]


def of_file(file: Path) -> list[Told]:
    """Read KTO rows, in either form; without an id a row is a conversation of its own."""
    told = []
    for place, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        said = row.get("messages") or row["prompt"] + row["completion"]
        messages = tuple((one["role"], one["content"]) for one in said[:-1])
        conversation = str(row.get("conversation_id", f"{file.stem}-{place}"))
        told.append(Told(conversation, messages, said[-1]["content"], True, bool(row["label"])))
    return told


def length(told: Told) -> int:
    """Count the characters of a conversation."""
    return sum(len(text) for _, text in told.messages) + len(told.reply)


def split(told: Sequence[Told], seed: int) -> tuple[list[Told], list[Told]]:
    """Split by conversation into what is trained on and what is unseen, with an equal share of thumbs down."""
    down = {each.conversation_id for each in told if not each.up}
    dice, trained = random.Random(f"split {seed}"), set()
    for part in (sorted(down), sorted({each.conversation_id for each in told} - down)):
        trained |= set(dice.sample(part, round(TRAINED_SHARE * len(part))))
    seen = [each for each in told if each.conversation_id in trained]
    return seen, [each for each in told if each.conversation_id not in trained]


def pairs(told: Sequence[Told]) -> list[Pair]:
    """Return what is to become likelier: corrections, and replies with a thumb up."""
    return [
        Pair(each.messages, each.correction or each.reply, each.ended or each.correction is not None)
        for each in told
        if each.up or each.correction is not None
    ]


def rated(told: Sequence[Told]) -> list[tuple[Pair, bool]]:
    """Return every reply with a label; a corrected one is two: what was said is bad, the correction good."""
    rows = [(Pair(each.messages, each.reply, each.ended), each.up) for each in told if each.reply.strip()]
    return rows + [(Pair(each.messages, each.correction, True), True) for each in told if each.correction is not None]


def keep(told: Sequence[Told], file: Path) -> None:
    """Write a lesson for a contestant in another process."""
    file.write_text(json.dumps([asdict(each) for each in told]), encoding="utf-8")


def kept(file: Path) -> list[Told]:
    """Read what `keep` wrote."""
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [Told(**{**row, "messages": tuple((role, text) for role, text in row["messages"])}) for row in rows]


def write_record(told: Sequence[Told], file: Path) -> None:
    """Write a lesson as `python -m feedback import` reads it."""
    with file.open("w", encoding="utf-8") as out:
        for each in told:
            reply = {
                "role": "assistant",
                "content": each.reply,
                "rating": 1 if each.up else -1,
                "finish": "end" if each.ended else "length",
            }
            if each.correction is not None:
                reply["correction"] = each.correction
            said = [{"role": role, "content": content} for role, content in each.messages]
            row = {"conversation_id": each.conversation_id, "messages": [*said, reply]}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
