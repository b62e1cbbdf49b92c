"""What a run must know of each text, computed once: kept by the hash of its content beside the record.

The file is a cache: without it, or without the right to write it, everything is computed again.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from finetune.alike import digest, signature, words
from finetune.filters import other_language, repeats
from finetune.model import ChatTemplate, TemplateRefuses
from finetune.splits import asked_last, question

_MADE_BY = "5"  # goes up whenever a filter, a signature or the encoding changes: what is kept is then made anew
PARTS = 4
PROMPT, COMPLETION, QUESTION, LAST = range(PARTS)
_TABLE = """CREATE TABLE IF NOT EXISTS checks (key TEXT PRIMARY KEY, tokens INTEGER, repeats INTEGER, foreign_ INTEGER,
    asked TEXT, signatures BLOB) WITHOUT ROWID"""


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of a prompt with a completion.

    `tokens`: how long it is, None if the template refuses it. `asked`: the digests of the question and of what is asked
    last, each "" where there is none, or no other. `signatures`, one after the other as bytes, are of the PARTS: the
    whole prompt, the completion, the question, what is asked last.
    """

    tokens: int | None
    repeats: bool
    foreign: bool
    asked: tuple[str, str]
    signatures: bytes


Text = tuple[tuple[tuple[str, str], ...], str, bool]  # prompt, completion, whether it ends


class Checks:
    """Computes checks, or finds them."""

    def __init__(self, template: ChatTemplate, file: sqlite3.Connection | None = None, writes: bool = False):
        """Check with a template; `file` holds what is known already."""
        self._template, self._file, self._writes = template, file, writes
        shown = template.prompt([("user", "Hello")])
        self._made_by = digest([_MADE_BY, str(template.tokenizer.chat_template), str(shown), str(template.end_of_turn)])

    def of(self, texts: Sequence[Text]) -> list[Check]:
        """Check texts; a few hundred at a time go fastest."""
        keys = [
            digest([self._made_by, *(part for message in prompt for part in message), completion, str(ends)])
            for prompt, completion, ends in texts
        ]
        known = self._known(keys)
        new = {key: self._check(*text) for key, text in zip(keys, texts, strict=True) if key not in known}
        self._keep(keys, new)
        return [known[key] if key in known else new[key] for key in keys]

    def _check(self, prompt: tuple[tuple[str, str], ...], completion: str, ends: bool) -> Check:
        try:
            tokens = len(self._template.pair(prompt, completion, ends).ids)
        except TemplateRefuses:
            tokens = None
        asked, last = question(prompt), asked_last(prompt)
        if last == asked:
            last = []
        return Check(
            tokens=tokens,
            repeats=repeats(completion),
            foreign=other_language(prompt, completion),
            asked=(digest(asked) if asked else "", digest(last) if last else ""),
            signatures=b"".join(
                signature(of).tobytes()
                for of in (
                    [f"{role} {word}" for role, text in prompt for word in words(text)],
                    words(completion),
                    asked,
                    last,
                )
            ),
        )

    def _known(self, keys: Sequence[str]) -> dict[str, Check]:
        if self._file is None:
            return {}
        found: dict[str, Check] = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            for row in self._file.execute(f"SELECT * FROM checks WHERE key IN ({marks})", part):
                found[row[0]] = _read(row)
        return found

    def _keep(self, keys: Iterable[str], new: dict[str, Check]) -> None:
        if self._file is None or not self._writes:
            return
        self._file.executemany("INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, ?, ?)", map(_row, new.items()))
        self._file.executemany("INSERT OR IGNORE INTO used VALUES (?)", ((key,) for key in keys))


@contextmanager
def checks_in(path: Path, template: ChatTemplate, writes: bool) -> Iterator[Checks]:
    """Check with the cache at `path`; what was not asked for by the end is forgotten, as its text may be deleted.

    Without `writes` the file stays as it is, and needs not be there.
    """
    if not writes and not path.is_file():
        yield Checks(template)
        return
    where = path.resolve().as_uri() + ("" if writes else "?mode=ro")
    file = sqlite3.connect(where, uri=True, timeout=30)
    try:
        if writes:
            file.execute(_TABLE)
            file.execute("CREATE TEMP TABLE used (key TEXT PRIMARY KEY) WITHOUT ROWID")
        yield Checks(template, file, writes)
        if writes:
            file.execute("DELETE FROM checks WHERE key NOT IN (SELECT key FROM used)")
            file.commit()
    finally:
        file.close()


def _row(item: tuple[str, Check]) -> tuple[str, int | None, bool, bool, str, bytes]:
    key, check = item
    return key, check.tokens, check.repeats, check.foreign, " ".join(check.asked), check.signatures


def _read(row: tuple[str, int | None, int, int, str, bytes]) -> Check:
    _, tokens, repeated, foreign, asked, signatures = row
    whole, last = asked.split(" ")
    return Check(tokens, bool(repeated), bool(foreign), (whole, last), signatures)
