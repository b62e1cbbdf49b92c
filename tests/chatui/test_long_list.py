"""More conversations than the list shows at once: the older ones are there for whoever asks."""

from collections.abc import Iterator

import pytest
from gradio_client import Client

from chatui.tabs import LISTED, Tabs
from feedback.exchange import Incoming, IncomingMessage
from feedback.settings import DataSettings
from tests.chatui.running import Running, served
from tests.chatui.visit import IN_BROWSER

ALL = LISTED + 5


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("long"), base_model=str(tiny))
    with served(data) as made:
        turns = IncomingMessage("user", "So?"), IncomingMessage("assistant", "So.", finish="end")
        made.app.store.take_in([Incoming(f"number-{n}", turns, title=f"Number {n}") for n in range(ALL)])
        yield made


def test_callers_page_through_all_of_them(running: Running) -> None:
    client = Client(running.url, verbose=False)

    def page(*args: object) -> list[str]:
        found = client.predict(*args, api_name="/conversations")["conversations"]
        return [one["conversation_id"] for one in found]

    for query in ("", "number"):
        first, second = page(query), page(query, LISTED)
        assert (len(first), len(second)) == (LISTED, 5)
        assert len({*first, *second}) == ALL
        assert page(query, 2, 3) == first[2:5]
        assert page(query, ALL) == []
    for wrong in ((-1, 10), (0, 0), (0, 1001), ("two", 1), (10**30, 1)):
        with pytest.raises(Exception, match="gives no page of the list; give an offset from 0"):
            page("", *wrong)


def test_a_tab_keeps_how_much_of_the_list_it_shows_until_it_searches() -> None:
    tabs = Tabs()
    assert tabs.lengthen("tab").listed == 2 * LISTED
    assert tabs.open("tab", "another").listed == 2 * LISTED
    assert tabs.search("tab", "words").listed == LISTED


@pytest.mark.parametrize("query", ["", "number"])
@IN_BROWSER[0]
@IN_BROWSER[1]
def test_the_list_shows_older_ones_when_asked(page, running: Running, query: str) -> None:
    older = page.locator("#rp-list .rp-older")
    page.fill("#rp-search :is(input, textarea)", query)
    if query:  # days stand above a list that is not searched: this is the search's answer
        page.locator(".rp-group").first.wait_for(state="detached")
    older.wait_for()
    assert page.locator(".rp-entry").count() == LISTED
    older.click()
    page.wait_for_function("(all) => document.querySelectorAll('.rp-entry').length === all", arg=ALL)
    older.wait_for(state="hidden")
    page.locator(".rp-entry").last.click()
    page.locator(".bot-row", has_text="So.").wait_for()
    assert page.locator(".rp-entry").count() == ALL
    page.fill("#rp-search :is(input, textarea)", "there is no such word")
    page.locator(".rp-none").wait_for()
    assert older.is_hidden()
