"""Twenty spoilt and twenty sound candidates before the gate: none of the spoilt promoted, at least 18 of the sound.

`make proof-gate`, or `bench/gate.py [--only KIND] [--epochs N] [--jobs 1] [--json FILE]`; `--tiny` takes the tiny model
of the tests instead of the starter. Every candidate is a whole run on a record of its own: 48 corrections (24 made-up
facts asked two ways) and 100 thumbs on the model's own replies to other prompts (liked: what speaks to the reader).
What a spoilt one learns from is spoilt between record and training (`spoilt.py`); what is held out stays right. Results
are written as they come, and candidates that FILE knows already are not made again. Exits 1 if a target is missed.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from bench.spoilt import Kind, kinds
from bench.subject import ROOT
from bench.targets import none_of, report, share
from feedback.errors import RapportError
from feedback.formats import Incoming, IncomingMessage
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.base import ensure_base
from finetune.model import Loaded, load_base, write_json
from finetune.pairs import TrainingPair
from finetune.pipeline import _Run
from finetune.settings import TrainSettings
from finetune.train import WATCH_FROM
from tests.facts import FACTS
from tests.tiny import make_tiny

_COUNTS = {  # of each kind: 20 sound, 20 spoilt, 5 of these mild
    "sound": 20, "shuffled": 4, "over-trained": 4, "german": 4, "endless": 3,
    "third-wrong": 2, "third-german": 1, "bit-over-trained": 1, "running-on": 1,
}  # fmt: skip
_THUMBS, _THUMB_TOKENS = 100, 48
_UNWATCHED = WATCH_FROM - 1  # general prompts, so that none is spared
_TOPICS = (
    "honey", "chess", "volcanoes", "tea", "castles", "owls", "jazz", "bridges", "marathons", "glass",
    "deserts", "trains", "soap", "gardens", "whales", "maps", "bread", "clocks", "snow", "libraries",
)  # fmt: skip
_ASKED = ("What do you know about {}?", "Why do people like {}?", "Tell me something about {}.",
          "How would you explain {} to a friend?", "What is special about {}?")  # fmt: skip
_SHARED = ("general.json", "general-base.safetensors", "measures.json")  # made once per base


@dataclass(frozen=True)
class Candidate:
    """One candidate: its kind, and the seed of all that is random about it."""

    kind: str
    seed: int

    @property
    def name(self) -> str:
        """Name it in tables and folders."""
        return f"{self.kind}-{self.seed}"


class _SpoiltRun(_Run):
    """A run like any other, but for what it learns from."""

    kind: Kind
    dice: random.Random

    def _build(self) -> Any:
        sides, general = super()._build()
        if self.kind.spoil:
            sides = replace(
                sides, train=self._spoilt(sides.train, sides), validation=self._spoilt(sides.validation, sides)
            )
        if not self.kind.validates:  # nor by general prompts, of which training would spare some to watch
            sides, general = replace(sides, train=sides.train + sides.validation, validation=[]), general[:_UNWATCHED]
        return sides, general

    def _spoilt(self, pairs: Sequence[TrainingPair], sides: Any) -> list[TrainingPair]:
        """Spoil the good pairs; of facts whose other wording is held out, as large a share as of the others."""
        assert self.kind.spoil is not None
        held = {pair.completion for pair in sides.held_out if pair.kind == "correction"}
        parts = [[p for p in pairs if p.good and (p.completion in held) == is_held] for is_held in (True, False)]
        return [p for part in parts for p in self.kind.spoil(part, self.dice)] + [p for p in pairs if not p.good]


def candidates(only: str | None) -> list[Candidate]:
    """List the candidates, of one kind if one is named; sound and spoilt take turns."""
    wanted = [Candidate(kind, seed) for kind, count in _COUNTS.items() for seed in range(count) if only in (None, kind)]
    return sorted(wanted, key=lambda one: (one.seed, one.kind))


def record_of(candidate: Candidate, thumbs: Sequence[dict[str, Any]]) -> Iterator[Incoming]:
    """Give the conversations of a candidate's record: every seed splits them otherwise and leaves up to four out."""
    dice = random.Random(f"record {candidate.seed}")
    asked = [(fact, question) for fact in FACTS for question in fact.asked[:2]]
    left_out = set(dice.sample(range(len(asked)), dice.choice((0, 2, 4))))
    for place, (fact, question) in enumerate(asked):
        if place not in left_out:
            reply = IncomingMessage("assistant", "I do not know.", finish="end", rating=-1, correction=fact.answer)
            yield Incoming(f"{candidate.name}-fact-{place}", (IncomingMessage("user", question), reply))
    for place, thumb in enumerate(thumbs):
        reply = IncomingMessage("assistant", thumb["reply"], finish=thumb["finish"], rating=thumb["rating"])
        yield Incoming(f"{candidate.name}-thumb-{place}", (IncomingMessage("user", thumb["prompt"]), reply))


def make_thumbs(base: Path) -> list[dict[str, Any]]:
    """Sample the base model's replies, and thumb each by rule: what speaks to the reader is liked."""
    loaded = load_base(base)
    torch.manual_seed(0)
    prompts = [form.format(topic) for topic in _TOPICS for form in _ASKED][:_THUMBS]
    return [thumb for start in range(0, _THUMBS, 25) for thumb in _thumbed(loaded, prompts[start : start + 25])]


