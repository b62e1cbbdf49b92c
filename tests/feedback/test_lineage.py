"""What feedback reached, and what was taken back after a version saw it."""

from collections import Counter

import pytest
from sqlalchemy import event

from feedback.errors import NotFound
from feedback.formats import Incoming, IncomingMessage
from feedback.frozen import PairRow
from feedback.messages import current_corrections
from feedback.schema import Rating, now
from feedback.store import Store
from tests.feedback.talk import answer, ask, exchange, say

KEYS = ["ratings", "pairs", "datasets", "runs", "versions"]


@pytest.fixture
def rated(store: Store) -> str:
    """A reply with a thumb up, in a record with a base."""
    store.add_base("tiny")
    reply = exchange(store)
    store.rate(reply, 1)
    return reply


def freeze(store: Store, *pairs: PairRow, rejected: tuple[tuple[str, str], ...] = ()) -> int:
    """Keep the dataset of a new run; return the run."""
    run = store.open_run({})
    store.freeze_dataset(run, {}, {"thumb_up": len(pairs), "duplicate": 0}, pairs, now(), rejected)
    return run


def made(store: Store, run: int, verdict: str = "promoted") -> int:
    """Let a version come of a run; return its number."""
    number = store.next_version()
    store.add_version(number, "adapter", f"versions/{number:03}", run, verdict, "", {})
    return number


def liked(reply: str, split: str = "train", weight: float = 0.6) -> PairRow:
    return PairRow(reply, None, "thumb_up", weight, split)


def rating_of(store: Store, reply: str, rater: str = "local") -> int:
    with store.reading() as session:
        return session.query(Rating).filter_by(message_id=reply, rater_id=rater).one().id


def numbers(rows: list[dict], name: str = "version") -> list[int]:
    return [row[name] for row in rows]


# --- tracing


def test_a_rating_is_followed_to_the_version_that_serves(store: Store, rated: str) -> None:
    run = freeze(store, liked(rated))
    version, rating = made(store, run), rating_of(store, rated)
    found = store.trace(rating=rating)
    assert list(found) == KEYS
    (told,), (pair,), (dataset,), (row,), (serving,) = found.values()
    talk = store.conversation_of(rated)
    assert (told["rating"], told["message"], told["conversation"], told["rater"]) == (rating, rated, talk, "local")
    assert (told["value"], told["taken_back"]) == (1, False)
    assert (pair["run"], pair["version"], pair["split"], pair["kind"]) == (run, version, "train", "thumb_up")
    assert (pair["weight"], pair["ratings"]) == (0.6, [{"rating": rating, "value": 1, "now": 1}])
    assert (dataset["run"], dataset["pairs"], dataset["rules"]) == (run, {"train": 1}, {"thumb_up": 1})
    assert (row["run"], row["status"]) == (run, "promoted")
    assert (serving["version"], serving["verdict"], serving["serves"], serving["share"]) == (
        version,
        "promoted",
        True,
        1.0,
    )
    assert serving["reached"] == ["train"] and serving["revoked"] == []
    assert [(time["until"], time["share"]) for time in serving["served"]] == [(None, 1.0)]


def test_every_way_of_being_reached_is_named(store: Store) -> None:
    store.add_base("tiny")
    replies = [exchange(store) for _ in range(4)]
    for reply in replies:
        store.rate(reply, 1)
    splits = ("train", "validation", "held_out")
    pairs = [liked(reply, split) for reply, split in zip(replies, splits, strict=False)]
    made(store, freeze(store, *pairs, rejected=((replies[3], "duplicate"),)))
    told = [store.trace(message=reply) for reply in replies]
    assert [found["pairs"][0]["split"] for found in told] == [*splits, "rejected"]
    assert [found["pairs"][0]["rule"] for found in told] == [None, None, None, "duplicate"]
    assert [found["versions"][0]["reached"] for found in told] == [[split] for split in (*splits, "rejected")]
    back = store.trace(version=1)
    assert {(p["message"], p["split"]) for p in back["pairs"]} == set(zip(replies, (*splits, "rejected"), strict=True))
    assert numbers(back["ratings"], "rating") == [rating_of(store, reply) for reply in replies]
    assert back["versions"][0]["reached"] == ["held_out", "rejected", "train", "validation"]


def test_a_rating_given_after_the_newest_dataset_reached_nothing_yet(store: Store, rated: str) -> None:
    made(store, freeze(store, liked(rated)))
    late = exchange(store)
    store.rate(late, -1)
    found = store.trace(rating=rating_of(store, late))
    assert [len(found[key]) for key in KEYS] == [1, 0, 0, 0, 0]


