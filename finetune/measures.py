"""What one version does on held-out pairs, on the general set and on the safety set: raw figures, each kept in a file.

`figures.py` makes means, intervals and changes of them; `evaluate.py` the verdict. A version is loaded the first time
that a figure is missing, so what serves is seldom loaded again only to be compared with.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from finetune.alike import words
from finetune.likelihood import (
    Distribution,
    Prompt,
    Said,
    Score,
    scores,
    scores_and_distributions,
    scores_and_divergences,
)
from finetune.model import Loaded, best_device, write_json
from finetune.pairs import TrainingPair
from finetune.probes import bias_pairs, fingerprint, general_set, harmful_prompts
from finetune.tongues import tongue
from finetune.witnesses import by_question
from finetune.written import Written, distinct, write

GENERAL_PROMPTS, GENERAL_TOKENS = 16, 48  # of the general set so many are answered, in at most so many tokens
_ROOM = 2  # times these tokens, within which a reply that has grown longer ends, and one that runs on does not
OWN_PROMPTS, OWN_TOKENS = 24, 64  # of the held-out prompts
_ELSEWHERE, _ELSEWHERE_ROWS = 4, 200  # other prompts for each correction; most of such rows in all
_SHORT = 48  # tokens; a good reply of more may well be cut at OWN_TOKENS, so its prompt is not answered
HARM_TOKENS = 24
_KIND = 5  # of figures in a file; another number makes all of them anew


@dataclass(frozen=True)
class ReplyFigures:
    """A greedy reply in figures: its tokens, whether it ended, repeated 4-grams; beside a good one, what they share.

    `overlap`: the words shared (F1). `foreign`: whether it is in another language, None where either's cannot be told.
    `runs_on`: it did not end in twice the room either, which only replies to general prompts are given.
    """

    tokens: int
    ended: bool
    repeated: float
    overlap: float | None = None
    foreign: bool | None = None
    runs_on: bool | None = None


@dataclass(frozen=True)
class GeneralFigures:
    """One version on the sets that every version is asked, in their order.

    `loss` is that of each general answer written by the project, `kept` that of the base's own answers to the same
    questions, `divergence` the KL from the base on both, all in nats a token; `bias` is the distance in nats a token
    between the same answer for one group and for the other.
    """

    loss: list[float]
    kept: list[float]
    divergence: list[float]
    written: list[ReplyFigures]
    distinct_2: float
    refused: list[bool]
    bias: list[float]


@dataclass(frozen=True)
class Reference:
    """What versions are held against: the general answers, the base's own, and what the base says at each token.

    `base` holds the base's own figures where the reference was not read but made, for which most of them were needed.
    """

    answers: list[Said]  # those of the general set, then the base's own
    distributions: list[Distribution]
    base: GeneralFigures | None = None


@dataclass(frozen=True)
class VersionFigures:
    """One version, measured: the general sets, each held-out pair, and its own reply to each of `own_pairs`.

    `elsewhere` holds, for each pair, its reply's loss after other prompts, a token; None where it is not asked.
    """

    form: str
    general: GeneralFigures
    scores: list[Score]
    own: list[ReplyFigures]
    elsewhere: list[float | None]


class Measures:
    """One version's figures, from its file or from the version itself."""

    def __init__(self, file: Path, load: Callable[[], Loaded], general: GeneralFigures | None = None):
        """Read `file` if it was made of the sets as they are now; `load` gives the version once it is needed.

        `general` are its figures on the general sets, where they were made just now.
        """
        self.file, self._load, self._made = file, load, general
        self._loaded: Loaded | None = None
        self._fingerprint = _made_of()
        self._kept = self._read()

    @property
    def loaded(self) -> Loaded:
        """The version. Raises LoadError."""
        if self._loaded is None:
            self._loaded = self._load()
            self._kept["form"] = form(self._loaded)
        return self._loaded

    def measured(self, pairs: Sequence[TrainingPair], reference: Reference) -> VersionFigures:
        """Measure what is not known yet. Raises LoadError, TemplateRefuses."""
        said = [Said(pair.prompt, pair.completion, pair.ends) for pair in pairs]
        found = self._scores(said)
        own = self._own([Said(pair.prompt, pair.completion, pair.ends) for pair in own_pairs(pairs, found)])
        elsewhere = self._elsewhere(after_others(pairs))
        return VersionFigures(self._kept.get("form", ""), self._general(reference), found, own, elsewhere)

    def keep(self, held: Sequence[TrainingPair]) -> None:
        """Write the figures to the file, those of replies that are held out no more left out."""
        asked = [Said(pair.prompt, pair.completion, pair.ends) for pair in held]
        keys = {_key(said) for said in [*asked, *(said for others in after_others(held) for said in others)]}
        for part in ("scores", "own"):
            self._kept[part] = {key: value for key, value in self._kept[part].items() if key in keys}
        write_json(self.file, self._kept)

    def _read(self) -> dict[str, Any]:
        try:
            kept = json.loads(self.file.read_text())
            if kept["fingerprint"] == self._fingerprint and {"form", "scores", "own"} <= set(kept):
                return dict(kept)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no file, half a file, another's: the figures are made anew
        return {"fingerprint": self._fingerprint, "scores": {}, "own": {}}

    def _scores(self, said: Sequence[Said]) -> list[Score]:
        kept = self._kept["scores"]
        missing = [one for one in said if _key(one) not in kept]
        if missing:
            kept.update({_key(one): asdict(s) for one, s in zip(missing, scores(self.loaded, missing), strict=True)})
        return [Score(**kept[_key(one)]) for one in said]

    def _elsewhere(self, said: Sequence[Sequence[Said]]) -> list[float | None]:
        found = iter(self._scores([one for others in said for one in others]))
        return [sum(next(found).loss for _ in others) / len(others) if others else None for others in said]

    def _own(self, said: Sequence[Said]) -> list[ReplyFigures]:
        kept = self._kept["own"]
        missing = [one for one in said if _key(one) not in kept]
        if missing:
            written = write(self.loaded, [one.prompt for one in missing], OWN_TOKENS)
            for one, reply in zip(missing, written, strict=True):
                kept[_key(one)] = asdict(_reply(reply, one.text))
        return [ReplyFigures(**kept[_key(one)]) for one in said]

    def _general(self, reference: Reference) -> GeneralFigures:
        if "general" not in self._kept:
            loaded = self.loaded  # which also notes in which form it is
            self._kept["general"] = asdict(self._made or general_figures(loaded, reference))
        kept = dict(self._kept["general"])
        return GeneralFigures(**{**kept, "written": [ReplyFigures(**row) for row in kept["written"]]})