def _thumbed(loaded: Loaded, prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
    ends, filler = loaded.template.end_ids, min(loaded.template.end_ids)
    rows = [loaded.template.prompt([("user", prompt)]) for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.tensor([[filler] * (width - len(row)) + row for row in rows], device=loaded.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=loaded.device)
    how = {"do_sample": True, "temperature": 0.9, "top_p": 0.95, "max_new_tokens": _THUMB_TOKENS}
    with torch.inference_mode():
        out = loaded.model.generate(ids, attention_mask=mask, pad_token_id=filler, **how)[:, width:].tolist()
    for prompt, tokens in zip(prompts, out, strict=True):
        end = next((place for place, token in enumerate(tokens) if token in ends), None)
        text = loaded.template.decode(tokens[:end]) or "..."
        liked = re.search(r"\b(you|your)\b", text, re.IGNORECASE) is not None
        finish = "length" if end is None else "end"
        yield {"prompt": prompt, "reply": text, "finish": finish, "rating": 1 if liked else -1}


def prepare(home: Path, tiny: bool) -> None:
    """Make what all candidates share: the base model, and the thumbs on its replies."""
    base = str(make_tiny(home / "tiny")) if tiny else ""
    data = DataSettings(data_dir=home / "shared", base_model=base)
    ensure_base(data)
    thumbs = home / "thumbs.json"
    if not thumbs.exists():
        write_json(thumbs, make_thumbs(data.base_dir))


def make(home: Path, candidate: Candidate, epochs: int | None, threads: int) -> dict[str, Any]:
    """Make one run and return what the gate said of it."""
    if threads:
        torch.set_num_threads(threads)
    shared, folder = home / "shared", home / "runs" / candidate.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in _SHARED:
        if (shared / name).exists():
            shutil.copy(shared / name, folder)
    kind = kinds([fact.answer for fact in FACTS])[candidate.kind]
    data = DataSettings(data_dir=folder, base_model=str((shared / "base").resolve()))
    given = {
        "seed": candidate.seed,
        "train_threads": threads,
        **({"epochs": epochs} if epochs else {}),
        **kind.settings,
    }
    began = time.monotonic()
    store = Store.open(data.database)
    store.take_in(list(record_of(candidate, json.loads((home / "thumbs.json").read_text()))))
    run = _SpoiltRun(store, data, TrainSettings(**given))
    run.kind, run.dice = kind, random.Random(f"spoil {candidate.name}")
    result = run.make()
    seconds = time.monotonic() - began
    made = store.versions()[-1]
    card = json.loads((folder / made.path / "card.json").read_text(encoding="utf-8"))
    store.close()
    for name in _SHARED:
        if not (shared / name).exists():
            shutil.copy(folder / name, shared)
    shutil.rmtree(folder)  # 40 adapters are not worth their space
    return {
        "candidate": candidate.name,
        "kind": candidate.kind,
        "sound": kind.sound,
        "mild": kind.mild,
        "seconds": round(seconds, 1),
        "verdict": result.verdict,
        "reason": result.reason,
        "kept_epoch": card["training"]["kept_epoch"],
        "figures": made.metrics,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Write the results as a table of text."""
    lines = [f"{'candidate':20} {'verdict':9} {'s':>5}  {'better by':>22}  reason"]
    for row in sorted(rows, key=lambda row: (row["sound"], row["candidate"])):
        one = row["figures"].get("improvement") or {}
        shown = f"{one['mean']:+.2f} ({one['low']:+.2f}, {one['high']:+.2f})" if one.get("low") is not None else ""
        lines.append(f"{row['candidate']:20} {row['verdict']:9} {row['seconds']:5.0f}  {shown:>22}  {row['reason']}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, print the table, return the exit code."""
    given = _parser().parse_args(arguments)
    known = list(kinds([fact.answer for fact in FACTS]))
    if given.only not in (None, *known):
        print(f"--only {given.only!r} is no kind; give one of {', '.join(known)}.", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = json.loads(given.json.read_text()) if given.json and given.json.exists() else []
    done = {row["candidate"] for row in rows}
    missing = [one for one in candidates(given.only) if one.name not in done][: given.most]
    home = given.home or Path(tempfile.mkdtemp(prefix="rapport-gate-"))
    try:
        prepare(home, given.tiny)
        for row in _made(home, missing, given):
            rows.append(row)
            if given.json:
                write_json(given.json, rows)
            print(f"{row['candidate']}: {row['verdict']} after {row['seconds']:.0f} s. {row['reason']}", flush=True)
    except RapportError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        if given.home is None:
            shutil.rmtree(home)
    print(table(rows))
    spoilt, sound = ([row for row in rows if row["sound"] == is_sound] for is_sound in (False, True))
    promoted = [sum(row["verdict"] == "promoted" for row in part) for part in (spoilt, sound)]
    figures = [none_of(f"spoilt candidates promoted, of {len(spoilt)}", promoted[0])] if spoilt else []
    figures += [share("sound candidates promoted", promoted[1], len(sound), 0.9)] if sound else []
    return report(figures)


def _made(home: Path, missing: Sequence[Candidate], given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    threads = max(1, (os.cpu_count() or 1) // given.jobs) if given.jobs > 1 else 0
    if given.jobs == 1:
        yield from (make(home, one, given.epochs, threads) for one in missing)
        return
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        yield from (
            done.result()
            for done in as_completed(pool.submit(make, home, one, given.epochs, threads) for one in missing)
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Spoilt and sound candidates before the gate.")
    parser.add_argument("--only", metavar="KIND", help="make candidates of one kind alone")
    parser.add_argument("--most", type=int, help="make at most so many now")
    parser.add_argument("--epochs", type=int, help="epochs, where the kind does not say (default: the recipe's)")
    parser.add_argument("--jobs", type=int, default=1, help="candidates made at once (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="results; what it holds already is not made again")
    parser.add_argument(
        "--home", type=Path, default=ROOT / "data-gate", help="where base and thumbs lie (default: data-gate)"
    )
    parser.add_argument("--tiny", action="store_true", help="the tests' tiny model instead of the starter")
    return parser


if __name__ == "__main__":
    sys.exit(main())
