"""A short exam: how well a model says what a good assistant would, in whichever way it is computed.

It decides which form of the weights may serve, so its questions are of many kinds; nothing is trained on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from chatui.engine.memory import Piece, Shape, Slab, seat_for
from chatui.needs import LoadedVersion

_STEPS = 4  # last tokens of each answer that are read one by one, as a reply is written
# The first alone for a big model: each is a pass over all its weights, and those round more gently.
_QUESTIONS = (
    (
        "How do vaccines work?",
        "A vaccine shows the immune system a harmless part of a germ. The body learns to recognise it and keeps cells "
        "that remember. When the real germ comes later, those cells respond quickly, so that the illness is prevented "
        "or made milder.",
    ),
    (
        "Write a Python function that counts the vowels in a text.",
        "```python\ndef count_vowels(text):\n    return sum(1 for letter in text.lower() if letter in 'aeiou')\n```\n\n"
        "It turns the text into lower case and counts each letter that is a vowel.",
    ),
    (
        "Give me three tips for sleeping better.",
        "1. Go to bed and get up at the same time every day.\n2. Keep the bedroom dark, quiet and cool.\n3. Put "
        "screens away an hour before you want to sleep, and avoid coffee in the afternoon.",
    ),
    (
        "What is 17 times 6, and how can I work it out in my head?",
        "17 times 6 is 102. Split 17 into 10 and 7: 10 times 6 is 60, and 7 times 6 is 42. Together that makes 102.",
    ),
    (
        "My order has not arrived yet. What can I do?",
        "I am sorry to hear that. Please check the tracking link in your confirmation email first. If the parcel has "
        "not moved for three days, send us your order number, and we will ask the carrier or send you a new one.",
    ),
    (
        "Tell me a very short story about a lighthouse.",
        "The old lighthouse had not been lit for twenty years. One night, in a storm, a fisherman's daughter climbed "
        "its stairs with a lantern. Far out at sea her father saw the light and turned his boat towards home.",
    ),
    (
        "光合作用是什么？",
        "光合作用是植物利用阳光，把水和二氧化碳变成糖和氧气的过程。",
    ),
)
_BIG = 1_000_000_000  # parameters


class Network(Protocol):
    """A model as one function of tokens; `decoder.Decoder` and `stock.Stock` are the ones there are."""

    shape: Shape
    form: str

    @property
    def bytes(self) -> int:
        """Bytes that its weights take."""

    def logits(self, ids: Tensor, pieces: Sequence[Piece], at: Tensor) -> Tensor:
        """Read ids (rows, tokens) into the pieces' seats; return (len(at), vocabulary), see `Decoder.logits`.

        `ids` and `at` may lie in the host's memory; where a row reads one token, `at` names every row, in order.
        """


@dataclass(frozen=True)
class Marks:
    """How far a network is from the model as it was loaded, in nats a token.

    `rise`: how much higher the loss is. `apart`: how far, up or down, the tokens' losses are from each other, where
    prompts are read or where replies are written, whichever is worse. Not a number for what is none.
    """

    rise: float
    apart: float


class Exam:
    """The questions in one model's tokens, and its own marks as transformers computes it."""

    def __init__(self, loaded: LoadedVersion):
        """Let the model sit the exam as it was loaded."""
        template, parameters = loaded.template, sum(p.numel() for p in loaded.model.parameters())
        questions = _QUESTIONS if parameters < _BIG else _QUESTIONS[:1]
        self._rows = [(template.prompt([("user", asked)]), template.encode(answer)) for asked, answer in questions]
        most = template.context
        self._rows = [(p, a[: most - len(p)]) for p, a in self._rows if len(p) + _STEPS < most and len(a) > _STEPS]
        self._own = [self._stock(loaded, *row) for row in self._rows]

    def marks(self, network: Network) -> Marks:
        """Let the model sit the exam as `network` computes it."""
        if not self._rows:
            return Marks(0.0, 0.0)
        moved = [other - own for own, other in zip(self._own, self._sit(network), strict=True)]
        read, written = torch.cat([m[: 1 - _STEPS] for m in moved]), torch.cat([m[1 - _STEPS :] for m in moved])
        apart = torch.stack([read.abs().mean(), written.abs().mean()]).max()
        return Marks(float(torch.cat(moved).mean()), float(apart))

    @staticmethod
    def _stock(loaded: LoadedVersion, prompt: list[int], answer: list[int]) -> Tensor:
        ids = torch.tensor([prompt + answer], device=loaded.device)
        with torch.inference_mode():
            logits = loaded.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
        return _loss(logits, answer)

    def _sit(self, network: Network) -> list[Tensor]:
        """Read all rows as a batch, padded, and their ends token by token, as replies are read and written."""
        device, rows = network.shape.device, self._rows
        read = [len(prompt) + len(answer) - _STEPS for prompt, answer in rows]
        width = max(read)
        slab = Slab(network.shape, seat_for(width + _STEPS))
        losses = []
        for begin in range(0, len(rows), slab.seats):
            some = list(zip(rows[begin : begin + slab.seats], read[begin : begin + slab.seats], strict=True))
            losses += self._sit_some(network, slab, some, max(length for _, length in some), device)
        return losses

    @staticmethod
    def _sit_some(
        network: Network,
        slab: Slab,
        some: list[tuple[tuple[list[int], list[int]], int]],
        width: int,
        device: torch.device,
    ) -> list[Tensor]:
        ids = torch.tensor([[*prompt, *answer][:r] + [0] * (width - r) for (prompt, answer), r in some], device=device)
        asked = [(n * width + len(prompt) - 1, r - len(prompt) + 1) for n, ((prompt, _), r) in enumerate(some)]
        at = torch.cat([torch.arange(first, first + count, device=device) for first, count in asked])
        with torch.inference_mode():
            whole = network.logits(ids, [Piece(slab, 0, [0] * len(some), width)], at)
            read = torch.split(whole, [count for _, count in asked])
            written = []
            for step in range(_STEPS - 1):
                tokens = torch.tensor([[answer[step - _STEPS]] for (_, answer), _ in some], device=device)
                piece = Piece(slab, 0, [r + step for _, r in some], 1)
                written.append(network.logits(tokens, [piece], torch.arange(len(some), device=device)))
        rest, answers = torch.stack(written, 1), [answer for (_, answer), _ in some]
        return [_loss(torch.cat([a, b]), answer) for a, b, answer in zip(read, rest, answers, strict=True)]


def _loss(logits: Tensor, tokens: list[int]) -> Tensor:
    """Return the loss (tokens,) in nats of tokens by (tokens, vocabulary) logits."""
    wanted = torch.tensor(tokens, device=logits.device)
    return torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none").cpu()