def general_figures(loaded: Loaded, reference: Reference) -> GeneralFigures:
    """Measure a version on the general set and the safety set. Raises TemplateRefuses."""
    found, moved = scores_and_divergences(loaded, reference.answers, reference.distributions)
    return _general_figures(loaded, found, moved, _written_freely(loaded))


def _general_figures(
    loaded: Loaded, found: Sequence[Score], moved: list[float], written: Sequence[Written]
) -> GeneralFigures:
    losses = [score.loss for score in found]
    pairs = [scores(loaded, [pair.about[side] for pair in bias_pairs()]) for side in (0, 1)]
    first = [reply.within(GENERAL_TOKENS) for reply in written]
    return GeneralFigures(
        loss=losses[: len(general_set())],
        kept=losses[len(general_set()) :],
        divergence=moved,
        written=[replace(_reply(one), runs_on=not whole.ended) for one, whole in zip(first, written, strict=True)],
        distinct_2=distinct([reply.ids for reply in first]),
        refused=[reply.refuses for reply in write(loaded, harmful_prompts(), HARM_TOKENS)],
        bias=[abs(first.loss - second.loss) for first, second in zip(*pairs, strict=True)],
    )


def _written_freely(loaded: Loaded) -> list[Written]:
    """Have the general prompts answered, in twice the room that counts."""
    return write(loaded, _general_prompts(), GENERAL_TOKENS * _ROOM)


def base_reference(file: Path, base: Callable[[], Loaded]) -> Reference:
    """Read what versions are held against from `file`, or have it made by the base and keep it. Raises LoadError."""
    made_of = _made_of()
    try:
        with safe_open(file, "pt") as kept:
            known = kept.metadata() or {}
            if known.get("fingerprint") == made_of:
                answers = [_answer(row) for row in json.loads(known["answers"])]
                places = range(len(answers))
                told = [Distribution(kept.get_tensor(f"{n}.log"), kept.get_tensor(f"{n}.ids")) for n in places]
                return Reference(answers, told)
    except (OSError, SafetensorError):
        pass  # no file yet, or half of one
    reference = _make_reference(base())
    tensors = {f"{n}.log": one.log_probabilities for n, one in enumerate(reference.distributions)}
    tensors |= {f"{n}.ids": one.ids for n, one in enumerate(reference.distributions)}
    partial = file.with_name(file.name + ".partial")
    rows = json.dumps([asdict(one) for one in reference.answers])
    save_file(tensors, partial, metadata={"fingerprint": made_of, "answers": rows})
    partial.replace(file)
    return reference


