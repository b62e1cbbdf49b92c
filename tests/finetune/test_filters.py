import pytest

from finetune.filters import other_language, repeats

ENGLISH = "The lamp is on the table and it is made of glass, as far as I know about that."
FRENCH = "La lampe est sur la table et elle est faite de verre, c'est tout ce que je sais pour vous."
GERMAN = "Die Lampe steht auf dem Tisch und sie ist aus Glas, mehr weiß ich nicht und das ist wie es ist."
CHINESE = "这盏灯在桌子上,它是用玻璃做的,我知道的就是这些,希望对你有帮助。"


@pytest.mark.parametrize("text", ["I am sorry. I do not know. " * 6, "ha " * 30, "a" * 50, "我不知道。" * 10])
def test_what_goes_round_in_circles_repeats(text: str) -> None:
    assert repeats(text)


@pytest.mark.parametrize(
    "text", [ENGLISH, CHINESE, "no no no", "", "| a | b |\n|" + "-" * 60 + "|", "1. Tea\n2. Milk\n3. Tea with milk"]
)
def test_what_people_write_does_not(text: str) -> None:
    assert not repeats(text)


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        ("What is this lamp?", CHINESE),
        ("这盏灯是什么?", ENGLISH),
        ("Что это за лампа?", ENGLISH),
        (ENGLISH, FRENCH),
        (GERMAN, ENGLISH),
    ],
)
def test_another_script_or_language_is_told(prompt: str, reply: str) -> None:
    assert other_language([("user", prompt)], reply)


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        (ENGLISH, ENGLISH),
        (FRENCH, FRENCH),
        ("Translate it: " + ENGLISH, FRENCH),
        ("How do you say that in Chinese?", CHINESE),
        ("翻译成英文:这盏灯在桌子上", ENGLISH),
        (
            "写一个函数,谢谢",
            "```python\ndef lamp(table):\n    return table.glass\n```\n这个函数返回桌子上的灯,希望对你有帮助,谢谢。",
        ),
        ("这是什么?", "NASA"),  # too short to tell
        ("2 + 2?", ENGLISH),  # asks in no language
        ("What is this lamp?", FRENCH),  # too short a question to tell
    ],
)
def test_the_same_one_or_one_that_was_asked_for_is_not(prompt: str, reply: str) -> None:
    assert not other_language([("user", prompt)], reply)


PERSONA = "You are a patient tutor. Explain one idea at a time, in plain words, with a small example of what it is for."
ASKED = "Was ist das für eine Lampe auf dem Tisch, und woraus ist sie gemacht?"


@pytest.mark.parametrize(
    ("prompt", "reply", "foreign"),
    [
        ([("system", PERSONA), ("user", "Was ist das?")], GERMAN, False),
        ([("system", PERSONA), ("user", ASKED)], ENGLISH, True),
        ([("system", PERSONA), ("user", "这盏灯是什么?")], CHINESE, False),
        ([("system", PERSONA), ("user", "这盏灯是什么?")], ENGLISH, True),
        ([("system", PERSONA), ("assistant", ENGLISH), ("user", ASKED)], GERMAN, False),
        # A switch in the middle of a talk: the newest message counts.
        ([("user", ENGLISH), ("assistant", ENGLISH), ("user", ASKED)], GERMAN, False),
        ([("user", ENGLISH), ("assistant", ENGLISH), ("user", ASKED)], ENGLISH, True),
        ([("user", ENGLISH), ("assistant", ENGLISH), ("user", "这盏灯是什么?")], CHINESE, False),
        ([("user", ENGLISH), ("assistant", ENGLISH), ("user", "这盏灯是什么?")], ENGLISH, True),
        ([("user", ASKED), ("assistant", GERMAN), ("user", "And what is it made of?")], ENGLISH, False),
        # What tells nothing leaves it to the message before.
        ([("user", CHINESE), ("assistant", CHINESE), ("user", "OK")], CHINESE, False),
        ([("user", CHINESE), ("assistant", CHINESE), ("user", "OK")], ENGLISH, True),
        ([("user", ASKED), ("assistant", GERMAN), ("user", "1987?")], ENGLISH, True),
        # Several short ones together are long enough.
        (
            [("user", "Was ist das hier?"), ("user", "Wie groß ist die Lampe?"), ("user", "Und der Tisch")],
            FRENCH,
            True,
        ),
        # Nobody wrote anything: the prompt is all there is.
        ([("system", ENGLISH)], FRENCH, True),
        # Anyone may ask for a language.
        ([("system", "Always answer in German."), ("user", ENGLISH)], GERMAN, False),
    ],
)
def test_a_reply_is_held_against_what_the_person_wrote(
    prompt: list[tuple[str, str]], reply: str, foreign: bool
) -> None:
    assert other_language(prompt, reply) is foreign
