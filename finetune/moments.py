"""Times of day by which a schedule goes: cron expressions and hours, both read on the clock of the wall.

Everything here is in local time without its zone, as on a clock: what is said to happen at three happens at three in
summer and in winter.
"""

import re
from datetime import datetime, time, timedelta
from itertools import takewhile
from typing import Annotated

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator

_FIELDS = 5
_HOURS = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


def on_the_wall(at: datetime) -> datetime:
    """Turn an aware instant into what local clocks show then."""
    return at.astimezone().replace(tzinfo=None)


def last_moment(expression: str, at: datetime) -> datetime | None:
    """Return the newest moment up to `at` that a cron expression names, both in local time; None if there is none."""
    following = at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return next(CronSim(expression, following, reverse=True), None)


def next_moment(expression: str, at: datetime, hours: str = "") -> datetime | None:
    """Return the first moment after `at`, in these hours, that a cron expression names; None if there is none.

    All in local time. The expression must meet the hours, or this looks for ever.
    """
    moment = next(CronSim(expression, at), None)
    while moment is not None and not within(hours, moment):
        moment = next(CronSim(expression, next_within(hours, moment) - timedelta(seconds=1)), None)
    return moment


def within(hours: str, at: datetime) -> bool:
    """Tell whether a local time lies in hours such as 22:00-06:00, which may go over midnight; its end does not.

    Every time lies in no hours (empty).
    """
    if not hours:
        return True
    begins, ends = _ends_of(hours)
    clock = at.time()
    return begins <= clock < ends if begins < ends else clock >= begins or clock < ends


def next_within(hours: str, at: datetime) -> datetime:
    """Return a local time that lies in these hours, else when they begin next after it."""
    if within(hours, at):
        return at
    begin = datetime.combine(at, _ends_of(hours)[0])
    return begin if begin > at else begin + timedelta(days=1)


def meet(expression: str, hours: str) -> bool:
    """Tell whether a cron expression names any moment in these hours."""
    # Which days it names does not matter: the moments of each are the same.
    daily = " ".join([*expression.split()[:2], "* * *"])
    day = datetime(2024, 1, 1)
    moments = CronSim(daily, day - timedelta(seconds=1))
    return any(within(hours, moment) for moment in takewhile(lambda moment: moment.date() == day.date(), moments))


def _ends_of(hours: str) -> tuple[time, time]:
    found = _HOURS.fullmatch(hours.strip())
    if not found:
        raise ValueError("give two times of day, such as 22:00-06:00")
    numbers = [int(part) for part in found.groups()]
    try:
        begins, ends = time(numbers[0], numbers[1]), time(numbers[2], numbers[3])
    except ValueError:
        raise ValueError("a time of day goes from 00:00 to 23:59; give two, such as 22:00-06:00") from None
    if begins == ends:
        raise ValueError("they begin and end at the same time; give two times of day, or nothing for any")
    return begins, ends


def _check_cron(value: str) -> str:
    text = " ".join(value.split())
    if not text:
        return ""
    if len(text.split()) != _FIELDS:
        raise ValueError("a cron expression has five fields: minute, hour, day, month, weekday, such as 30 3 * * *")
    try:
        moment = next_moment(text, datetime(2024, 1, 1))
    except CronSimError as error:
        raise ValueError(f"no cron expression is read that way ({error}); one is 30 3 * * *, daily at 3:30") from None
    if moment is None:
        raise ValueError("that moment never comes; one that does is 30 3 * * *, daily at 3:30")
    return text


def _check_hours(value: str) -> str:
    if value.strip():
        _ends_of(value)
    return value.strip()


Cron = Annotated[str, AfterValidator(_check_cron)]
Hours = Annotated[str, AfterValidator(_check_hours)]
