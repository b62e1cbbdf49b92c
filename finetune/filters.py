"""What is wrong with a text as training material, by itself: it repeats itself, or answers in another language."""

import re
from collections import Counter

from finetune.alike import words

_RUN = re.compile(r"([^\s\-=_*#~.|])\1{39,}")  # one character forty times; rules of tables and headings are none
_NGRAM = 4
_MOST_REPEATED = 0.5  # of a text's sequences of four words, those that stood in it before
_FEWEST_NGRAMS = 12
_FEWEST_LETTERS = 20  # below that a text tells no script
_FEWEST_WORDS = 12  # below that function words tell no language
_PRESENT = 0.1  # share of a prompt's letters from which on its reply may be in that script
_CODE = re.compile(r"```.*?(```|$)|`[^`\n]*`|https?://\S+", re.DOTALL)
_SCRIPTS = {
    "latin": re.compile(r"[A-Za-zÀ-ɏḀ-ỿ]"),
    "cyrillic": re.compile(r"[Ѐ-ԯ]"),
    "greek": re.compile(r"[Ͱ-Ͽἀ-῿]"),
    "hebrew": re.compile(r"[֐-׿]"),
    "arabic": re.compile(r"[؀-ۿݐ-ݿ]"),
    "devanagari": re.compile(r"[ऀ-ॿ]"),
    "thai": re.compile(r"[฀-๿]"),
    "han": re.compile(r"[぀-ヿ㐀-鿿豈-﫿]"),  # kana too: Japanese is written in both
    "hangul": re.compile(r"[가-힯ᄀ-ᇿ]"),
}
# Who asks for a translation, or names a language, may get a reply in another one.
_ASKS = re.compile(
    r"translat|\blanguage|übersetz|tradu[cizs]|翻译|翻譯|译成|中文|英文|英语|英語|日语|日本語|перев[ео]"
    r"|\b(english|chinese|mandarin|cantonese|german|french|spanish|italian|portuguese|dutch|russian|ukrainian|greek"
    r"|hebrew|arabic|hindi|thai|japanese|korean|latin|polish|turkish|swedish|vietnamese)\b",
    re.IGNORECASE,
)
# The commonest function words that (nearly) no other of these languages has.
_COMMON = """
english the of and is are to you that with this have for it what how
german der das und ist nicht ein eine den zu mit wie ich sie auf wird
french le les des et est une dans pour vous pas que qui sur je au
spanish el los y es una por para con las del cómo qué su lo más
italian il di che è per una sono non con gli della nel si come anche
portuguese o os e é uma para com não do da em você mais ao por
dutch het een van en niet dat voor zijn met je wat hoe op te ik
"""
_FUNCTION_WORDS = {name: known for name, *known in map(str.split, _COMMON.strip().splitlines())}


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
    asked, said = _letters(_CODE.sub(" ", prompt)), _letters(_CODE.sub(" ", reply))
    if not asked or sum(said.values()) < _FEWEST_LETTERS:
        return False
    script = said.most_common(1)[0][0]
    if asked[script] < _PRESENT * sum(asked.values()):
        return True
    if script != "latin":
        return False
    one, other = _language(prompt), _language(reply)
    return one is not None and other is not None and one != other


def _letters(text: str) -> Counter[str]:
    counts = {script: len(letters.findall(text)) for script, letters in _SCRIPTS.items()}
    return Counter({script: count for script, count in counts.items() if count})


def _language(text: str) -> str | None:
    """Name the language whose function words make at least a sixth of a text, and twice the next language's."""
    said = Counter(words(_CODE.sub(" ", text)))
    if said.total() < _FEWEST_WORDS:
        return None
    counts = sorted((sum(said[word] for word in known), name) for name, known in _FUNCTION_WORDS.items())
    (second, _), (first, name) = counts[-2:]
    return name if first * 6 >= said.total() and first >= 2 * second else None
