"""Those who look on are told at once, and never so often that nobody can write."""

import asyncio
import threading
import time

import pytest

from chatui.following import Followed, pause


@pytest.mark.parametrize(("replies", "per_s"), [(0, 12), (1, 12), (4, 12), (6, 8), (8, 6), (500, 6)])
def test_updates_are_as_many_as_all_replies_leave_room_for(replies: int, per_s: float) -> None:
    assert 1 / pause(replies) == pytest.approx(per_s)


def test_everyone_who_waits_is_told_from_another_thread() -> None:
    reply = Followed()

    async def follow() -> float:
        began = time.monotonic()
        waits = [asyncio.create_task(reply.news(60)) for _ in range(3)]
        await asyncio.sleep(0)
        threading.Thread(target=reply.tell).start()
        await asyncio.gather(*waits)
        return time.monotonic() - began

    assert asyncio.run(follow()) < 30
    reply.tell()  # nobody waits any more


def test_without_news_the_wait_ends() -> None:
    asyncio.run(Followed().news(0.001))
