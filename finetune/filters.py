"""What is wrong with a text as training material, by itself: it repeats itself, or answers in another language."""

import re
from collections.abc import Sequence

from finetune.alike import words
from finetune.tongues import language, letters, tongue

_RUN = re.compile(r"([^\s\-=_*#~.|])\1{39,}")  # one character forty times; rules of tables and headings are none
_NGRAM = 4
_MOST_REPEATED = 0.5  # of a text's sequences of four words, those that stood in it before
_FEWEST_NGRAMS = 12
_FEWEST_LETTERS = 20  # below that a text tells no script
_FEWEST_FOREIGN = 4  # letters that are not Latin, from which on a message does: nobody's names and codes are in them
_PRESENT = 0.1  # share of a message's letters from which on its reply may be in that script
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


def other_language(prompt: Sequence[tuple[str, str]], reply: str) -> bool:
    """Tell whether a reply is in another script or language than the person wrote, who asked for no other.

    What counts is the newest user message that can be told, or all of them together; the whole prompt where there is
    none. A shorter message after it still counts for a reply in its language, as people switch in the middle of a talk.
    Who asks for a language may be anyone, a persona too. Scripts are told by their letters; languages of the Latin
    script by function words, where both are long enough. Code is left out of account: it looks Latin in every language.
    """
    if any(_ASKS.search(text) for _, text in prompt):
        return False
    said = letters(reply)
    if said.total() < _FEWEST_LETTERS:
        return False
    wrote = [text for role, text in prompt if role == "user"] or ["\n".join(text for _, text in prompt)]
    script = said.most_common(1)[0][0]
    if _other_script(wrote, script):
        return True
    spoken = language(reply) if script == "latin" else None
    return spoken is not None and _other_words(wrote, spoken)


def _other_script(wrote: Sequence[str], script: str) -> bool:
    for text in reversed(wrote):
        found = letters(text)
        if found.total() >= _FEWEST_FOREIGN and found[script] >= _PRESENT * found.total():
            return False
        if found.total() >= _FEWEST_LETTERS or found.total() - found["latin"] >= _FEWEST_FOREIGN:
            return True
    found = letters("\n".join(wrote))
    return found.total() > 0 and found[script] < _PRESENT * found.total()


def _other_words(wrote: Sequence[str], spoken: str) -> bool:
    for text in reversed(wrote):
        told = language(text)
        if told is not None:
            return told != spoken
        if tongue(text) == spoken:
            return False
    told = language("\n".join(wrote))
    return told is not None and told != spoken
