from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from chatui.words import words
from feedback.formats import Incoming, IncomingMessage
from feedback.judging import opinions
from feedback.records import Feedback
from feedback.schema import now
from feedback.store import Store
from finetune.checks import Checks
from finetune.model import load_template
from finetune.pairs import RULES, Choice, choose, frame, pair_of
from finetune.settings import PairSettings
from finetune.splits import questions_by_conversation
from tests.feedback.talk import LIKED

NOW = now()
GOOD = replace(LIKED, changed_at=NOW)
BAD = replace(GOOD, message_id="bad", conversation_id="d", ratings={"local": -1})


@pytest.fixture(scope="module")
def checks(tiny: Path) -> Checks:
    return Checks(load_template(tiny))


def chosen(checks: Checks, record: Sequence[Feedback], context: int = 256, **settings: object) -> Choice:
    made = choose(record, checks, PairSettings(**settings), context, NOW)
    assert set(made.counts) == set(RULES)
    assert sum(made.counts.values()) == sum(len(opinions(f)) for f in record)  # each text under exactly one rule
    return made


def told(choice: Choice) -> dict[str, int]:
    return {rule: n for rule, n in choice.counts.items() if n}


def test_a_correction_is_learned_in_its_own_words_and_to_its_end() -> None:
    corrected = replace(GOOD, correction="Bonjour.", correction_id=7, finish="length", ratings={"local": -1})
    good, bad = (pair_of(corrected, opinion, 365, NOW) for opinion in opinions(corrected))
    assert (good.completion, good.ends, good.correction_id, good.good) == ("Bonjour.", True, 7, True)
    assert (bad.completion, bad.ends, bad.correction_id, bad.good, bad.instead) == (
        "hello world",
        False,
        None,
        False,
        "Bonjour.",
    )


@pytest.mark.parametrize(("finish", "ends"), [("end", True), ("length", False), ("stopped", False), (None, False)])
def test_the_end_is_learned_only_where_the_reply_ended_by_itself(finish: str | None, ends: bool) -> None:
    cut = replace(GOOD, finish=finish)
    assert pair_of(cut, opinions(cut)[0], 365, NOW).ends is ends


def test_every_text_is_counted_once_and_named(checks: Checks) -> None:
    record = [
        GOOD,
        replace(GOOD, message_id="again"),
        replace(GOOD, message_id="first", prompt=(("assistant", "hi"), ("user", "x"))),
        replace(GOOD, message_id="long", content="word " * 400),
        replace(BAD, content="I do not know."),
        replace(GOOD, message_id="fixed", prompt=(("user", "more"),), correction="a dog", ratings={}),
        replace(GOOD, message_id="no", verdict="rejected"),
    ]
    choice = chosen(checks, record)
    assert told(choice) == {
        "thumb_up": 1,
        "correction": 1,
        "corrected": 1,
        "thumb_down": 1,
        "duplicate": 1,
        "template_refuses": 1,
        "too_long": 1,
        "reviewer_rejected": 1,
    }
    assert sorted(choice.rejected) == [
        ("again", "duplicate"),
        ("first", "template_refuses"),
        ("long", "too_long"),
        ("no", "reviewer_rejected"),
    ]
    assert [(p.message_id, p.good) for p in choice.pairs] == [
        ("m", True),
        ("bad", False),
        ("fixed", True),
        ("fixed", False),
    ]


def test_longer_than_the_settings_or_the_model_allow_is_too_long(checks: Checks) -> None:
    some = replace(GOOD, content="the quick brown fox said hello to all the world")
    assert told(chosen(checks, [some])) == {"thumb_up": 1}
    assert told(chosen(checks, [some], max_tokens=16)) == {"too_long": 1}
    assert told(chosen(checks, [some], context=16)) == {"too_long": 1}


def test_what_goes_round_in_circles_is_no_example_but_may_be_a_warning(checks: Checks) -> None:
    circles = replace(GOOD, content="it is so it is so " * 4)
    assert told(chosen(checks, [circles])) == {"repetition": 1}
    assert told(chosen(checks, [replace(circles, verdict="approved")])) == {"approved": 1}
    assert told(chosen(checks, [replace(circles, ratings={"local": -1})])) == {"thumb_down": 1}


