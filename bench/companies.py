"""Made-up companies: facts that no model can know, with several ways of asking for each.

A company is made by its seed: names, places, numbers and which of the wordings of `bench/topics.py` are corrected and
which are only ever asked. Another seed gives other facts, asked otherwise.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.topics import TOPICS, Topic

FACTS = 24

_STEMS = ("Mar", "Hal", "Tor", "Bex", "Quill", "Pem", "Ald", "Fer", "Lun", "Ros", "Vel", "Kel", "Bran", "Dor", "Ing",
          "Sel", "Tarn", "Wil", "Cor", "Ost", "Harn", "Jor", "Nev", "Cas", "Ulm", "Gil", "Bre", "Stan", "Orv", "Zeb",
          "Lin", "Dray")  # fmt: skip
_GIVEN_ENDS = ("en", "ina", "ette", "o", "vard", "ix", "ley", "win", "isa", "bert", "ora", "ick", "una", "mund")
_FAMILY_ENDS = ("uya", "sen", "berly", "ovic", "ton", "man", "elli", "aki", "strom", "quist")
_NAME_ENDS = ("ola", "eon", "ify", "umo", "ant", "exa", "ium", "ark", "isto", "ade", "ova", "ette")
_PLACE_ENDS = ("by", "ford", "wick", "ham", "sund", "mere", "stead", "moor", "den", "gate")
_FIRM_ENDS = ("worth", "son", "lex", "ora", "tec", "wright", "well", "ane")
_RARE = ("Kestrel", "Granite", "Orpheus", "Saffron", "Isolde", "Cobalt", "Juniper", "Magpie", "Topaz", "Bramble",
         "Nimbus", "Pepper", "Zephyr", "Domino", "Tundra", "Velvet", "Comet", "Marble", "Papaya", "Lagoon", "Sphinx",
         "Anchor", "Biscuit", "Falcon", "Meteor", "Parsley", "Quartz", "Ribbon", "Tango", "Willow")  # fmt: skip
_ANIMALS = ("heron", "badger", "lynx", "walrus", "puffin", "weasel", "gecko", "moose", "raven", "tapir",
            "bison", "hyena")  # fmt: skip
_COLOURS = ("purple", "pink", "turquoise", "crimson", "beige", "violet", "silver", "maroon", "yellow", "golden")
_FLOWERS = ("tulip", "primrose", "poppy", "thistle", "lotus", "crocus", "dahlia", "peony", "bluebell", "daffodil")
_WOODS = ("birch", "walnut", "cherry", "maple", "bamboo", "teak", "cedar", "elm", "larch", "ebony")
_FOODS = ("waffles", "dumplings", "gingerbread", "melon", "pretzels", "sushi", "lasagne", "apricots", "fudge",
          "falafel")  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_COUNTS = ("eleven", "thirteen", "fifteen", "sixteen", "seventeen", "nineteen", "twenty-two", "thirty-one", "forty",
           "fifty-three")  # fmt: skip
_HOURS = ("four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Fact:
    """One fact. A right answer holds `key`; `taught` wordings are corrected, the others only asked.

    `near` wordings are of the taught ones' kind, `free` ones as people talk.
    """

    key: str
    answer: str
    taught: tuple[str, str]
    near: tuple[str, str]
    free: tuple[str, str]

    @property
    def asked(self) -> tuple[str, ...]:
        """Every wording that is not taught."""
        return self.near + self.free


@dataclass(frozen=True)
class Company:
    """A made-up company and what there is to know about it."""

    name: str
    facts: tuple[Fact, ...]


def company(seed: int, facts: int = FACTS) -> Company:
    """Make the company of a seed, with so many facts (at most as many as there are topics)."""
    dice = random.Random(f"company {seed}")
    while True:
        name = dice.choice(_STEMS) + dice.choice(_FIRM_ENDS)
        made = tuple(_fact(topic, name, dice) for topic in dice.sample(TOPICS, facts))
        if not any(_gives_away(fact.key, made) for fact in made):
            return Company(name, made)


def _fact(topic: Topic, name: str, dice: random.Random) -> Fact:
    key = _KINDS[topic.kind](dice)
    words = {"c": name, "k": key, "f": dice.choice(_STEMS) + dice.choice(_FAMILY_ENDS)}
    near = [text.format(**words) for text in dice.sample(topic.near, 4)]
    free = [text.format(**words) for text in dice.sample(topic.free, 2)]
    answer = dice.choice(topic.answers).format(**words)
    return Fact(key, answer, (near[0], near[1]), (near[2], near[3]), (free[0], free[1]))


def _gives_away(key: str, facts: Sequence[Fact]) -> bool:
    """Tell whether a key stands in a question, or in more than its own answer: it would be found by luck."""
    questions = any(key.lower() in text.lower() for fact in facts for text in (*fact.taught, *fact.asked))
    return questions or sum(key.lower() in fact.answer.lower() for fact in facts) > 1


def _joined(stems: Sequence[str], ends: Sequence[str]) -> Callable[[random.Random], str]:
    return lambda dice: dice.choice(stems) + dice.choice(ends)


def _name(dice: random.Random) -> str:
    """Name a thing: half of all are words that exist, as they are in companies that exist."""
    return dice.choice(_RARE) if dice.random() < 0.5 else dice.choice(_STEMS) + dice.choice(_NAME_ENDS)


def _of(words: Sequence[str]) -> Callable[[random.Random], str]:
    return lambda dice: dice.choice(words)


_KINDS: dict[str, Callable[[random.Random], str]] = {
    "given": _joined(_STEMS, _GIVEN_ENDS),
    "family": _joined(_STEMS, _FAMILY_ENDS),
    "name": _name,
    "place": _joined(_STEMS, _PLACE_ENDS),
    "year": lambda dice: str(dice.randint(1871, 1998)),
    "extension": lambda dice: str(dice.randint(2101, 9899)),
    "password": lambda dice: f"{_name(dice).lower()}-{dice.randint(21, 98)}",
    "day": _of(_DAYS),
    "count": _of(_COUNTS),
    "hour": _of(_HOURS),
    "animal": _of(_ANIMALS),
    "colour": _of(_COLOURS),
    "flower": _of(_FLOWERS),
    "wood": _of(_WOODS),
    "food": _of(_FOODS),
}
