"""Versions promoted one after the other under running streams: is a reply dropped, mixed, or kept waiting?

`make proof-swap`, or `bench/swap.py [--streams 16] [--new-tokens 96] [--json FILE]`; `--tiny` takes the tiny model of
the tests instead of the starter. Five versions are tuned to a code word each. Streams ask on and on, each beginning a
new reply as its last one ends, while the five are promoted in turn. Exits 1 if a target is missed.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.code_words import ASKED, CODE_WORDS, make_versions, words_in
from bench.fed_back import Reply, ask, evenly, near_best, spelled
from bench.streams import longest_gap
from bench.subject import ROOT, starter_folder
from bench.targets import Figure, none_of, report, share
from chatui.engine.apart import apart
from chatui.engine.local import LocalEngine
from chatui.engine.protocol import Engine, Sampling
from finetune.model import Loaded, load_version
from tests.tiny import make_tiny

_GAP_S = 1.5  # a gap between tokens that nobody minds, even if it is long for this machine
_PATIENCE_S = 300.0  # the longest that a promoted version may take to be asked by everybody


class Crowd:
    """Streams that ask on and on until they are sent home; replies are kept as they end."""

    def __init__(self, engine: Engine, streams: int, new_tokens: int):
        self.engine, self.sampling = engine, Sampling(0.0, 1.0, 0, max_new_tokens=new_tokens)
        self.replies: list[Reply] = []
        self._home = threading.Event()
        self._threads = [threading.Thread(target=self._chat, args=(place,), daemon=True) for place in range(streams)]
        for thread in self._threads:
            thread.start()

    def _chat(self, place: int) -> None:
        while not self._home.is_set():
            self.replies.append(ask(self.engine, [("user", ASKED[place % len(ASKED)])], self.sampling))
            place += 1

    def until(self, replies: int, version: int, seconds: float = 0.0) -> None:
        """Wait until so many replies of a version have ended and so many seconds have passed."""
        began = time.monotonic()
        while time.monotonic() - began < _PATIENCE_S:
            ended = sum(reply.version == version for reply in list(self.replies))
            if ended >= replies and time.monotonic() - began >= seconds:
                return
            time.sleep(0.05)
        raise TimeoutError(f"version {version} did not end {replies} replies within {_PATIENCE_S:.0f} s")

    def go_home(self) -> list[Reply]:
        """Let every stream end its reply; return all replies. Raises TimeoutError if one hangs."""
        self._home.set()
        for thread in self._threads:
            thread.join(_PATIENCE_S)
        if any(thread.is_alive() for thread in self._threads):
            raise TimeoutError("a reply did not end")
        return self.replies


def promote_all(engine: LocalEngine, streams: int, new_tokens: int, quiet_s: float) -> tuple[list[Reply], float]:
    """Promote version after version under running streams; return the replies, and when the promotions began."""
    engine.serve({0: 1.0})
    crowd = Crowd(engine, streams, new_tokens)
    crowd.until(2 * streams, version=0, seconds=quiet_s)
    began = time.monotonic()
    for version in range(1, len(CODE_WORDS) + 1):
        engine.serve({version: 1.0})
        crowd.until(streams, version)
    return crowd.go_home(), began


def figures(base: Path, versions: dict[int, Path | None], replies: Sequence[Reply], began: float) -> list[Figure]:
    """Judge the replies; each is fed back through its own version, loaded alone, in float32."""
    whole = [reply for reply in replies if not reply.dropped]
    held: list[tuple[int, set[str]]] = []  # version, code words in its reply
    near = total = 0
    for version, folder in versions.items():
        own = [reply for reply in whole if reply.version == version]
        loaded = load_version(base, folder)
        loaded.model.float()
        part, all_of_it = near_best(loaded, evenly(own, 40))
        near, total = near + part, total + all_of_it
        held += [(version, words_in(loaded.template.decode(reply.ids))) for reply in own]
    told = [(words, CODE_WORDS[version - 1]) for version, words in held if version]
    quiet = max(longest_gap(reply.at) for reply in whole if reply.at and reply.at[-1] < began)
    during = max(longest_gap(reply.at) for reply in whole if reply.at and reply.at[-1] >= began)
    most = max(_GAP_S, 2 * quiet)
    return [
        Figure("replies", len(replies)),
        none_of("replies dropped", len(replies) - len(whole)),
        none_of("replies with two code words", sum(len(words) > 1 for _, words in held)),
        none_of("replies with a code word of another version", sum(bool(words - {own}) for words, own in told)),
        share("replies that say their version's code word", sum(own in words for words, own in told), len(told), 0.9),
        share("tokens within 0.1 nat of the best, fed back alone", near, total, 0.99),
        Figure("longest gap between tokens without promotions, s", quiet),
        Figure("longest gap with promotions, s", during, f"at most {most:.2f} wanted", during <= most),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Make the versions, promote them, and report."""
    parser = argparse.ArgumentParser(description="Versions promoted under running streams.")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=96)
    parser.add_argument("--tiny", action="store_true", help="the tiny model of the tests instead of the starter")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        base = make_tiny(Path(scratch) / "tiny", context=1024) if given.tiny else starter_folder()
        kept = Path(scratch) if given.tiny else ROOT / "data-bench" / "code-words"
        versions = apart(lambda: make_versions(base, kept, whole=given.tiny))

        def load(number: int) -> Loaded:
            return spelled(load_version(base, versions[number]))

        engine = LocalEngine(load, max_streams=given.streams)
        try:
            quiet_s = 0.0 if given.tiny else 20.0
            replies, began = promote_all(engine, given.streams, given.new_tokens, quiet_s)
        finally:
            engine.close()
        for why in sorted({reply.dropped for reply in replies if reply.dropped}):
            print(f"Dropped: {why}", file=sys.stderr)
        return report(figures(base, versions, replies, began), given.json)


if __name__ == "__main__":
    sys.exit(main())