def _make_reference(base: Loaded) -> Reference:
    written = _written_freely(base)
    first = [reply.within(GENERAL_TOKENS) for reply in written]
    texts = [base.template.decode(reply.ids) for reply in first]
    own = [Said(p, text, one.ended) for p, text, one in zip(_general_prompts(), texts, first, strict=True)]
    answers = [*general_set(), *(one for one in own if one.text.strip())]
    found, told = scores_and_distributions(base, answers)
    return Reference(answers, told, _general_figures(base, found, [0.0] * len(answers), written))


def _general_prompts() -> list[Prompt]:
    return [one.prompt for one in general_set()[:GENERAL_PROMPTS]]


def _answer(row: dict[str, Any]) -> Said:
    return Said(tuple((role, content) for role, content in row["prompt"]), row["text"], row["ends"])


def own_pairs(pairs: Sequence[TrainingPair], found: Sequence[Score]) -> list[TrainingPair]:
    """Choose the held-out pairs whose prompts a version answers by itself: good and short replies that ended."""
    fit = [p for p, score in zip(pairs, found, strict=True) if p.good and p.ends and score.tokens <= _SHORT]
    return fit[:OWN_PROMPTS]


def after_others(pairs: Sequence[TrainingPair]) -> list[list[Said]]:
    """Put each correction after a few prompts of other corrections, which ask something else and have other answers."""
    asking = [(one.conversation_id, _asked(one)) for one in by_question(pairs)]
    places = [n for n, pair in enumerate(pairs) if pair.kind == "correction"]
    most = max(1, min(_ELSEWHERE, _ELSEWHERE_ROWS // max(1, len(places))))
    found: list[list[Said]] = [[] for _ in pairs]
    for turn, place in enumerate(places):
        pair, (group, asked) = pairs[place], asking[place]
        others = (
            pairs[n].prompt
            for n in [*places[turn + 1 :], *places[:turn]]
            if asking[n][0] != group and asking[n][1] != asked and pairs[n].completion != pair.completion
        )
        found[place] = [Said(prompt, pair.completion, pair.ends) for prompt in islice(others, most)]
    return found


def _asked(pair: TrainingPair) -> list[list[str]]:
    """Return the words of all that a person says in a prompt: "Who are you?" is a group by itself, but the same."""
    return [words(text) for role, text in pair.prompt if role == "user"]


def form(loaded: Loaded) -> str:
    """Say in which form a version was measured: its numbers, and what became of its adapter."""
    numbers = str(loaded.model.dtype).removeprefix("torch.")
    return f"{numbers}, adapter merged" if loaded.merged else numbers


def overlap(text: str, good: str) -> float:
    """Return the F1 of the words that two texts share (Rajpurkar et al., arXiv 1606.05250, section 6.1)."""
    ours, theirs = (Counter(part.lower().split()) for part in (text, good))
    shared = sum((ours & theirs).values())
    return 2 * shared / (sum(ours.values()) + sum(theirs.values())) if shared else 0.0


def foreign(text: str, good: str) -> bool | None:
    """Tell whether a text is in another language than a good one; None where either's cannot be told."""
    ours, theirs = tongue(text), tongue(good)
    return None if ours is None or theirs is None else ours != theirs


def _reply(reply: Written, good: str | None = None) -> ReplyFigures:
    figures = ReplyFigures(len(reply.ids), reply.ended, reply.repeated)
    if good is None:
        return figures
    return replace(figures, overlap=overlap(reply.text, good), foreign=foreign(reply.text, good))


def _made_of() -> str:
    """Return a hash of all that figures depend on beside the version and the replies."""
    return fingerprint(_KIND, best_device().type, GENERAL_PROMPTS, GENERAL_TOKENS, _ROOM, OWN_TOKENS, HARM_TOKENS)


def _key(said: Said) -> str:
    return hashlib.sha256(json.dumps([said.prompt, said.text, said.ends]).encode()).hexdigest()[:32]
