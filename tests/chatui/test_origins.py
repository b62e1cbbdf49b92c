"""Another site's page can have a browser send requests to the app; it must neither act nor read by them."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from chatui.origins import Names, is_foreign
from chatui.settings import ChatSettings
from feedback.errors import BadInput
from feedback.settings import DataSettings
from tests.browser import CHROMIUM
from tests.chatui.running import Running, served
from tests.chatui.scripted import ScriptedEngine
from tests.chatui.visit import IN_BROWSER, history, ready, say

EVIL = "http://evil.example"
FOREIGN = [
    {"origin": EVIL},
    {"origin": "null"},
    {"origin": "http://localhost:3000"},
    {"origin": EVIL, "sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://gpu.example", "x-forwarded-host": "other.example"},
]
OWN = [
    {},
    {"origin": "http://gpu:7860", "host": "gpu:7860"},
    {"origin": "http://GPU:7860", "host": "gpu:7860"},
    {"origin": "https://gpu.example", "host": "gpu.example:443"},
    {"origin": "https://gpu.example", "x-forwarded-host": "gpu.example, inner"},
    {"origin": "https://gpu.example", "sec-fetch-site": "same-origin"},  # a proxy that passes no name on
    {"sec-fetch-site": "none"},
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("origins"), base_model=str(tiny))
    with served(data) as made:
        yield made


@pytest.fixture
def retrained(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What grows when a run is asked for."""
    asked: list[bool] = []

    def retrain() -> str:
        asked.append(True)
        return "A run starts."

    monkeypatch.setattr(running.app.scheduler, "retrain", retrain)
    return asked


def press(running: Running) -> tuple[str, str]:
    """Return the address and the body by which the page's button asks for a run."""
    runs = next(c for c in running.app.page.config["components"] if c["props"].get("elem_id") == "rp-runs")
    body = f'{{"data": [], "component_id": {runs["id"]}, "session_hash": "tab", "fn_name": "retrain"}}'
    return f"{running.url}/gradio_api/component_server", body


@pytest.mark.parametrize("headers", FOREIGN)
def test_what_another_site_sends_is_foreign(headers: dict[str, str]) -> None:
    told = {"host": "127.0.0.1:7860", **headers}
    assert is_foreign("POST", told)
    assert is_foreign("GET", told) == is_foreign("OPTIONS", told) == ("origin" in headers)  # a link may lead here


@pytest.mark.parametrize("headers", OWN)
def test_what_the_page_and_programs_send_is_not(headers: dict[str, str]) -> None:
    told = {"host": "127.0.0.1:7860", **headers}
    assert not any(is_foreign(method, told) for method in ("POST", "GET", "OPTIONS"))


@pytest.mark.parametrize("headers", FOREIGN)
def test_no_run_starts_for_another_site(running: Running, retrained: list[bool], headers: dict[str, str]) -> None:
    address, body = press(running)
    answer = httpx.post(address, content=body, headers={"content-type": "text/plain", **headers})
    assert (answer.status_code, retrained) == (403, [])
    assert answer.text.startswith("This was refused, as another site's page asked for it;")


def test_the_page_itself_and_a_program_start_one(running: Running, retrained: list[bool]) -> None:
    address, body = press(running)
    for headers in ({}, {"origin": running.url}, {"origin": running.url, "sec-fetch-site": "same-origin"}):
        answer = httpx.post(address, content=body, headers={"content-type": "application/json", **headers})
        assert answer.status_code == 200
    assert len(retrained) == 3


@pytest.mark.parametrize("origin", [EVIL, "http://localhost:3000", "null"])
def test_another_site_may_not_ask_whether_it_may(running: Running, origin: str) -> None:
    asks = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for answer in (
        httpx.options(press(running)[0], headers=asks),
        httpx.get(f"{running.url}/config", headers={"origin": origin}),
    ):
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_link_from_another_site_opens_the_page(running: Running) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    answer = httpx.get(running.url, headers=followed)
    assert answer.status_code == 200
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["upload", "upload/", "process_recording"])
def test_no_file_is_taken(running: Running, path: str) -> None:
    answer = httpx.post(f"{running.url}/gradio_api/{path}", files={"files": ("a.txt", b"text")})
    assert answer.status_code == 404


