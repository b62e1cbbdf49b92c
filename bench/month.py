"""A month on the tiny model of the tests, its clock driven: do runs start when they should, and does a bad version go?

`make proof-month`, or `bench/month.py [--days 30] [--seed 0] [--json FILE]`. People chat by day and thumb what they are
told: whoever hears what was taught is pleased seven times in ten, else three times. Every four hours the trial is
looked at, and a run starts if one is due. The gate lets everything pass, and one run learns nothing: that version must
be found out by thumbs. Exits 1 if a target is missed.
"""

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.targets import Figure, none_of, report
from feedback.messages import append
from feedback.ratings import put_correction, put_rating
from feedback.schema import LOCAL, Conversation, Message
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.turns import open_reply
from finetune.schedule import due, record_now
from finetune.settings import ScheduleSettings, TrainSettings
from finetune.trials import look

TAUGHT = "the quick brown fox"
BEGAN = datetime(2030, 3, 1, tzinfo=UTC)
SCHEDULE = ScheduleSettings(retrain_every=timedelta(days=4), retrain_min_ratings=50)
TRIAL_SHARE, TRIAL_DAYS = 0.5, 4
QUIET = range(16, 21)  # days on which nobody chats
BAD_RUN = 3  # the run that learns nothing
_STEP = timedelta(hours=4)
_TALKS = 8  # conversations in a step by day
_PLEASED = {True: 0.7, False: 0.3}


class Clock:
    """The time of the record, while the block lasts."""

    def __init__(self, at: datetime = BEGAN):
        self.at = at

    def now(self, zone: object = None) -> datetime:
        """Stand in for datetime.now."""
        return self.at

    @contextmanager
    def rules(self) -> Iterator[None]:
        """Let every row that is written carry this clock's time."""
        with patch("feedback.schema.datetime", self):
            yield


@dataclass(frozen=True)
class Step:
    """One look: whether a run was due and why (not), whether one should have been, and what served then."""

    at: datetime
    due: bool
    reason: str
    should: bool
    shares: dict[int, float]
    on_trial: int | None


class Month:
    """People, a record and a schedule, under a driven clock."""

    def __init__(
        self, store: Store, clock: Clock, retrain: Callable[[], None], says: Callable[[int], str], seed: int = 0
    ):
        """Have `retrain` make each run, and `says` tell what a version replies."""
        self.store, self.clock, self._retrain, self._says = store, clock, retrain, says
        self._dice = random.Random(seed)
        self._rated: list[datetime] = []
        self._asked = 0
        self.steps: list[Step] = []
        self.runs: list[datetime] = []
        self.told: Counter[int] = Counter()  # conversations, by the version that was drawn

    def live(self, days: int) -> None:
        """Let so many days pass."""
        while self.clock.at < BEGAN + timedelta(days=days):
            self.clock.at += _STEP
            if 9 <= self.clock.at.hour <= 21 and (self.clock.at - BEGAN).days not in QUIET:
                self._talk()
            look(self.store, self.clock.at)
            answer, serving, trial = due(self.clock.at, record_now(self.store), SCHEDULE), self.store.serving(), None
            trial = self.store.trial()
            assert serving is not None
            shares, on_trial = serving.shares, trial.candidate if trial else None
            self.steps.append(Step(self.clock.at, answer.due, answer.reason, self._should(on_trial), shares, on_trial))
            if answer.due:
                self.runs.append(self.clock.at)
                self._retrain()

    def _should(self, on_trial: int | None) -> bool:
        """Say again, from what was done here alone, whether a run should start."""
        if not self._rated or on_trial is not None:
            return False
        last = self.runs[-1] if self.runs else None
        new = sum(last is None or at > last for at in self._rated)
        return new >= SCHEDULE.retrain_min_ratings and self.clock.at - (last or self._rated[0]) >= timedelta(days=4)

    def _talk(self) -> None:
        end, serving = self.clock.at, self.store.serving()
        assert serving is not None
        with self.store.writing() as session:
            for n in range(_TALKS, 0, -1):
                self.clock.at = end - n * _STEP / (_TALKS + 1)
                (version,) = self._dice.choices(list(serving.shares), list(serving.shares.values()))
                self.told[version] += 1
                self._asked += 1
                conversation = Conversation(id=f"c{self._asked}", owner_id=LOCAL, head_id=None)
                session.add(conversation)
                session.flush()
                asked = append(session, conversation, "user", f"question number {self._asked}")
                reply = open_reply(session, conversation, asked.id, version, {}, [{"message": asked.id}])
                message = session.get_one(Message, reply)
                message.content, message.status, message.finish = self._says(version), "complete", "end"
                pleased = self._dice.random() < _PLEASED[TAUGHT in message.content]
                put_rating(session, message, 1 if pleased else -1, None, None, LOCAL)
                self._rated.append(self.clock.at)
                if not pleased and self._dice.random() < 0.5 and message.content != TAUGHT:
                    put_correction(session, message, TAUGHT, LOCAL)
        self.clock.at = end


