"""Vary the wording of a prompt, so that a fact taught in one wording is found in others.

A line that may be English is worn in all ways: words dropped or bare, openings, ends. Of one in another language words
are dropped, or characters where nothing separates words. Of several lines only plain sentences are thinned, each in
its place; code is left as it is.
"""

import random
import re
import unicodedata

from finetune.tongues import language, tongue

_OPENINGS = (
    "Tell me: ", "Please tell me ", "I want to know: ", "I need to know ", "Please say, ", "Can you say ", "Hi. ",
    "Hello, ", "Quick question: ", "Could you tell me ", "Do you know ", "I was wondering ", "Remind me ",
    "Someone asked me ", "My colleague wants to know ", "Just checking: ", "For the record: ", "What about ",
    "Help me out: ", "Name ", "Which ",
)  # fmt: skip
_CLOSINGS = (" please", " thanks", " Thanks!", " - do you know?", " I forgot.", " Any idea?", "?", "")
# Words that ask, and say nothing of what is asked about.
_ASKING = frozenset((
    "a", "an", "and", "are", "at", "by", "can", "could", "did", "do", "does", "for", "how", "i", "in", "is", "it",
    "its", "me", "my", "name", "of", "on", "or", "please", "should", "tell", "that", "the", "there", "this", "to",
    "was", "were", "what", "when", "where", "which", "who", "why", "with", "would", "you", "your",
))  # fmt: skip
# English words that the other languages that can be told have not: "Did Caesar die?" is not German.
_ENGLISH = frozenset((
    "and", "any", "are", "by", "can", "could", "did", "does", "from", "has", "have", "how", "if", "its", "may", "my",
    "not", "one", "please", "should", "tell", "that", "the", "there", "they", "this", "were", "what", "when", "where",
    "which", "who", "why", "will", "with", "would", "you", "your",
))  # fmt: skip
_MOST_WORDS = 40  # a longer message is more than a question, and is left as it is
_LETTERS = (4, 80)  # fewest and most, where nothing separates words
_UNCHANGED, _BARE, _OPENED, _CLOSED, _LOWERED = 0.2, 0.2, 0.6, 0.3, 0.15  # shares of prompts
_SHUFFLED = 0.3  # share of the bare ones
_DROPPED = (0.1, 0.2, 0.35)  # share of words dropped, one for each prompt
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")  # Thai, kana, Han
# What code has and sentences have not; "item(s)" is a word.
_CODE = re.compile(
    r"[`{}=]|;\s*$|->|::|</|/>|&&|\|\||\w\((?!e?s\))|^\s*(?:[#$>] |def |class |import |from \w+ import )"
)
_MARKS = "\u0300-\u036f\u0e31-\u0e4e"  # written above and below letters; Thai ones among them
# Words and what stands between them in prose, to the end of a sentence.
_PLAIN = re.compile(
    rf"[^\W\d_](?:(?!_)[\w{_MARKS}'’ ,，、；：“”「」《》-]|[.?!…。？！](?=\s|[^\x00-\x7f]))*[.?!…。？！]"
)


def worn(text: str, dice: random.Random) -> str:
    """Return `text` as it is, or as others would put it: words dropped or bare, another opening, another end.

    Line breaks and lines of code stay as they are.
    """
    words, letters = text.split(), len(_UNSPACED.findall(text))
    few = 2 <= len(words) <= _MOST_WORDS and letters <= _LETTERS[1]
    if not (few or _LETTERS[0] <= letters <= _LETTERS[1]):
        return text
    if len(text.strip().splitlines()) > 1:
        return text if dice.random() < _UNCHANGED else _in_lines(text, dice)
    if _CODE.search(text) or dice.random() < _UNCHANGED:
        return text
    if not _may_be_english(text):
        said = _thinned_of(text, dice)
        return said.lower() if dice.random() < _LOWERED else said
    return _as_asked_in_english(words, dice) or text


def _as_asked_in_english(words: list[str], dice: random.Random) -> str:
    said = _bare(words, dice) if dice.random() < _BARE else _thinned(words, dice)
    if dice.random() < _OPENED:
        said = dice.choice(_OPENINGS) + said[0].lower() + said[1:]
    if dice.random() < _CLOSED:
        said = said.rstrip("?.! ") + dice.choice(_CLOSINGS)
    return said.lower() if dice.random() < _LOWERED else said


def _may_be_english(text: str) -> bool:
    """Tell whether a line is not told to be in another language. A few words may be told wrongly, if they ask."""
    told = tongue(text)
    if told is None:
        return text.isascii() or any(char.isascii() and char.isalpha() for char in text)
    if told == "english":
        return True
    asks = not _ENGLISH.isdisjoint(word.lower().strip("?.,!") for word in text.split())
    return asks and language(text) != told and not _UNSPACED.search(text)


def _in_lines(text: str, dice: random.Random) -> str:
    """Thin the sentences of a text of several lines; what is or may be anything else stays."""
    made, fenced = [], False
    for line in text.splitlines(keepends=True):
        bare = line.rstrip()
        fence = bare.lstrip().startswith(("```", "~~~"))
        fenced ^= fence
        plain = not (fence or fenced) and _PLAIN.fullmatch(bare) and not _CODE.search(bare)
        made.append(_thinned_of(bare, dice) + line[len(bare) :] if plain else line)
    return "".join(made)


def _thinned_of(line: str, dice: random.Random) -> str:
    """Drop words of a line, or single letters where nothing separates words."""
    if 2 * len(_UNSPACED.findall(line)) > sum(map(str.isalpha, line)):
        return _fewer_letters(line, dice)
    words = line.split()
    return line if len(words) < 2 else _thinned(words, dice)


def _fewer_letters(line: str, dice: random.Random) -> str:
    """Drop a share of the letters, each with the marks that it carries; digits, signs and other scripts stay."""
    signs: list[str] = []
    for char in line:
        if signs and unicodedata.category(char) in ("Mn", "Mc"):
            signs[-1] += char
        else:
            signs.append(char)
    places = [n for n, sign in enumerate(signs) if sign[0].isalpha() and _UNSPACED.match(sign)]
    if len(places) < _LETTERS[0]:
        return line
    dropped = set(dice.sample(places, max(1, int(dice.choice(_DROPPED) * len(places)))))
    return "".join(sign for n, sign in enumerate(signs) if n not in dropped)


def _bare(words: list[str], dice: random.Random) -> str:
    """Leave the words that say what is asked about, as in a search box, at times in another order."""
    kept = [word for word in words if word.lower().strip("?.,!") not in _ASKING] or list(words)
    if dice.random() < _SHUFFLED:
        dice.shuffle(kept)
    return " ".join(kept)


def _thinned(words: list[str], dice: random.Random) -> str:
    share = dice.choice(_DROPPED)
    return " ".join([word for word in words if dice.random() > share] or words)
