"""One reply that this process writes: its tokens as they come from the loop, as the text that its reader follows."""

from collections.abc import Callable, Iterator

from chatui.engine.protocol import EngineError, every_token
from chatui.engine.rows import Row
from chatui.engine.stopping import cut
from chatui.engine.text import Growing
from chatui.needs import Template

_STOP_S = 0.025  # what is computed after a stop string, before its reader has seen it, is computed for nothing


class LocalGeneration:
    """One reply being written by one version, first token to last."""

    unheeded: tuple[str, ...] = ()  # every sampling setting is honoured

    def __init__(
        self, version: int, kept: list[int], row: Row, template: Template, begun: int, submit: Callable[[], None]
    ):
        """The last `begun` tokens of the prompt are the reply's own; `submit` puts it in the line."""
        self.version, self.kept = version, kept
        self.prompt_tokens, self.completion_tokens = row.prompt, 0
        self.finish: str | None = None
        self.pace: Callable[[], float] = every_token
        self._row, self._submit, self._stops = row, submit, row.picker.sampling.stop
        self.leave: Callable[[], object] = lambda: None  # gives its place back; at its end, or when nobody holds it
        self._text = Growing(template.decode, row.ids[row.prompt - begun :] if begun else [])

    @property
    def waiting(self) -> int:
        """Its place in the line, 0 when it is being written or over."""
        return self._row.waiting

    def cancel(self) -> None:
        """End the reply after the token that is being computed."""
        self._row.cancel()

    def __iter__(self) -> Iterator[str]:
        """Write the reply, yielding the text so far. Raises EngineError."""
        self._submit()
        try:
            yield from self._written()
        finally:
            self._row.cancel()  # nobody looks on any more
            self.leave()

    def _written(self) -> Iterator[str]:
        begun = shown = self._text.text
        while tokens := self._taken(rests=shown != begun):
            text, stopped = self._grown(begun, tokens)
            if len(text) > len(shown):
                shown = text
                yield text
            if stopped:
                self.finish = "end"
                return
        if self._row.ended and self._row.ended.error:
            raise EngineError(self._row.ended.error)
        self.finish = self._row.ended.finish if self._row.ended else None
        whole = self._text.whole()
        text, stopped = self._cut(begun, whole)
        text = text if stopped else whole  # what was held back begins no stop string any more
        if len(text) > len(shown):
            yield text

    def _taken(self, rests: bool) -> list[int]:
        """Wait for tokens, at the reader's pace once it has something to read (`rests`); none: the reply is over."""
        pace = min(self.pace(), _STOP_S) if self._stops else self.pace()
        if rests:
            self._row.told.rest(pace)
        return self._row.told.take(None if pace > 0 or self._row.cancelled else 1)

    def _grown(self, begun: str, tokens: list[int]) -> tuple[str, bool]:
        """Add tokens to the text; return what may be shown of it, and whether a stop string has come.

        Where one may come each token is looked at by itself: the reply has none of those after it.
        """
        text, stopped = "", False
        for some in [[token] for token in tokens] if self._stops else [tokens]:
            self.completion_tokens += len(some)
            if self._text.add(some):
                text, stopped = self._cut(begun, self._text.text)
            if stopped:
                break
        return text, stopped

    def _cut(self, begun: str, text: str) -> tuple[str, bool]:
        """Cut what was written since the beginning before a stop string; say whether one has come."""
        new, stopped = cut(text[len(begun) :], self._stops)
        return begun + new, stopped