def test_another_persons_later_thumb_did_not_make_the_pair(store: Store, rated: str) -> None:
    run = freeze(store, liked(rated))
    store.rate(rated, 1, rater="ann")
    assert store.trace(rating=rating_of(store, rated, "ann"))["pairs"] == []
    assert numbers(store.trace(rating=rating_of(store, rated))["runs"], "run") == [run]
    later = freeze(store, liked(rated))
    assert numbers(store.trace(rating=rating_of(store, rated, "ann"))["runs"], "run") == [later]


def test_a_pair_tells_the_value_that_it_learned_and_the_one_that_stands_now(store: Store, rated: str) -> None:
    made(store, freeze(store, liked(rated)))
    store.rate(rated, -1)
    (pair,) = store.trace(message=rated)["pairs"]
    assert pair["ratings"] == [{"rating": rating_of(store, rated), "value": 1, "now": -1}]
    assert (pair["changed"], pair["revoked"]) == (["rating"], [])


def test_a_correction_that_was_replaced_is_told(store: Store, rated: str) -> None:
    store.correct(rated, "Better.")
    first = store.message(rated).correction_id
    made(store, freeze(store, PairRow(rated, first, "correction", 1.0, "train")))
    assert store.trace(message=rated)["pairs"][0]["changed"] == []
    store.correct(rated, "Best.")
    (pair,) = store.trace(message=rated)["pairs"]
    assert (pair["correction"], pair["changed"], pair["revoked"]) == (first, ["correction"], [])


def test_a_choice_that_was_turned_round_is_told(store: Store) -> None:
    store.add_base("tiny")
    talk = ask(store)
    one = answer(store, talk, "One.")
    asked = store.history(talk)[0].id
    other = store.begin_reply(asked, 0, {}, [{"message": asked}])
    store.end_reply(other, "Two.", "complete", "end")
    chosen, discarded = PairRow(one, None, "chosen", 0.8, "train"), PairRow(other, None, "discarded", 0.4, "train")
    store.prefer(one, other)
    freeze(store, chosen, discarded)

    def changed() -> list[list[str]]:
        return [store.trace(message=reply)["pairs"][0]["changed"] for reply in (one, other)]

    store.rate(exchange(store), 1, rater="ann")
    store.prefer(other, one, rater="ann")
    assert changed() == [[], []]  # another person's choice
    store.prefer(other, one)
    assert changed() == [["choice"], ["choice"]]
    store.prefer(one, other)
    assert changed() == [[], []]


def test_a_run_that_made_no_version_is_told_with_how_it_ended(store: Store, rated: str) -> None:
    run = freeze(store, liked(rated))
    store.update_run(run, status="failed", reason="no memory")
    found = store.trace(message=rated)
    assert [(r["run"], r["status"], r["reason"]) for r in found["runs"]] == [(run, "failed", "no memory")]
    assert (found["pairs"][0]["version"], found["versions"]) == (None, [])


def test_a_conversation_is_every_reply_in_it_on_every_branch(store: Store) -> None:
    store.add_base("tiny")
    talk = ask(store)
    replies = [answer(store, talk, "one")]
    say(store, talk, "And?")
    replies.append(answer(store, talk, "two"))
    store.show(replies[0])
    for reply in replies:
        store.rate(reply, 1)
    freeze(store, *map(liked, replies), liked(exchange(store)))
    found = store.trace(conversation=talk)
    assert numbers(found["pairs"], "message") == numbers(found["ratings"], "message") == replies


def test_what_a_person_said_reached_what_was_learned_of_the_replies_to_it(store: Store) -> None:
    store.add_base("tiny")
    talk = ask(store, "first")
    first = answer(store, talk, "one")
    later = say(store, talk, "second")
    second = answer(store, talk, "two")
    freeze(store, liked(first), liked(second))
    begun = store.history(talk)[0].id
    assert numbers(store.trace(message=begun)["pairs"], "message") == [first, second]
    assert numbers(store.trace(message=later)["pairs"], "message") == [second]


@pytest.mark.parametrize("given", ["talk of 2019/7", "", "  ü "])
def test_an_imported_conversation_is_found_by_the_id_in_its_file(store: Store, given: str) -> None:
    store.add_base("tiny")
    lines = (IncomingMessage("user", "Hi?", "u-1"), IncomingMessage("assistant", "Hi.", "m-1", rating=1))
    assert store.take_in([Incoming(given, lines, rater="ann")]) == [None]
    freeze(store, liked("m-1"))
    found = store.trace(conversation=given)
    assert (numbers(found["pairs"], "message"), numbers(found["ratings"], "rater")) == (["m-1"], ["ann"])
    assert store.trace(message="m-1") == store.trace(message="u-1") == found