@pytest.mark.parametrize(("name", "status"), [("evil.example", 403), ("localhost", 200), ("127.0.0.1", 200)])
def test_a_name_that_leads_here_by_a_trick_is_refused(running: Running, name: str, status: int) -> None:
    host = f"{name}:{running.app.page.server_port}"
    answer = httpx.get(f"{running.url}/config", headers={"host": host})
    assert answer.status_code == status
    if status == 403:
        assert "--allowed-hosts evil.example" in answer.text


@pytest.mark.parametrize(
    ("bound", "allowed", "host", "known"),
    [
        ("127.0.0.1", [], "[::1]:7860", True),
        ("127.0.0.1", [], "app.localhost:7860", True),
        ("127.0.0.1", [], "LOCALHOST.", True),
        ("127.0.0.1", [], "192.168.1.4:7860", True),
        ("127.0.0.1", [], "gpu:7860", False),
        ("127.0.0.1", [], "[oops", False),
        ("127.0.0.1", ["chat.example"], "chat.example", True),
        ("localhost", [], "gpu", False),
        ("::1", [], "gpu", False),
        ("0.0.0.0", [], "gpu:7860", True),
        ("gpu", [], "gpu.lan:7860", True),
        ("gpu", ["gpu.lan"], "gpu:7860", True),
        ("gpu", ["gpu.lan"], "evil.example:7860", False),
    ],
)
def test_names_are_known_where_the_page_is_for_one_machine(
    bound: str, allowed: list[str], host: str, known: bool
) -> None:
    assert Names(bound, allowed).know({"host": host}) == known


def test_a_browser_that_came_over_https_was_not_tricked() -> None:
    assert Names("127.0.0.1", []).know({"host": "chat.example", "sec-fetch-site": "same-origin"})


def test_allowed_hosts_are_names() -> None:
    assert ChatSettings.given(allowed_hosts="Chat.example, gpu,,").allowed_hosts == ["chat.example", "gpu"]
    with pytest.raises(BadInput, match="--allowed-hosts 'https://gpu' cannot be used: .* such as chat.example.org"):
        ChatSettings.given(allowed_hosts="https://gpu")


class Elsewhere(BaseHTTPRequestHandler):
    """An empty page of another site."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.browser
@IN_BROWSER[1]
def test_a_page_elsewhere_reaches_nothing_in_a_browser(
    browser, running: Running, retrained: list[bool], elsewhere: str
) -> None:
    page = browser.new_page()
    page.goto(elsewhere)
    send = "([address, body]) => fetch(address, { method: 'POST', mode: 'no-cors', body }).then(() => 'sent')"
    assert page.evaluate(send, list(press(running))) == "sent"
    read = "(address) => fetch(address).then((answer) => answer.text(), () => 'refused')"
    assert page.evaluate(read, f"{running.url}/config") == "refused"
    assert retrained == []
    page.close()


@pytest.mark.browser
@IN_BROWSER[1]
def test_the_page_works_under_a_name_without_https(browser, tmp_path, tiny) -> None:
    """There a browser sends no Sec-Fetch-Site: what it says of the origin must do."""
    data = DataSettings(data_dir=tmp_path, base_model=str(tiny))
    flags = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP gpu.test 127.0.0.1"]
    with served(data, ChatSettings(port=0, host="0.0.0.0")) as running:
        running.app.replies.engine = ScriptedEngine(["It was ", "said so."])
        named = browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
        page = named.new_page()
        sent: list = []
        page.on("request", lambda request: sent.append(request))
        page.goto(f"http://gpu.test:{running.app.page.server_port}")
        ready(page)
        say(page, "hello")
        page.click(".rp-b[data-act=up]")
        page.locator(".rp-why").wait_for()
        assert [m.rating for m in history(page, running)] == [0, 1]
        posted = [request.all_headers() for request in sent if request.method == "POST"]
        assert {headers["origin"] for headers in posted} == {page.url.partition("/?")[0]}
        assert not any("sec-fetch-site" in headers for headers in posted)
        named.close()