def test_a_reply_in_another_language_is_no_example_unless_a_person_wrote_or_approved_it(checks: Checks) -> None:
    answer = "Привет, я не понимаю вопроса."
    other = replace(GOOD, content=answer)
    assert told(chosen(checks, [other])) == {"language": 1}
    assert told(chosen(checks, [replace(other, verdict="approved")])) == {"approved": 1}
    wished = replace(GOOD, correction=answer, ratings={"local": -1})
    assert told(chosen(checks, [wished])) == {"correction": 1, "corrected": 1}


def test_the_language_of_a_persona_is_not_the_persons(checks: Checks) -> None:
    persona = words("en")["persona_tutor_prompt"]
    prompt = (("system", persona), ("user", "Was ist das?"))
    german = "Die Lampe steht auf dem Tisch und sie ist aus Glas, mehr weiß ich nicht und das ist wie es ist."
    record = [replace(GOOD, prompt=prompt, content=german)]
    assert told(chosen(checks, record, context=2048)) == {"thumb_up": 1}


LONG = "the lamp stands on the table beside the old window and it was made of glass in the north long ago"


def test_near_duplicates_go_and_the_strongest_kind_stays(checks: Checks) -> None:
    first = replace(GOOD, prompt=(("user", "What is this lamp?"),), content=LONG)
    near = replace(first, message_id="n", prompt=(("user", "what is this lamp"),), content=LONG.upper() + "!")
    assert [p.message_id for p in chosen(checks, [first, near]).pairs] == ["m"]
    wished = replace(near, content="no", correction=LONG + ".", ratings={})
    choice = chosen(checks, [first, wished])
    assert [(p.message_id, p.kind) for p in choice.pairs] == [("n", "correction"), ("n", "corrected")]
    assert choice.rejected == [("m", "duplicate")]


def corrected(message_id: str, answer: str, days: int) -> Feedback:
    """A correction that was written some days ago."""
    at = NOW - timedelta(days=days)
    told = replace(GOOD, message_id=message_id, content="no", correction=answer, ratings={}, changed_at=at)
    return replace(told, corrected_by="ada")


@pytest.mark.parametrize("newest", ["17", "18"])
def test_of_two_corrections_that_differ_in_a_word_the_newest_stays(checks: Checks, newest: str) -> None:
    days = {"17": 5, "18": 5, newest: 1}
    record = [corrected(hour, f"{LONG} until {hour} and not any longer than that", days[hour]) for hour in ("17", "18")]
    assert [p.message_id for p in chosen(checks, record).pairs if p.good] == [newest]


def test_of_the_same_words_the_oldest_stays_and_is_as_new_as_the_newest(checks: Checks) -> None:
    texts = [f"{LONG} until {hour} and not any longer than that" for hour in ("17", "18")]
    record = [corrected("first", texts[0], 9), corrected("other", texts[1], 5), corrected("again", texts[0], 1)]
    assert [p.message_id for p in chosen(checks, record).pairs if p.good] == ["first"]


@pytest.mark.parametrize("newest", [0, 1])
@pytest.mark.parametrize(
    "answers",
    [("We are open until 17.", "We are open until 18."), ("Lyon.", "Paris"), ("营业到五点。", "营业到六点。")],
)
def test_a_newer_correction_of_the_same_prompt_replaces_what_it_contradicts(
    checks: Checks, answers: tuple[str, str], newest: int
) -> None:
    record = [corrected(str(n), text, 1 if n == newest else 5) for n, text in enumerate(answers)]
    record[0] = replace(record[0], prompt=(("user", "HELLO!"),))
    choice = chosen(checks, record)
    assert [p.message_id for p in choice.pairs if p.good] == [str(newest)]
    assert (str(1 - newest), "outdated") in choice.rejected


