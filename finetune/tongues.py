"""In which language a text is, told by its letters and by its commonest words."""

import re
from collections import Counter

from finetune.alike import words

_FEWEST_WORDS = 12  # below that function words tell no language
_CODE = re.compile(r"```.*?(```|$)|`[^`\n]*`|https?://\S+", re.DOTALL)
_SCRIPTS = {
    "latin": re.compile(r"[A-Za-zÀ-ɏḀ-ỿ]"),
    "cyrillic": re.compile(r"[Ѐ-ԯ]"),
    "greek": re.compile(r"[Ͱ-Ͽἀ-῿]"),
    "hebrew": re.compile(r"[֐-׿]"),
    "arabic": re.compile(r"[؀-ۿݐ-ݿ]"),
    "devanagari": re.compile(r"[ऀ-ॿ]"),
    "thai": re.compile(r"[฀-๿]"),
    "han": re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"),  # kana too: Japanese is written in both
    "hangul": re.compile(r"[가-힯ᄀ-ᇿ]"),
}
# The commonest function words that (nearly) no other of these languages has.
_COMMON = """
english the of and is are to you that with this have for it what how do not be from at by or can your its my
german der die das und ist nicht ein eine den zu mit wie ich sie auf wird von im hat bei für dem sind oder auch
french le les des et est une dans pour vous pas que qui sur je au
spanish el los y es una por para con las del cómo qué su lo más
italian il di che è per una sono non con gli della nel si come anche
portuguese o os e é uma para com não do da em você mais ao por
dutch het een van en niet dat voor zijn met je wat hoe op te ik
"""
_FUNCTION_WORDS = {name: known for name, *known in map(str.split, _COMMON.strip().splitlines())}


def letters(text: str) -> Counter[str]:
    """Count a text's letters by script. Code is left out of account: it looks Latin in every language."""
    text = _CODE.sub(" ", text)
    counts = {script: len(of_script.findall(text)) for script, of_script in _SCRIPTS.items()}
    return Counter({script: count for script, count in counts.items() if count})


def language(text: str) -> str | None:
    """Name the language whose function words make at least a sixth of a text, and twice the next language's."""
    said = _words(text)
    if said.total() < _FEWEST_WORDS:
        return None
    (first, name), (second, _) = _marked(said)
    return name if first * 6 >= said.total() and first >= 2 * second else None


def tongue(text: str) -> str | None:
    """Name the script of a text, or of Latin letters the language most of its function words are of; None if none is.

    Made for many short texts together: one of five words is told too, and sometimes wrongly.
    """
    scripts = letters(text).most_common(1)
    if not scripts or scripts[0][0] != "latin":
        return scripts[0][0] if scripts else None
    (first, name), (second, _) = _marked(_words(text))
    return name if first > second else None


def _words(text: str) -> Counter[str]:
    return Counter(words(_CODE.sub(" ", text)))


def _marked(said: Counter[str]) -> list[tuple[int, str]]:
    """Return the two languages most of a text's function words are of, with their numbers."""
    counts = ((sum(said[word] for word in known), name) for name, known in _FUNCTION_WORDS.items())
    return sorted(counts, reverse=True)[:2]
