"""The replies being written now: one thread each, owned by the server; tabs only look on.

So a reply survives a reload, and Stop in one tab ends it for all. Its row exists before its first token;
a heartbeat keeps the text so far on disk once a second.
"""

import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chatui.engine.protocol import Engine, Generation, Sampling
from chatui.following import NO_THREAD, pause
from chatui.meter import Meter
from chatui.writing import Writing
from feedback.errors import BadInput
from feedback.messages import check_text
from feedback.records import Opening, Said
from feedback.store import Store
from feedback.trouble import DatabaseTrouble, in_words

log = logging.getLogger("rapport.replies")
_BEAT_S = 1.0
_AGAIN_S = (1.0, 2.0, 4.0)  # pauses before a reply's end is tried to be kept again
_TELLING_APART = 0.7  # temperature from which two samples of one version differ


@dataclass
class Live(Writing):
    """A reply that is kept, from its row's opening until its row is closed."""

    conversation_id: str
    user_message_id: str
    sampling: Sampling
    stop_asked: bool = False  # by a person
    kept: list[int] = field(init=False)  # what the engine meant to be given when the row was opened

    def __post_init__(self) -> None:
        self.kept = list(self.generation.kept)


class Replies:
    """Starts replies, keeps them alive on disk, and stops them."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        sampling: Sampling,
        unfollowed_s: float = 600.0,
        meter: Meter | None = None,
    ):
        """Write replies of `engine` with `sampling` into `store`; end one that nobody followed for `unfollowed_s`."""
        self._unfollowed_s, self._meter = unfollowed_s, meter or Meter()
        self.store, self.engine, self.sampling = store, engine, sampling
        self._live: dict[str, Live] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def send(self, conversation_id: str, text: str) -> Live:
        """Commit what the person said at the end of a conversation, and begin the reply to it.

        Raises RapportError or EngineError before anything is committed.
        """
        return self._say(conversation_id, self.store.history(conversation_id), text, at_head=True)

    def edit(self, message_id: str, text: str) -> Live:
        """Say something else beside a message of the person: a new branch, with its own reply. Raises as `send`."""
        *above, edited = self.store.path_to(message_id)
        if edited.role != "user":
            raise BadInput(f"Message {message_id!r} is not a person's; correct a reply instead of editing it.")
        live = self._say(self.store.conversation_of(message_id), above, text, at_head=False)
        self.store.signal(message_id, "edited")
        return live

    def regenerate(self, message_id: str) -> Live:
        """Write another reply beside one, or beside those to a person's message. Raises as `send`."""
        path = self.store.path_to(message_id)
        if path[-1].role == "system":
            raise BadInput(f"Message {message_id!r} is a system prompt; a reply is written to a person's message only.")
        if path[-1].role != "assistant":
            return self._reply(path)
        live = self._reply(_asked(path))
        self.store.signal(message_id, "regenerated")
        return live

    def go_on(self, message_id: str) -> Live:
        """Write another reply that begins as one did that was cut short, and goes on. Raises as `send`."""
        path = self.store.path_to(message_id)
        cut = path[-1]
        if cut.role != "assistant" or not cut.content or (cut.status == "complete" and cut.finish != "length"):
            raise BadInput(f"Message {message_id!r} was not cut short; there is nothing to go on from.")
        return self._reply(_asked(path), cut)

    def compare(self, conversation_id: str, text: str) -> tuple[int, Live, Live]:
        """Commit what the person said, and begin two replies to it, by two versions where two serve.

        Else they are two samples, warm enough to differ. Which is left is drawn. Returns the comparison's id and both.
        Raises as `send`.
        """
        check_text(text, "message")
        above, opening = self.store.history(conversation_id), self.store.opening(conversation_id)
        lead = [("system", opening.system_prompt)] if opening.system_prompt and not above else []
        sampling, versions = self._sampling(opening), self.engine.state().versions
        by: list[int | None] = [*random.sample(versions, 2)] if len(versions) > 1 else [None, None]
        if len(versions) < 2:
            sampling = replace(sampling, temperature=max(sampling.temperature, _TELLING_APART), seed=None)
        begun, generations = [], []
        for version in by:
            given, generation = self._begin(above, sampling, [*lead, ("user", text)], version)
            prompt = [_ref(given[place]) for place in generation.kept if place < len(given)]
            begun.append((generation.version, sampling.as_dict(), prompt))
            generations.append(generation)
        parent = above[-1].id if above else None
        comparison, user_id, *ids = self.store.begin_comparison(conversation_id, parent, text, begun[0], begun[1])
        left, right = (
            self._start(Live(message_id, generation, conversation_id, user_id, sampling))
            for message_id, generation in zip(ids, generations, strict=True)
        )
        return comparison, left, right

    def _say(self, conversation_id: str, above: Sequence[Said], text: str, at_head: bool) -> Live:
        check_text(text, "message")
        opening = self.store.opening(conversation_id)
        lead = [("system", opening.system_prompt)] if opening.system_prompt and not above else []
        sampling = self._sampling(opening)
        beside = above if at_head else self.store.history(conversation_id)
        given, generation = self._begin(above, sampling, [*lead, ("user", text)], beside=beside)
        prompt = [_ref(given[place]) for place in generation.kept if place < len(given)]
        user_id, reply_id = self.store.begin_turn(
            conversation_id,
            above[-1].id if above else None,
            text,
            generation.version,
            sampling.as_dict(),
            prompt,
            at_head,
        )
        return self._start(Live(reply_id, generation, conversation_id, user_id, sampling))

    def _reply(self, above: Sequence[Said], cut: Said | None = None) -> Live:
        conversation_id = self.store.conversation_of(above[-1].id)
        sampling = self._sampling(self.store.opening(conversation_id))
        beside = self.store.history(conversation_id)
        given, generation = self._begin(above, sampling, begun=cut.content if cut else "", beside=beside)
        prompt = [_ref(given[place]) for place in generation.kept]
        continues = cut.id if cut else None
        reply_id = self.store.begin_reply(above[-1].id, generation.version, sampling.as_dict(), prompt, continues)
        text = cut.content if cut else ""
        return self._start(Live(reply_id, generation, conversation_id, above[-1].id, sampling, text=text))

    def _sampling(self, opening: Opening) -> Sampling:
        return self.sampling.changed(opening.sampling)

    def _begin(
        self,
        above: Sequence[Said],
        sampling: Sampling,
        said: Sequence[tuple[str, str]] = (),
        version: int | None = None,
        begun: str = "",
        beside: Sequence[Said] = (),
    ) -> tuple[list[Said], Generation]:
        given = [m for m in above if is_given(m)]
        # Beside a first reply there is none above: a conversation stays with its version there too.
        replied = [m.version for m in [*beside, *given] if m.version is not None]
        last = version if version is not None else (replied[-1] if replied else None)
        turns = [(m.role, m.shown) for m in given] + list(said)
        with self._meter.beginning():
            return given, self.engine.begin(turns, sampling, stay_with=last, begun=begun)

    def _start(self, live: Live) -> Live:
        live.generation.pace = self.pause
        with self._lock:
            self._live[live.message_id] = live
        name = f"reply-{live.message_id[:8]}"
        try:
            threading.Thread(target=self._write, args=(live,), name=name, daemon=True).start()
        except RuntimeError:  # with nobody to end it, its conversation would be busy for ever
            log.exception("A reply could not be begun.")
            live.generation.cancel()
            live.error = NO_THREAD
            self._end(live, "error", {})
        return live

    def live(self, conversation_id: str) -> list[Live]:
        """Return the replies being written in a conversation: none, one, or the two of a comparison."""
        with self._lock:
            return [live for live in self._live.values() if live.conversation_id == conversation_id]

    def pause(self) -> float:
        """Return the seconds between two updates of a reply now."""
        return pause(len(self._live))

    def stop(self, conversation_id: str) -> bool:
        """End what is being written in this conversation; say whether there was anything."""
        writing = self.live(conversation_id)
        for live in writing:
            live.stop_asked = True  # whether that cuts it, its end tells: it may be whole already
            live.generation.cancel()
        return bool(writing)

    def close(self, timeout_s: float = 10.0) -> None:
        """End every reply and wait until its row is closed."""
        self._closing.set()
        for live in list(self._live.values()):
            live.generation.cancel()
        until = time.monotonic() + timeout_s
        while self._live and time.monotonic() < until:
            time.sleep(0.02)

    def _write(self, live: Live) -> None:
        began = time.monotonic()
        status, first = live.write(self._meter), live.first_at
        seconds = {"first_token_s": first - began if first else None, "duration_s": time.monotonic() - began}
        self._end(live, status, seconds)

    def _figures(self, live: Live) -> dict[str, Any]:
        """Return what is known of a reply only when it is over, as columns of its row."""
        written = live.generation
        figures: dict[str, Any] = {
            "prompt_tokens": written.prompt_tokens,
            "completion_tokens": written.completion_tokens,
            "error": live.error,
        }
        if written.unheeded:  # what the engine could not honour is kept with what was asked for
            figures["sampling"] = {**live.sampling.as_dict(), "unheeded": list(written.unheeded)}
        if written.kept != live.kept:  # a server elsewhere had room for less than was meant
            meant = zip(live.kept, self.store.reply_facts(live.message_id)["prompt"], strict=True)
            figures["prompt"] = [ref for place, ref in meant if place in written.kept]
        return figures

    def _end(self, live: Live, status: str, seconds: dict[str, Any]) -> None:
        try:
            self._keep_end(live, status, seconds)
        # The record is out of reach (a full disk, say): the row stays open and is closed as interrupted later.
        except Exception as error:
            log.exception("A reply could not be kept.")
            why = in_words(error) if isinstance(error, DatabaseTrouble) else str(error)
            status, live.error = "error", f"The end of the reply could not be kept. {why}"
        live.status = status
        live.tell()
        with self._lock:
            self._live.pop(live.message_id, None)

    def _keep_end(self, live: Live, status: str, seconds: dict[str, Any]) -> None:
        """Close a reply's row; where the database is in trouble, that may pass. Raises what the last try raised."""
        finish = live.generation.finish if status != "error" else None
        for pause_s in (*_AGAIN_S, None):
            try:
                figures = {**self._figures(live), **seconds}
                self.store.end_reply(live.message_id, live.text, status, finish, **figures)
                if live.stop_asked and status == "stopped":
                    self.store.signal(live.message_id, "stopped")
                return
            except DatabaseTrouble:
                if pause_s is None:
                    raise
                log.warning("A reply's end could not be kept; trying again in %g s.", pause_s, exc_info=True)
                self._closing.wait(pause_s)

    def _beat(self) -> None:
        while not self._closing.wait(_BEAT_S):
            now_live = list(self._live.values())
            for live in now_live:
                if time.monotonic() - live.followed_at > self._unfollowed_s:
                    live.generation.cancel()
            texts = {live.message_id: live.text for live in now_live}
            if texts:
                try:
                    self.store.beat(texts)
                # One missed beat is harmless and the next may succeed; ending this thread would not be.
                except Exception:
                    log.exception("A heartbeat could not be kept.")


def _ref(message: Said) -> dict[str, Any]:
    """Name a message of a prompt, in the wording that the model was given."""
    return {"message": message.id, **({"correction": message.correction_id} if message.correction_shown else {})}


def _asked(path: Sequence[Said]) -> Sequence[Said]:
    """Return the messages above a reply. Raises BadInput where it is the first that was said, below a prompt or not."""
    if all(message.role == "system" for message in path[:-1]):
        raise BadInput(f"Reply {path[-1].id!r} answers no message, so there is nothing to reply to; say something.")
    return path[:-1]


def is_given(message: Said) -> bool:
    """Tell whether a message of the path is given to the model: not a failed reply, nor one without a word."""
    return message.role != "assistant" or (message.status != "error" and message.content != "")
