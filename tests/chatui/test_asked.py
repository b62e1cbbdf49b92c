"""The door: nothing is done that this person may not do, on the page and over the endpoints alike."""

import ast
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import Client

from chatui.asked import VERBS, Asked
from chatui.learning_views import LearningViews
from chatui.needs import Learner
from chatui.replies import Replies
from feedback.formats import Incoming, IncomingMessage
from feedback.permission import ACTIONS
from feedback.settings import DataSettings
from feedback.store import Store
from tests.chatui.running import Running, served
from tests.feedback.talk import exchange, give_to, set_role, signals_of

ROOM = Path(__file__).parent.parent.parent / "chatui"
# What is called beside the door: it draws what was opened through it, or answers with what was just done.
DRAWS = {"live", "pause", "serving", "comparisons_of", "message"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny) -> Iterator[Running]:
    data = DataSettings(data_dir=tmp_path_factory.mktemp("asked"), base_model=str(tiny))
    with served(data) as made:
        turns = (IncomingMessage("user", "Hi?"), IncomingMessage("assistant", "Hi.", finish="end", id="hers"))
        made.app.store.take_in([Incoming("theirs", (*turns, *turns[:1], IncomingMessage("assistant", "Oh.")))])
        give_to(made.app.store, "theirs", "ann")
        yield made


def state(store: Store) -> tuple[object, ...]:
    """Everything that a refused call could have changed."""
    lines = [(line.id, line.title, line.running) for line in store.conversations("ann")]
    ids = [m.id for m in store.history("theirs")]
    return lines, store.history("theirs"), store.stats(), [signals_of(store, i) for i in ids], store.serving()


CALLS = [
    ("/history", ("theirs",)),
    ("/send", ("theirs", "hello")),
    ("/compare", ("theirs", "hello")),
    ("/stop", ("theirs",)),
    ("/rename", ("theirs", "mine now")),
    ("/delete", ("theirs",)),
    ("/undelete", ("theirs",)),
    ("/sampling", ("theirs", {"top_k": 3})),
    ("/export", ("theirs", "json")),
    ("/regenerate", ("hers",)),
    ("/go_on", ("hers",)),
    ("/edit", ("hers", "hello")),
    ("/show", ("hers",)),
    ("/prefer", ("hers", "hers")),
    ("/rate", ("hers", 1)),
    ("/correct", ("hers", "Better.")),
    ("/show_correction", ("hers", True)),
    ("/copied", ("hers",)),
    ("/facts", ("hers",)),
]


@pytest.mark.parametrize(("endpoint", "arguments"), CALLS, ids=[name for name, _ in CALLS])
def test_what_belongs_to_someone_else_is_refused_and_stays_as_it_is(
    running: Running, endpoint: str, arguments: tuple
) -> None:
    store = running.app.store
    set_role(store, "chatter")
    try:
        before = state(store)
        with pytest.raises(Exception, match="belongs to someone else"):
            Client(running.url, verbose=False).submit(*arguments, api_name=endpoint).result()
        assert state(store) == before
    finally:
        set_role(store, "admin")


@pytest.mark.parametrize(
    ("endpoint", "arguments", "role"),
    [
        ("/retrain", (), "reviewer"),
        ("/promote", (0,), "reviewer"),
        ("/rollback", (), "reviewer"),
        ("/learning", (), "reviewer"),
        ("/review", ("hers", "rejected"), "chatter"),
        ("/answer", ("hers", 1), "chatter"),
        ("/amend", ("hers", "Better."), "chatter"),
        ("/review_queue", (), "chatter"),
    ],
)
def test_what_a_role_may_not_do_is_refused(running: Running, endpoint: str, arguments: tuple, role: str) -> None:
    store = running.app.store
    set_role(store, role)
    try:
        before = state(store), store.runs(), store.feedback()
        with pytest.raises(Exception, match=f"A {role} may not"):
            Client(running.url, verbose=False).predict(*arguments, api_name=endpoint)
        assert (state(store), store.runs()) == before[:2]
    finally:
        set_role(store, "admin")


def test_a_reviewer_reviews_and_a_chatter_chats(running: Running) -> None:
    store, client = running.app.store, Client(running.url, verbose=False)
    try:
        set_role(store, "reviewer")
        assert client.predict("hers", "rejected", api_name="/review")["verdict"] == "rejected"
        client.predict("hers", "", api_name="/review")
        set_role(store, "chatter")
        mine = client.predict(api_name="/new_conversation")["conversation_id"]
        reply = client.submit(mine, "hello", api_name="/send").result()["message_id"]
        assert client.predict(reply, 1, api_name="/rate")["rating"] == 1
        listed = client.predict(api_name="/conversations")["conversations"]
        assert [line["conversation_id"] for line in listed] == [mine]
    finally:
        set_role(store, "admin")


def test_a_verb_that_nobody_said_who_may_cannot_be_called(store: Store) -> None:
    def forget_everything(conversation_id: str) -> None: ...

    with pytest.raises(KeyError, match="forget_everything"):
        Asked(store)(forget_everything)


def test_an_error_is_one_sentence_for_the_page(store: Store) -> None:
    with pytest.raises(gr.Error, match="There is no message 'm'"):
        Asked(store)(store.rate)("m", 1)


def test_every_verb_of_the_table_is_known_and_asks_for_a_known_action() -> None:
    functions = {"known_personas", "opening_with", "queue_of", "record_file"}
    homes = (Store, Replies, LearningViews, Learner)
    assert {verb for verb in VERBS if not any(hasattr(home, verb) for home in homes)} == functions
    assert {action for action, _ in VERBS.values()} == set(ACTIONS)


@pytest.mark.parametrize(
    "name", ["handlers.py", "persona_handlers.py", "review_handlers.py", "learning_handlers.py", "api.py"]
)
def test_nothing_is_asked_of_record_replies_or_learning_beside_the_door(name: str) -> None:
    beside = []
    for node in ast.walk(ast.parse((ROOM / name).read_text())):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and ast.unparse(called.value).endswith(("store", "replies", "learner")):
            beside.append(called.attr)
    assert set(beside) <= DRAWS | {
        "review_queue",
        "review_counts",
        "put_asked",
        "random_rate",
        "path_to",
    }  # inside `queue_of`, which is asked for itself


def test_a_preference_is_asked_for_on_both_replies(running: Running) -> None:
    store = running.app.store
    mine = exchange(store)
    try:
        set_role(store, "chatter")
        for two in ((mine, "hers"), ("hers", mine)):
            with pytest.raises(gr.Error, match="'hers' belongs to someone else"):
                Asked(store)(store.prefer)(*two)
    finally:
        set_role(store, "admin")