def trained(store: Store, data: DataSettings) -> Callable[[], None]:
    """Return what makes a real run on the tiny model, before a gate that lets everything pass."""
    from finetune import pipeline
    from finetune.evaluate import Verdict
    from tests.tiny import LOOSE

    settings = TrainSettings(
        epochs=5, learning_rate=2e-2, batch_size=32, keep_weight=0.1, trial_share=TRIAL_SHARE, trial_days=TRIAL_DAYS,
        **LOOSE,
    )  # fmt: skip

    def retrain() -> None:
        bad = len(store.runs()) + 1 == BAD_RUN
        changed = settings.model_copy(update={"learning_rate": 1e-9} if bad else {})
        with patch.object(pipeline, "judged", lambda *_: Verdict("promoted", "The gate lets everything pass.", {})):
            pipeline.retrain(store, data, changed, SCHEDULE)

    return retrain


def speaker(data: DataSettings) -> Callable[[int], str]:
    """Return what tells what a version writes, by loading it once."""
    from finetune.model import load_version
    from finetune.probes import asked
    from finetune.written import write

    said: dict[int, str] = {}

    def says(version: int) -> str:
        if version not in said:
            loaded = load_version(data.base_dir, data.versions_dir / f"{version:03d}" if version else None)
            said[version] = write(loaded, [asked("question number 7")], 8)[0].text
        return said[version]

    return says


def figures(month: Month) -> list[Figure]:
    """Hold the month against what is wanted of it."""
    trials = {trial.candidate: trial for trial in month.store.trials()}
    bad, serving = trials.get(BAD_RUN), month.store.serving()
    withdrawn = bad is not None and bad.outcome == "withdrawn" and bad.figures["verdict"] == "worse"
    between = [later - sooner for sooner, later in zip(month.runs, month.runs[1:], strict=False)]
    after = [step for step in month.steps if bad and bad.ended_at and step.at > bad.ended_at]
    return [
        Figure("conversations", sum(month.told.values())),
        Figure("runs", len(month.runs), "at least 4 wanted", len(month.runs) >= 4),
        none_of("looks at which a run started though it should not, or did not though it should",
                sum(step.due != step.should for step in month.steps)),
        none_of("runs sooner than four days after another", sum(gap < timedelta(days=4) for gap in between)),
        none_of("runs that started during a trial", sum(step.due and bool(step.on_trial) for step in month.steps)),
        Figure("the bad version was withdrawn by its thumbs", float(withdrawn), "1 wanted", withdrawn),
        none_of("looks at which it served after that", sum(BAD_RUN in step.shares for step in after)),
        Figure("conversations it was drawn for", month.told[BAD_RUN]),
        Figure("the first version that had learned was promoted by its thumbs",
               float(1 in trials and trials[1].outcome == "promoted"), "1 wanted",
               1 in trials and trials[1].outcome == "promoted"),
        Figure("share that what was taught serves with at the end",
               sum(share for version, share in (serving.shares if serving else {}).items()
                   if TAUGHT in month._says(version)), "1 wanted",
               bool(serving) and all(TAUGHT in month._says(v) for v in serving.shares)),
    ]  # fmt: skip


def diary(month: Month) -> Iterator[str]:
    """Tell what happened, a line each."""
    for line in month.store.promotions():
        shares = ", ".join(f"version {number} {share:.0%}" for number, share in line.shares.items())
        yield f"{line.created_at:%d %b %H:%M}  {shares}: {line.reason}"


def main() -> int:
    """Live a month and report."""
    from tests.tiny import make_tiny

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = make_tiny(Path(folder) / "tiny")
        data = DataSettings(data_dir=Path(folder) / "data", base_model=str(base))
        store, clock = Store.open(data.database), Clock()
        with clock.rules():
            from finetune.base import ensure_base

            store.add_base(ensure_base(data))
            month = Month(store, clock, trained(store, data), speaker(data), args.seed)
            month.live(args.days)
            for line in diary(month):
                print(line)
            code = report(figures(month), args.json)
        store.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
