"""Follows replies over the page's endpoints, a client per thread; in a process apart from the app's.

Reads {"url", "prompts", "new_tokens"} from standard input, writes [{"began", "at", "message_id"}] as its last line.
"""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gradio_client import Client

from bench.streams import Stream, together

_LOOK_S = 0.02  # the client's own iterator looks a thousand times a second, on the cores that write the tokens


def follow(client: Any, conversation: str, prompt: str, ids: dict[str, str]) -> Stream:
    """Say something, and note when each update showed more of the reply."""
    stream, shown, seen = Stream(time.monotonic()), "", 0
    job = client.submit(conversation, prompt, api_name="/send")
    ended = False
    while not ended:
        ended = job.done()  # asked first: what came before the end is then among the outputs
        parts = job.outputs()
        for part in parts[seen:]:
            if part["text"] != shown:
                shown = part["text"]
                stream.at.append(time.monotonic())
            ids[conversation] = part["message_id"]
        seen = len(parts)
        time.sleep(_LOOK_S)
    job.result()  # raises what went wrong
    return stream


def main() -> None:
    """Connect a client per prompt, then let all ask at once."""
    asked = json.load(sys.stdin)
    jobs, conversations, ids = [], list[str](), dict[str, str]()
    for prompt in asked["prompts"]:
        client = Client(asked["url"], verbose=False)
        opened = client.predict(sampling={"max_new_tokens": asked["new_tokens"]}, api_name="/new_conversation")
        conversations.append(opened["conversation_id"])
        jobs.append(partial(follow, client, conversations[-1], prompt, ids))
    streams = together(jobs)
    replies = [
        {"began": stream.began, "at": stream.at, "message_id": ids[conversation]}
        for stream, conversation in zip(streams, conversations, strict=True)
    ]
    print(json.dumps(replies))


if __name__ == "__main__":
    main()
