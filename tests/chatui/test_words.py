import re
from pathlib import Path

import pytest

from chatui.look import web_file
from chatui.words import LANGUAGES, language_of, words

ROOT = Path(__file__).parents[2]
NAMES = ("head.html", *(path.name for path in (ROOT / "chatui/web").glob("*.js")))
SCRIPTS = "".join(web_file(name) for name in NAMES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_everything_with_the_same_values(language: str) -> None:
    english, other = words("en"), words(language)
    assert set(other) == set(english)
    for key, text in english.items():
        assert set(re.findall(r"\{(\w+)\}", other[key])) == set(re.findall(r"\{(\w+)\}", text)), key
        assert other[key].strip()


def test_what_the_scripts_ask_for_is_there() -> None:
    asked = set(re.findall(r"rpWord\('(\w+)'[,)]", SCRIPTS))
    assert asked - set(words()) == set()
    assert len(asked) > 30  # the pattern still finds them


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "en"),
        ({"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"}, "zh"),
        ({"accept-language": "zh-HK"}, "zh"),
        ({"accept-language": "fr-FR,fr;q=0.9"}, "en"),
        ({"accept-language": "fr,zh;q=0.5"}, "zh"),
        ({"accept-language": "zh-CN", "cookie": "a=1; rp-language=en"}, "en"),
        ({"accept-language": "en", "cookie": "rp-language=zh"}, "zh"),
        ({"accept-language": "en", "cookie": "rp-language=../../etc"}, "en"),
        ({"cookie": 'prefs={"a":1}; rp-language=zh'}, "zh"),
        ({"cookie": "a/b=1; rp-language=zh; c=é"}, "zh"),
        ({"cookie": "not-rp-language=zh"}, "en"),
    ],
)
def test_the_switch_wins_over_the_browser_and_the_browser_over_english(headers: dict[str, str], language: str) -> None:
    assert language_of(headers) == language
