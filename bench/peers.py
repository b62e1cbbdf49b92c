"""Other programs that serve a model, each driven as its own documentation says."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx

from bench.engines import Write
from bench.streams import Failed, Missing, Stream, together
from bench.subject import STARTER_SHAPE, Subject, starter_folder
from finetune.base import _starter_file
from tests.processes import free_port

_CONTEXT = 1024  # tokens of a llama.cpp context


@contextmanager
def transformers_serve(subject: Subject, streams: int) -> Iterator[Write]:
    """A `transformers serve` process with continuous batching, over HTTP."""
    lacking = [name for name in ("openai", "fastapi", "uvicorn") if not importlib.util.find_spec(name)]
    if lacking:
        raise Missing(f"needs {', '.join(lacking)} (the extra `transformers[serving]`)")
    if subject.shape != STARTER_SHAPE:
        raise Missing("serves a model's folder; random weights are made in memory")
    url = f"http://127.0.0.1:{(port := free_port())}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(_serve_command(subject, streams, port), stdout=log, stderr=log, env=_env(subject))
        try:
            _wait_for(process, url, log)
            yield lambda prompts, n: together([partial(_followed, url, subject, prompt, n) for prompt in prompts])
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _serve_command(subject: Subject, streams: int, port: int) -> list[str]:
    dtype = str(subject.plain_dtype).removeprefix("torch.")
    program = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"
    cache = ["--continuous-batching", f"--cb-num-blocks={(streams + 1) * 3}"]
    where = ["--host=127.0.0.1", f"--port={port}", f"--device={subject.device.type}", f"--dtype={dtype}"]
    return [sys.executable, "-c", program, "serve", str(subject.folder), *cache, *where]


def _env(subject: Subject) -> dict[str, str]:
    threads = str(subject.threads)
    return {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}


def _wait_for(process: subprocess.Popen[bytes], url: str, log: Any, seconds: float = 120.0) -> None:
    """Wait until the server answers. Raises Failed with the end of what it printed."""
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        try:
            httpx.get(f"{url}/health", timeout=2).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    log.seek(0)
    raise Failed(f"did not answer: {log.read().decode(errors='replace').strip().splitlines()[-1:]}")


def _followed(url: str, subject: Subject, prompt: str, new_tokens: int) -> Stream:
    """Ask for one reply and note each piece of it as it comes over the wire."""
    settings = {"max_new_tokens": new_tokens, "do_sample": False, "eos_token_id": -1}
    body = {
        "model": str(subject.folder),
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "generation_config": json.dumps(settings),
    }
    stream, finish = Stream(time.monotonic()), None
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=1200) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            part = json.loads(line.removeprefix("data: "))
            if "error" in part:
                raise Failed(f"answered {part['error']!r}")
            for choice in part["choices"]:
                if choice["delta"].get("content"):
                    stream.at.append(time.monotonic())
                finish = choice.get("finish_reason") or finish
    stream.tokens = new_tokens if finish == "length" else len(stream.at)
    return stream


@contextmanager
def llama_cpp(subject: Subject, streams: int) -> Iterator[Write]:
    """llama.cpp on the starter's own Q4_1 file: a context per stream, as one context serves one stream at a time.

    The threads are shared out among the streams; the file is mapped once for all contexts.
    """
    if not importlib.util.find_spec("llama_cpp"):
        raise Missing("needs llama-cpp-python, which is compiled when it is installed")
    if subject.shape != STARTER_SHAPE or subject.folder != starter_folder():
        raise Missing("reads GGUF files; only the starter has one")
    file = _starter_file()
    from llama_cpp import Llama

    encode = subject.load().template.prompt  # the file holds the very tokenizer that the starter's folder does

    def context(threads: int) -> Any:
        layers = -1 if subject.device.type == "cuda" else 0
        return Llama(
            str(file),
            n_ctx=_CONTEXT,
            n_threads=threads,
            n_threads_batch=threads,
            n_gpu_layers=layers,
            verbose=False,
        )

    contexts: dict[int, list[Any]] = {}

    def write(prompts: Sequence[str], new_tokens: int) -> list[Stream]:
        threads = max(1, subject.threads // len(prompts))
        ready = contexts.setdefault(threads, [])
        ready += [context(threads) for _ in range(len(prompts) - len(ready))]
        return together(
            [
                partial(_written, llama, encode([("user", prompt)]), new_tokens)
                for llama, prompt in zip(ready, prompts, strict=False)
            ]
        )

    try:
        yield write
    finally:
        for llama in itertools.chain.from_iterable(contexts.values()):
            llama.close()


def _written(llama: Any, ids: list[int], new_tokens: int) -> Stream:
    """Write greedily with the low-level loop, which does not stop at an end of turn."""
    stream = Stream(time.monotonic())
    for token in itertools.islice(llama.generate(ids, temp=0.0, repeat_penalty=1.0), new_tokens):
        llama.detokenize([token])
        stream.at.append(time.monotonic())
    stream.tokens = len(stream.at)
    return stream