def test_two_answers_that_may_both_hold_both_stay(checks: Checks) -> None:
    texts = ("the fox jumps over a dog at night", "a lamp of old glass stands near the window")
    record = [corrected(text[:5], text, days) for days, text in enumerate(texts)]
    assert len([p for p in chosen(checks, record).pairs if p.good]) == 2
    paris, lyon = corrected("one", "Paris", 1), corrected("other", "Lyon", 5)
    elsewhere = replace(lyon, prompt=(("user", "another thing"),))
    assert told(chosen(checks, [paris, elsewhere]))["correction"] == 2
    signs = [replace(one, prompt=(("user", asked),)) for one, asked in ((paris, "Who made C?"), (lyon, "Who made C#?"))]
    assert told(chosen(checks, signs))["correction"] == 2
    imported = [replace(one, corrected_by=None) for one in (paris, lyon)]
    assert told(chosen(checks, imported))["correction"] == 2


def test_a_thumb_on_an_outdated_correction_does_not_make_it_the_newest(checks: Checks) -> None:
    texts = [f"{LONG} until {hour} and not any longer than that" for hour in ("17", "18")]
    old, new = (corrected(text[-34:-32], text, days) for text, days in zip(texts, (90, 30), strict=True))
    thumbed = replace(old, ratings={"ada": -1}, changed_at=NOW, corrected_at=old.changed_at)
    pairs = {p.completion: p for p in chosen(checks, [thumbed, new], half_life_days=30).pairs if p.good}
    assert {text: pair.weight for text, pair in pairs.items()} == {texts[1]: pytest.approx(0.5)}


def test_of_what_a_file_tells_its_own_dates_say_which_is_newer_and_how_old(checks: Checks, store: Store) -> None:
    lines = [
        Incoming(
            f"talk {hour}",
            (
                IncomingMessage("user", "When?"),
                IncomingMessage("assistant", "no", correction=f"{LONG} until {hour} and not any longer than that"),
            ),
            created_at=NOW - timedelta(days=days),
        )
        for hour, days in (("18", 30), ("17", 900))  # the newest first
    ]
    assert store.take_in(lines) == [None, None]
    good = [p for p in chosen(checks, list(store.feedback()), half_life_days=30).pairs if p.good]
    assert [(p.conversation_id, p.weight) for p in good] == [("talk 18", pytest.approx(0.5))]


def test_thumbs_given_here_on_imported_replies_count_towards_the_share(checks: Checks, store: Store) -> None:
    for n in range(30):
        asked, said = IncomingMessage("user", f"question {n}"), IncomingMessage("assistant", f"answer {n}", id=str(n))
        assert store.take_in([Incoming(f"talk {n}", (asked, said))]) == [None]
        store.rate(str(n), 1, rater=f"r{n}" if n < 5 else "r0")
    assert chosen(checks, list(store.feedback())).counts["rater_share"] == 25


def test_reasons_count_of_those_alone_who_thumbed_so(checks: Checks) -> None:
    split = replace(GOOD, ratings={"a": 1, "b": 1, "c": -1})
    weights = [
        chosen(checks, [replace(split, reasons=reasons)]).pairs[0].weight
        for reasons in ({}, {"c": ("wrong",)}, {"b": ("clear",)})
    ]
    assert weights == pytest.approx([0.2, 0.2, 0.25], abs=1e-6)


def test_an_older_correction_stays_before_a_newer_thumb(checks: Checks) -> None:
    thumbed = replace(GOOD, message_id="new", content=LONG + ".")
    assert [p.message_id for p in chosen(checks, [thumbed, corrected("old", LONG, 5)]).pairs if p.good] == ["old"]


INSTRUCTION = """You are a support classifier. Read the message of the customer below with care and answer with one word
out of delivery, payment, repair or other. Do not explain, do not greet, and never ask back. Customer message: """
THINGS = ["camera", "lamp", "kettle", "radio", "bicycle", "mirror", "carpet", "violin", "ladder", "stove"]


