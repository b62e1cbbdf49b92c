"""What the page says, one file per language, and which language a reader gets."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

LANGUAGES = ("en", "zh")
COOKIE = "rp-language"  # set by the page's switch; without it the browser's languages decide
# As head.html looks for it: another app's cookies, which a browser sends along, need not be written as an RFC wants it.
_IN_COOKIES = re.compile(rf"(?:^|; ){COOKIE}=(\w+)", re.ASCII)


def words(language: str = "en") -> dict[str, str]:
    """Return the page's texts by key."""
    loaded: dict[str, str] = json.loads((Path(__file__).parent / f"{language}.json").read_text(encoding="utf-8"))
    return loaded


def language_of(headers: Mapping[str, str]) -> str:
    """Choose the language from a request's headers: the cookie, else the first known of Accept-Language."""
    chosen = _IN_COOKIES.search(headers.get("cookie", ""))
    if chosen and chosen[1] in LANGUAGES:
        return chosen[1]
    wanted = [part.split(";")[0].strip().lower() for part in headers.get("accept-language", "").split(",")]
    known = (tag.split("-")[0] for tag in wanted)
    return next((language for language in known if language in LANGUAGES), LANGUAGES[0])
