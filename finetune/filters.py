"""What is wrong with a text as training material, by itself: it repeats itself, or answers in another language."""

import re

from finetune.alike import words
from finetune.tongues import language, letters

_RUN = re.compile(r"([^\s\-=_*#~.|])\1{39,}")  # one character forty times; rules of tables and headings are none
_NGRAM = 4
_MOST_REPEATED = 0.5  # of a text's sequences of four words, those that stood in it before
_FEWEST_NGRAMS = 12
_FEWEST_LETTERS = 20  # below that a text tells no script
_PRESENT = 0.1  # share of a prompt's letters from which on its reply may be in that script
# Who asks for a translation, or names a language, may get a reply in another one.
_ASKS = re.compile(
    r"translat|\blanguage|übersetz|tradu[cizs]|翻译|翻譯|译成|中文|英文|英语|英語|日语|日本語|перев[ео]"
    r"|\b(english|chinese|mandarin|cantonese|german|french|spanish|italian|portuguese|dutch|russian|ukrainian|greek"
    r"|hebrew|arabic|hindi|thai|japanese|korean|latin|polish|turkish|swedish|vietnamese)\b",
    re.IGNORECASE,
)


def repeats(text: str) -> bool:
    """Tell whether a text goes round in circles.

    More than half of its sequences of four words stood in it before, or one character runs on for forty.
    """
    said = words(text)
    ngrams = [tuple(said[start : start + _NGRAM]) for start in range(len(said) - _NGRAM + 1)]
    if len(ngrams) >= _FEWEST_NGRAMS and 1 - len(set(ngrams)) / len(ngrams) > _MOST_REPEATED:
        return True
    return _RUN.search(text) is not None


def other_language(prompt: str, reply: str) -> bool:
    """Tell whether a reply is in another script or language than its prompt, which asked for no other.

    Scripts are told by their letters; languages of the Latin script by function words, where both are long enough.
    Code is left out of account: it looks Latin in every language.
    """
    if _ASKS.search(prompt):
        return False
    asked, said = letters(prompt), letters(reply)
    if not asked or sum(said.values()) < _FEWEST_LETTERS:
        return False
    script = said.most_common(1)[0][0]
    if asked[script] < _PRESENT * sum(asked.values()):
        return True
    if script != "latin":
        return False
    one, other = language(prompt), language(reply)
    return one is not None and other is not None and one != other