def test_version_0_saw_nothing(store: Store, rated: str) -> None:
    made(store, freeze(store, liked(rated)))
    found = store.trace(version=0)
    assert [len(found[key]) for key in KEYS] == [0, 0, 0, 0, 1]
    assert [(t["since"] < t["until"], t["share"]) for t in found["versions"][0]["served"]] == [(True, 1.0)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rating": 99}, "no rating 99"),
        ({"rating": "ninety"}, "no rating 'ninety'"),
        ({"rating": "9" * 40}, "no rating 9999"),
        ({"message": "m"}, "no message 'm'"),
        ({"conversation": "\ud800"}, "no conversation"),
        ({"version": 7}, "no version 7; `python -m finetune versions`"),
        ({"version": "-1"}, "no version -1"),
    ],
)
def test_an_unknown_id_is_not_found(store: Store, rated: str, given: dict, said: str) -> None:
    with pytest.raises(NotFound, match=said):
        store.trace(**given)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 3_000_000_000, 2**63])
def test_a_number_that_no_column_holds_is_not_looked_up(store: Store, number: int) -> None:
    """PostgreSQL would call it a fault of the statement, which reads as one of the database."""
    asked: list[object] = []
    engine = store._database.engine
    event.listen(engine, "before_cursor_execute", lambda *sent: asked.append(sent[3]))
    for given in ("rating", "version"):
        with pytest.raises(NotFound, match=f"There is no {given} {number}"):
            store.trace(**{given: number})
    assert str(number) not in str(asked)


def test_a_version_served_from_one_promotion_to_the_next(store: Store, rated: str) -> None:
    made(store, freeze(store, liked(rated)))
    store.promote(0)
    store.promote(1)
    times = store.trace(version=1)["versions"][0]["served"]
    assert [time["until"] is None for time in times] == [False, True]
    assert times[0]["until"] < times[1]["since"]


# --- taken back


def test_a_thumb_taken_back_names_the_versions_that_saw_it_and_those_made_without_it(store: Store, rated: str) -> None:
    made(store, freeze(store, liked(rated)))
    made(store, freeze(store, liked(rated)))
    assert store.revoked() == []
    store.rate(rated, 0)
    (row,) = store.revoked()
    rating = rating_of(store, rated)
    assert (row["what"], row["rating"], row["messages"], row["clean"]) == ("rating", rating, [rated], [])
    assert [(v["version"], v["serves"]) for v in row["versions"]] == [(1, False), (2, True)]
    other = exchange(store)
    store.rate(other, 1)
    made(store, freeze(store, liked(other)))
    (row,) = store.revoked()
    assert row["clean"] == [3]
    assert [(v["version"], v["serves"]) for v in row["versions"]] == [(1, False), (2, False)]
    found = store.trace(rating=rating)
    assert (found["ratings"][0]["taken_back"], found["pairs"][0]["revoked"]) == (True, ["rating"])
    assert [(v["version"], v["revoked"], v["clean"]) for v in found["versions"]] == [
        (1, ["rating"], [3]),
        (2, ["rating"], [3]),
    ]


def test_a_thumb_that_another_took_over_is_out_of_the_versions_made_since(store: Store, rated: str) -> None:
    store.rate(rated, 1, rater="ann")
    made(store, freeze(store, liked(rated)))
    store.rate(rated, 0)
    made(store, freeze(store, liked(rated)))  # ann's thumb still stands
    (row,) = store.revoked()
    assert (numbers(row["versions"]), row["clean"]) == ([1], [2])
    assert [pair["revoked"] for pair in store.trace(message=rated)["pairs"]] == [["rating"], []]


def test_a_thumb_given_again_is_not_taken_back(store: Store, rated: str) -> None:
    made(store, freeze(store, liked(rated)))
    store.rate(rated, 0)
    store.rate(rated, 1)
    assert store.revoked() == []


def test_what_was_only_held_out_or_rejected_was_not_trained_on(store: Store, rated: str) -> None:
    twin = exchange(store)
    store.rate(twin, 1)
    made(store, freeze(store, liked(rated, "held_out"), rejected=((twin, "duplicate"),)))
    for reply in (rated, twin):
        store.rate(reply, 0)
    assert store.revoked() == []
    (version,) = store.trace(message=rated)["versions"]
    assert (version["reached"], version["revoked"]) == (["held_out"], [])


def test_a_thumb_that_had_no_part_in_what_was_learned_is_not_listed(store: Store, rated: str) -> None:
    store.correct(rated, "Better.")
    correction = store.message(rated).correction_id
    made(store, freeze(store, PairRow(rated, correction, "correction", 1.0, "train")))
    store.rate(rated, 0)
    assert store.revoked() == []


