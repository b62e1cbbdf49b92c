"""Whether the model was taught a reader's language, told from how its tokenizer cuts that language up.

A tokenizer made from texts of a language has tokens for its words or characters. Where it needs clearly more than one
token for a character it falls back to bytes: the model has hardly seen the language. Measured on the page's own words:
SmolLM2 0.2 tokens a character for English, 1.7 for Chinese.
"""

from chatui.engine.protocol import Engine
from chatui.words import LANGUAGES, words

MOST_TOKENS_PER_CHARACTER = 1.2


def languages_spoken(engine: Engine) -> dict[str, bool]:
    """Tell for each of the page's languages whether the model was taught it; empty while nothing serves."""
    spoken = {}
    for language in LANGUAGES:
        sample = words(language)["learning_about"]
        tokens = engine.tokens_in(sample)
        if tokens is None:
            return {}
        spoken[language] = tokens <= MOST_TOKENS_PER_CHARACTER * len(sample)
    return spoken