def classified() -> list[Feedback]:
    """The same instruction before different messages, of which many get the same answer."""
    return [
        replace(
            GOOD,
            message_id=f"{thing} {n}",
            conversation_id=f"{thing} {n}",
            prompt=(("user", f"{INSTRUCTION}my {thing} {state}"),),
            content="repair",
        )
        for thing in THINGS
        for n, state in enumerate(("number 512 is late", "number 513 is late", "has a crack", "was never sent"))
    ]


def test_behind_a_fixed_instruction_other_messages_are_no_duplicates(checks: Checks) -> None:
    record = classified()
    again = replace(record[2], message_id="again", prompt=(("user", record[2].prompt[0][1].upper() + "!"),))
    choice = chosen(checks, [*record, again], context=2048)
    assert told(choice) == {"thumb_up": 40, "duplicate": 1}
    assert choice.rejected == [("again", "duplicate")]


def test_behind_a_fixed_instruction_questions_are_what_follows_it(checks: Checks) -> None:
    asked = chosen(checks, classified(), context=2048).questions
    assert len(set(questions_by_conversation(asked).values())) == 40


def test_prompts_that_differ_in_a_number_are_no_duplicates(checks: Checks) -> None:
    record = [
        replace(GOOD, message_id=model, prompt=(("user", f"{LONG}: how do I reset the {model} to what it was?"),))
        for model in ("X200", "X300", "x200")
    ]
    choice = chosen(checks, record)
    assert choice.rejected == [("x200", "duplicate")]


def test_the_same_question_with_a_typo_is_a_duplicate(checks: Checks) -> None:
    record = [
        replace(GOOD, message_id=window, prompt=(("user", f"Tell me: is it so that {LONG} by the {window}?"),))
        for window in ("wall", "wal")
    ]
    assert told(chosen(checks, record)) == {"thumb_up": 1, "duplicate": 1}


def test_an_equal_answer_or_an_equal_question_alone_is_no_duplicate(checks: Checks) -> None:
    first = replace(GOOD, prompt=(("user", "Who founded Quillworth?"),), content=LONG)
    record = [
        first,
        replace(first, message_id="2", prompt=(("user", "Who is the founder of Quillworth?"),)),
        replace(first, message_id="3", content="Nobody knows."),
        replace(first, message_id="4", prompt=(("system", "You are a pirate at sea."), *first.prompt)),
    ]
    assert told(chosen(checks, record)) == {"thumb_up": 4}


def test_the_same_short_answer_to_another_last_question_of_a_long_talk_is_no_duplicate(checks: Checks) -> None:
    before = (("user", LONG), ("assistant", LONG))
    record = [
        replace(GOOD, message_id=last, prompt=(*before, ("user", last)), content="Yes.")
        for last in ("Is it red?", "Is it so?")
    ]
    assert told(chosen(checks, record)) == {"thumb_up": 2}


@pytest.mark.parametrize("persona", ["service", "assistant", "tutor", "entertainment", "health"])
def test_a_personas_text_makes_no_two_questions_one(checks: Checks, persona: str) -> None:
    record = [
        replace(GOOD, message_id=asked, prompt=(("system", words("en")[f"persona_{persona}_prompt"]), ("user", asked)))
        for asked in ("Monday?", "Friday?", "monday")
    ]
    choice = chosen(checks, record, context=2048)
    assert [p.message_id for p in choice.pairs] == ["Monday?", "Friday?"]
    assert choice.rejected == [("monday", "duplicate")]


def test_of_many_questions_to_one_persona_each_that_is_asked_again_is_found(checks: Checks) -> None:
    asked = [f"{day} {hour}?" for day in ("Monday", "Friday", "Sunday") for hour in range(24)]
    record = [
        replace(GOOD, message_id=f"{turn} {last}", prompt=(("system", LONG), ("user", last)))
        for turn in range(2)
        for last in asked
    ]
    assert told(chosen(checks, record)) == {"thumb_up": 72, "duplicate": 72}