def test_a_correction_taken_back_is_listed(store: Store, rated: str) -> None:
    store.correct(rated, "Better.")
    correction = store.message(rated).correction_id
    pairs = [PairRow(rated, correction, "correction", 1.0, "train"), PairRow(rated, None, "corrected", 0.8, "train")]
    made(store, freeze(store, *pairs))
    store.correct(rated, "It is so.")
    (row,) = store.revoked()
    assert (row["what"], row["messages"], numbers(row["versions"])) == ("correction", [rated], [1])
    assert [pair["revoked"] for pair in store.trace(message=rated)["pairs"]] == [["correction"], ["correction"]]


@pytest.mark.parametrize("verdict", ["rejected", ""])
def test_an_approval_taken_back_is_listed_until_it_is_given_again(store: Store, verdict: str) -> None:
    store.add_base("tiny")
    reply = exchange(store)
    store.review(reply, "approved")
    version = made(store, freeze(store, PairRow(reply, None, "approved", 0.7, "train")))
    assert store.revoked() == []
    store.review(reply, verdict)
    later = made(store, freeze(store))
    (row,) = store.revoked()
    assert (row["what"], row["messages"], numbers(row["versions"])) == ("review", [reply], [version])
    assert row["clean"] == [later] and isinstance(row["review"], int)
    found = store.trace(message=reply)
    assert [pair["revoked"] for pair in found["pairs"]] == [["review"]]
    assert [(v["version"], v["revoked"], v["clean"]) for v in found["versions"]] == [(version, ["review"], [later])]
    assert store.version_saw(version).revoked == 1
    store.review(reply, "approved")
    assert store.revoked() == []


def test_an_approval_that_had_replaced_a_rejection_is_listed_once_it_is_taken_back(store: Store) -> None:
    store.add_base("tiny")
    reply = exchange(store)
    store.review(reply, "rejected")
    store.review(reply, "approved")
    version = made(store, freeze(store, PairRow(reply, None, "approved", 0.7, "train")))
    store.review(reply, "")  # the rejection is in force again, as old as it was
    later = made(store, freeze(store))
    (row,) = store.revoked()
    assert (row["what"], numbers(row["versions"]), row["clean"]) == ("review", [version], [later])
    assert [v["clean"] for v in store.trace(message=reply)["versions"]] == [[later]]


def test_an_approval_that_had_no_part_in_what_was_learned_is_not_listed(store: Store, rated: str) -> None:
    store.review(rated, "approved")
    made(store, freeze(store, PairRow(rated, None, "chosen", 0.8, "train")))
    store.review(rated, "")
    assert store.revoked() == []


def test_a_deleted_conversation_stays_traceable_and_is_listed_once_for_all_its_replies(
    store: Store, rated: str
) -> None:
    talk = store.conversation_of(rated)
    say(store, talk, "And?")
    second = answer(store, talk, "So.")
    store.rate(second, 1)
    made(store, freeze(store, liked(rated), liked(second)))
    store.delete(talk)
    (row,) = store.revoked()
    assert (row["what"], row["conversation"], set(row["messages"])) == ("conversation", talk, {rated, second})
    found = store.trace(conversation=talk)
    assert [pair["revoked"] for pair in found["pairs"]] == [["conversation"]] * 2
    assert all(r["conversation_deleted"] for r in store.trace(rating=rating_of(store, rated))["ratings"])
    store.undelete(talk)
    assert store.revoked() == []


# --- counted


def test_what_a_version_saw_is_counted_as_it_is_traced(store: Store) -> None:
    store.add_base("tiny")
    up, taken_back, corrected, held, out = (exchange(store) for _ in range(5))
    for reply in (up, taken_back, held, out):
        store.rate(reply, 1)
    store.correct(corrected, "Four.")
    with store.reading() as session:
        words = current_corrections(session, [corrected])[corrected].id
    told = PairRow(corrected, words, "correction", 1.0, "train")
    pairs = liked(up), liked(taken_back), told, liked(held, "held_out"), liked(out, "validation")
    version = made(store, freeze(store, *pairs, rejected=((up, "duplicate"), (out, "too_long"))))
    later = made(store, freeze(store, liked(up)))
    store.rate(taken_back, 0)
    store.correct(corrected, "It depends.")  # replaced, not taken back
    store.delete(store.conversation_of(held))
    saw = store.version_saw(version)
    assert list(saw.sides.items()) == [("train", 3), ("held_out", 1), ("validation", 1), ("rejected", 2)]
    assert (saw.kinds.most_common(), saw.revoked) == ([("thumb_up", 4), ("correction", 1)], 2)
    for number in (version, later):
        saw, traced = store.version_saw(number), store.trace(version=number)["pairs"]
        assert saw.sides == Counter(pair["split"] for pair in traced)
        assert saw.kinds == Counter(pair["kind"] for pair in traced if pair["kind"])
        assert saw.revoked == sum(bool(pair["revoked"]) for pair in traced if pair["kind"])
    assert store.version_saw(0).sides == {}
    with pytest.raises(NotFound, match="modelversion 9"):
        store.version_saw(9)
