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
    assert other_language(prompt, reply)


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
    assert not other_language(prompt, reply)
