"""`/health` while a check takes long: nothing else waits for it, and nobody begins a second one."""

import asyncio
import threading

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from chatui import health
from chatui.engine.protocol import EngineError

MANY = 45  # more than there are threads in the server's pool


class Slow:
    """A check that takes until it is let go, and counts how often it was begun."""

    def __init__(self, problem: str = ""):
        self.begun, self.problem, self.go = 0, problem, threading.Event()

    def __call__(self) -> float:
        self.begun += 1
        self.go.wait(20)
        if self.problem:
            raise EngineError(self.problem)
        return 0.25


def client_of(check) -> httpx.AsyncClient:
    pages = [Route("/", lambda _: PlainTextResponse("the page"))]  # no coroutine: it needs a thread of the pool
    app = Starlette(routes=pages, middleware=health.middleware(check))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app")


def test_the_page_answers_while_a_check_hangs_and_who_asks_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_WAIT_S", 0.3)
    check = Slow()

    async def visit() -> None:
        async with client_of(check) as client:
            asked = [asyncio.create_task(client.get("/health")) for _ in range(MANY)]
            await asyncio.sleep(0)
            try:
                assert (await asyncio.wait_for(client.get("/"), 5)).text == "the page"
                answers = await asyncio.wait_for(asyncio.gather(*asked), 5)
                answers.append(await client.get("/health"))
            finally:
                check.go.set()
            assert {one.status_code for one in answers} == {503}
            assert {one.json()["error"] for one in answers} == {"No token came within 0.3 s."}
            assert check.begun == 1
            async with asyncio.timeout(5):
                while (found := await client.get("/health")).status_code != 200:
                    pass
            assert found.json() == {"seconds": 0.25}
            assert check.begun == 1

    asyncio.run(visit())


@pytest.mark.parametrize(("problem", "told"), [("", (200, {"seconds": 0.25})), ("None.", (503, {"error": "None."}))])
def test_who_asks_meanwhile_is_told_what_the_check_under_way_finds(problem: str, told: tuple[int, object]) -> None:
    check = Slow(problem)

    async def visit() -> None:
        async with client_of(check) as client:
            asked = [asyncio.create_task(client.get("/health")) for _ in range(3)]
            await asyncio.sleep(0)
            check.go.set()
            answers = await asyncio.gather(*asked)
            assert [(one.status_code, one.json()) for one in answers] == [told] * 3

    asyncio.run(visit())
    assert check.begun == 1


def test_a_check_that_breaks_is_no_end_of_checking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_GOOD_FOR_S", 0.0)
    outcomes = [ZeroDivisionError("as the test wants it"), None]

    def check() -> float:
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome
        return 0.25

    async def visit() -> None:
        async with client_of(check) as client:
            with pytest.raises(ZeroDivisionError):
                await client.get("/health")
            assert (await client.get("/health")).status_code == 200

    asyncio.run(visit())
