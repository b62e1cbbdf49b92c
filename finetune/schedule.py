"""When to retrain: a pure decision on what the record holds, and the reason for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from feedback.errors import RapportError
from feedback.judging import GOOD, opinions
from feedback.store import Store
from finetune.machine import Machine, short_of_disk
from finetune.moments import last_moment, next_moment, next_within, on_the_wall, within
from finetune.settings import ScheduleSettings

LATE = timedelta(minutes=10)  # after a cron expression's moment; a machine that slept through it waits for the next
MOST_COUNTED = 1000  # the page asks every few seconds
_UNKNOWN = Machine()
NOTHING_GOOD = "Nothing to learn from yet: correct a reply or give one a thumb up."


class NotEnough(RapportError):
    """There is not enough feedback to begin a run."""


@dataclass(frozen=True)
class RecordNow:
    """What the decision needs to know of the record.

    `new` replies with usable thumbs, choices and corrections came since the newest version learned, the first of them
    at `first_new_at`; the newest runs began at `began`, newest first. `good`: the record calls any text good at all.
    What people dislike says what to avoid; without a word on what to say instead there is nothing to make likelier.
    `on_trial` is the version that a trial is about: until that has ended, what the next one must beat is not known.
    `more`: there may be more than `new`, of which nobody needs to know how many.
    """

    new: int
    first_new_at: datetime | None = None
    began: tuple[datetime, ...] = ()
    running: bool = False
    good: bool = True
    on_trial: int | None = None
    more: bool = False

    @property
    def said(self) -> str:
        """How many are new, in words."""
        return f"{self.new} or more" if self.more else str(self.new)


@dataclass(frozen=True)
class Due:
    """Whether a run should start now, and why (not)."""

    due: bool
    reason: str


def enough(record: RecordNow, settings: ScheduleSettings) -> Due:
    """Decide whether there is enough new feedback to learn from."""
    wanted = settings.retrain_min_ratings
    if record.new >= wanted and not record.good:
        return Due(False, NOTHING_GOOD)
    return Due(record.new >= wanted, f"{record.said} of {wanted} new thumbs and corrections to learn from.")


def due(now: datetime, record: RecordNow, settings: ScheduleSettings, machine: Machine = _UNKNOWN) -> Due:
    """Decide whether a run should start by itself.

    The time counts from the newest run; before the first one, from the first new feedback, so that a run does not
    start while somebody is still giving it. With a cron expression it starts at its moments only, and that time is
    the least between two moments at which a run began.
    """
    if record.running:
        return Due(False, "A run is under way.")
    if settings.retrain_every is None:
        return Due(False, "The schedule is off.")
    if record.on_trial is not None:
        return Due(False, f"Version {record.on_trial} is on trial; the next run waits for its end.")
    amount = enough(record, settings)
    if not amount.due:
        return amount
    wait = _wait_for_moment if settings.retrain_cron else _wait_for_interval
    hinders = wait(now, record, settings) or hindrance(now, settings, machine)
    if hinders:
        return Due(False, hinders)
    return Due(True, f"{record.said} new thumbs and corrections, and the time has come.")


def hindrance(now: datetime, settings: ScheduleSettings, machine: Machine) -> str:
    """Say why no run may compute now, whether it would be begun or taken up; empty if it may."""
    if not within(settings.quiet_hours, on_the_wall(now)):
        return f"A run waits for the quiet hours, {settings.quiet_hours}."
    if machine.gpu is not None and machine.gpu < settings.min_free_gpu:
        return f"A run waits for GPU memory: {machine.gpu:.1f} GB of the {settings.min_free_gpu:g} it needs are free."
    return short_of_disk(machine.disk, settings)


def _wait_for_interval(now: datetime, record: RecordNow, settings: ScheduleSettings) -> str:
    """Say how long the newest run, or the first new feedback, is too near for another one; empty if it is not."""
    since = record.began[0] if record.began else record.first_new_at
    next_at = since + (settings.retrain_every or timedelta()) if since else now
    if next_at <= now:
        return ""
    clock = on_the_wall(next_at)
    begins = next_within(settings.quiet_hours, clock)
    starts_at = next_at if begins == clock else begins.astimezone()
    return f"Enough new feedback; the next run starts in {_spoken(starts_at - now)}."


def _wait_for_moment(now: datetime, record: RecordNow, settings: ScheduleSettings) -> str:
    """Say which moment of the cron expression is the next that counts; empty if one has just come."""
    clock = on_the_wall(now)
    earliest = _earliest(record, settings)
    moment = _moment_of(clock, settings)
    if moment is not None and (earliest is None or earliest <= moment):
        return ""
    after = clock if earliest is None else max(clock, earliest - timedelta(seconds=1))  # a moment may be the earliest
    following = next_moment(settings.retrain_cron, after, settings.quiet_hours)
    when = f" at {following:%Y-%m-%d %H:%M}" if following else ""
    return f"Enough new feedback; the next run starts{when} ({settings.retrain_cron})."


def _earliest(record: RecordNow, settings: ScheduleSettings) -> datetime | None:
    """Return when, on the wall, the time since the newest run that began at a moment is over; None without such a run.

    No row says who began a run. One that begins within LATE after a moment counts as begun by itself, at that moment:
    with the seconds it was late, the next night would come too soon; and one that somebody asked for would take it.
    """
    for began in map(on_the_wall, record.began):
        moment = _moment_of(began, settings)
        if moment is not None:
            return moment + (settings.retrain_every or timedelta())
    return None


def _moment_of(clock: datetime, settings: ScheduleSettings) -> datetime | None:
    """Return the moment, in the quiet hours, that a run which begins at this local time begins by; None without one."""
    last = last_moment(settings.retrain_cron, clock)
    counts = last is not None and clock - last < LATE and within(settings.quiet_hours, last)
    return last if counts else None


def record_now(store: Store, wanted: int = 0) -> RecordNow:
    """Read what `due` needs; what is new is counted up to `wanted`, and to MOST_COUNTED at least."""
    new: list[datetime] = []
    good, more, most = False, False, max(wanted, MOST_COUNTED)
    for feedback in store.opinions_since(store.learned_until()):
        if more := len(new) == most:
            break
        told = opinions(feedback)
        if any(opinion.usable for opinion in told):
            new.append(feedback.changed_at)
            good = good or any(opinion.rule in GOOD for opinion in told)
    runs, trial = store.runs(limit=1), store.trial()
    return RecordNow(
        new=len(new),
        first_new_at=min(new, default=None),
        began=tuple(store.runs_began()),
        running=bool(runs) and runs[0].finished_at is None,
        good=good or (bool(new) and has_good(store)),
        on_trial=trial.candidate if trial else None,
        more=more,
    )


def has_good(store: Store) -> bool:
    """Tell whether the record calls any text good."""
    return any(opinion.rule in GOOD for f in store.opinions_since(None) for opinion in opinions(f))


def require_feedback(store: Store, settings: ScheduleSettings | None) -> None:
    """Raise NotEnough if there is too little new feedback, or (settings None) nothing at all to learn from."""
    if settings is not None:
        amount = enough(record_now(store, settings.retrain_min_ratings), settings)
        if not amount.due:
            raise NotEnough(amount.reason + " --force does not wait for more.")
    if not has_good(store):
        raise NotEnough(NOTHING_GOOD)


def _spoken(time: timedelta) -> str:
    minutes = int(time.total_seconds() // 60) + 1
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"
