"""What the page says, one file per language, and which language a reader gets."""

import json
from collections.abc import Mapping
from http.cookies import SimpleCookie
from pathlib import Path

LANGUAGES = ("en", "zh")
COOKIE = "rp-language"  # set by the page's switch; without it the browser's languages decide


def words(language: str = "en") -> dict[str, str]:
    """Return the page's texts by key."""
    loaded: dict[str, str] = json.loads((Path(__file__).parent / f"{language}.json").read_text(encoding="utf-8"))
    return loaded


def language_of(headers: Mapping[str, str]) -> str:
    """Choose the language from a request's headers: the cookie, else the first known of Accept-Language."""
    chosen = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    if chosen is not None and chosen.value in LANGUAGES:
        return chosen.value
    wanted = [part.split(";")[0].strip().lower() for part in headers.get("accept-language", "").split(",")]
    known = (tag.split("-")[0] for tag in wanted)
    return next((language for language in known if language in LANGUAGES), LANGUAGES[0])