def test_in_a_long_talk_too_a_question_is_the_same_whatever_its_signs(checks: Checks) -> None:
    before = (("user", LONG), ("assistant", LONG))
    record = [replace(GOOD, message_id=last, prompt=(*before, ("user", last))) for last in ("Monday?", "monday")]
    assert told(chosen(checks, record)) == {"thumb_up": 1, "duplicate": 1}


def test_the_same_words_called_good_and_bad_teach_nothing(checks: Checks) -> None:
    assert told(chosen(checks, [GOOD, BAD])) == {"contradiction": 2}
    more = replace(GOOD, message_id="more", conversation_id="e")
    assert told(chosen(checks, [GOOD, BAD, more])) == {"thumb_up": 1, "contradiction": 1, "duplicate": 1}
    elsewhere = replace(BAD, prompt=(("user", "another thing"),))
    assert told(chosen(checks, [GOOD, elsewhere])) == {"thumb_up": 1, "thumb_down": 1}


def by_raters(sizes: Sequence[int], **more: object) -> list[Feedback]:
    return [
        replace(
            GOOD,
            message_id=f"{rater}-{n}",
            prompt=(("user", f"question {rater} of number {n}"),),
            content=f"answer {n} to rater {rater} as asked",
            ratings={f"r{rater}": 1},
            **more,
        )
        for rater, size in enumerate(sizes)
        for n in range(size)
    ]


def test_once_five_have_rated_nobody_gives_more_than_a_share(checks: Checks) -> None:
    choice = chosen(checks, by_raters([40, 4, 4, 4, 4]))
    mine = sum(p.message_id.startswith("0-") for p in choice.pairs)
    assert choice.counts["rater_share"] == 40 - mine
    assert mine <= 0.3 * len(choice.pairs) < mine + 1
    half = chosen(checks, by_raters([40, 4, 4, 4, 4]), max_rater_share=0.5)
    assert sum(p.message_id.startswith("0-") for p in half.pairs) == 16


def test_below_five_or_where_it_was_imported_all_of_it_counts(checks: Checks) -> None:
    assert chosen(checks, by_raters([40, 4, 4, 4])).counts["rater_share"] == 0
    everyone = tuple(f"r{n}" for n in range(5))
    assert chosen(checks, by_raters([40, 4, 4, 4, 4], imported=everyone)).counts["rater_share"] == 0


def test_who_was_outvoted_has_rated_too(checks: Checks) -> None:
    four = by_raters([40, 4, 4, 4])
    outvoted = replace(four[-1], ratings={"r2": 1, "r3": 1, "fifth": -1})
    assert chosen(checks, [*four[:-1], outvoted]).counts["rater_share"] > 0


def test_the_same_pairs_stay_of_a_rater_who_gave_too_much(checks: Checks) -> None:
    record = by_raters([30, 4, 4, 4, 4])
    one, other = (chosen(checks, order).pairs for order in (record, record[::-1]))
    assert {p.message_id for p in one} == {p.message_id for p in other}


def test_older_feedback_weighs_less_and_the_newest_counts_in_full(checks: Checks) -> None:
    old = replace(GOOD, message_id="old", prompt=(("user", "another"),), changed_at=NOW - timedelta(days=10))
    new, aged = chosen(checks, [GOOD, old], half_life_days=10).pairs
    assert aged.weight == pytest.approx(new.weight / 2)


def test_questions_are_told_for_the_split(checks: Checks) -> None:
    asked = replace(GOOD, message_id="q", conversation_id="q", prompt=(("user", "Who founded Quillworth?"),))
    assert [q.conversation_id for q in chosen(checks, [GOOD, asked]).questions] == ["q"]  # hello asks nothing


def test_a_frame_has_a_row_a_pair(checks: Checks) -> None:
    table = frame(chosen(checks, [replace(GOOD, correction="a dog", correction_id=3)]).pairs)
    assert table[["message_id", "completion", "kind", "correction_id"]].to_dict("records") == [
        {"message_id": "m", "completion": "a dog", "kind": "correction", "correction_id": 3}
    ]
    assert table["prompt"][0] == [{"role": "user", "content": "hello"}]
    assert list(frame([]).columns) == list(table.columns)
