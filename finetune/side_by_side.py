"""Two versions side by side: what each writes to the same prompts.

A comparison that the page asks for is made by a process of its own and kept as DIR/compared/ID.json, so that a reload
finds it again; the newest are kept. One at a time: each holds a model in memory, and the lock DIR/compared/making.lock,
which the system lets go with its process.
"""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from feedback.errors import BadInput, Busy, NotFound, RapportError
from feedback.schema import now
from feedback.settings import DataSettings
from feedback.store import Store
from feedback.writers import is_dead, is_here, this_writer
from finetune.machine import put_back
from finetune.model import Loaded, load_version, write_json
from finetune.probes import asked, general_set

MOST_PROMPTS = 20
_KEPT = 20
_DEFAULT = 4  # prompts of the general set


@dataclass(frozen=True)
class Manner:
    """How replies are picked; temperature 0 is greedy. Both versions draw with the same seed."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    max_new_tokens: int = 256


def default_prompts() -> list[str]:
    """Return a few general questions."""
    return [said.prompt[0][1] for said in general_set()[:_DEFAULT]]


def compared(
    store: Store, data: DataSettings, versions: tuple[int, int], prompts: Sequence[str], manner: Manner
) -> dict[str, Any]:
    """Let two versions reply to each prompt: `rows` of prompt, a and b, each a text and whether it ended by itself.

    One is loaded after the other. Raises NotFound, BadInput, LoadError, TemplateRefuses.
    """
    prompts = check(store, versions, prompts)
    sides = []
    for number in versions:
        folder = data.data_dir / store.version(number).path if number else None
        loaded = load_version(data.base_dir, folder)
        sides.append([_reply(loaded, prompt, manner) for prompt in prompts])
        del loaded  # before the other is loaded: there may be room for one only
    rows = [{"prompt": prompt, "a": a, "b": b} for prompt, a, b in zip(prompts, *sides, strict=True)]
    return {"a": versions[0], "b": versions[1], "manner": asdict(manner), "rows": rows}


def check(store: Store, versions: tuple[int, int], prompts: Sequence[str]) -> list[str]:
    """Return the prompts, those by default where there are none. Raises NotFound, and BadInput for what cannot be."""
    for number in versions:
        if (at := store.version(number).pruned_at) is not None:
            raise BadInput(
                f"Version {number}'s folder was deleted on {at.astimezone():%Y-%m-%d} to free the disk, so it can no "
                "longer write; compare another."
            )
    found = [prompt.strip() for prompt in prompts if prompt.strip()] or default_prompts()
    if len(found) > MOST_PROMPTS:
        raise BadInput(f"There are {len(found)} prompts; {MOST_PROMPTS} is the most that are compared at once.")
    return found


def start(store: Store, data: DataSettings, versions: tuple[int, int], prompts: Sequence[str], manner: Manner) -> str:
    """Have a comparison made by a process of its own; return its id. Raises as `check`, and Busy during another."""
    prompts = check(store, versions, prompts)
    folder = _folder(data)
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
    if any(result(data, file.stem)["status"] == "running" for file in files):
        raise Busy("Another comparison is being made; wait for its end.")
    for file in files[: max(0, len(files) + 1 - _KEPT)]:
        file.unlink()
    job = {"id": uuid.uuid4().hex[:12], "status": "running", "reason": "", "began_at": now().isoformat()}
    asked_for = {"a": versions[0], "b": versions[1], "manner": asdict(manner), "prompts": prompts}
    write_json(_file(data, job["id"]), {**job, **asked_for, "rows": [], "writer": this_writer()})
    command = [sys.executable, "-m", "finetune", "compare", f"--kept={job['id']}", f"--data-dir={data.data_dir}"]
    # The database's URL may hold a password, which a command line would show to everybody on the machine.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAPPORT_DATABASE_URL": data.database_url}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)
    put_back(process.pid)  # somebody is chatting
    threading.Thread(target=_see_off, args=(process, data, job["id"]), name=f"compare-{job['id']}", daemon=True).start()
    return job["id"]


def make_kept(store: Store, data: DataSettings, job_id: str) -> dict[str, Any]:
    """Make a comparison that `start` has written down, and keep what came of it. Raises NotFound."""
    job = result(data, job_id)
    with FileLock(_lock(data)):
        job |= {"status": "running", "reason": "", "writer": this_writer()}
        write_json(_file(data, job_id), job)
        try:
            found = compared(store, data, (job["a"], job["b"]), job["prompts"], Manner(**job["manner"]))
            job |= {**found, "status": "done"}
        except RapportError as error:
            job |= {"status": "failed", "reason": str(error)}
        job["ended_at"] = now().isoformat()
        write_json(_file(data, job_id), job)
    return job


def result(data: DataSettings, job_id: str) -> dict[str, Any]:
    """Return a kept comparison; `status` is running, done or failed, with its `reason`. Raises NotFound."""
    file = _file(data, job_id)
    if not job_id.isalnum() or not file.is_file():
        raise NotFound(f"There is no comparison {job_id!r}; the newest {_KEPT} are kept.")
    job: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if job["status"] == "running" and _is_over(data, job["writer"]):
        job |= {"status": "failed", "reason": "The process that made it ended before it was done; compare again."}
    return job


def newest(data: DataSettings) -> str | None:
    """Return the id of the newest comparison that is kept, None without any."""
    files = _folder(data).glob("*.json")
    return max(((file.stat().st_mtime, file.stem) for file in files), default=(0.0, None))[1]


def _is_over(data: DataSettings, writer: str) -> bool:
    """Tell whether nobody makes a comparison any more; of a process on another host only the lock can tell.

    A container that was started anew is another host. On this one a comparison that is about to begin has no lock yet.
    """
    if is_here(writer):
        return is_dead(writer)
    try:
        with FileLock(_lock(data), timeout=0):
            return True
    except Timeout:
        return False


def _see_off(process: "subprocess.Popen[bytes]", data: DataSettings, job_id: str) -> None:
    """Wait for a comparison's end; one that broke off says so."""
    process.wait()
    job = result(data, job_id)
    if job["status"] == "running":
        reason = f"The process that made it ended with {process.returncode}; compare again."
        write_json(_file(data, job_id), {**job, "status": "failed", "reason": reason})


def _reply(loaded: Loaded, prompt: str, manner: Manner) -> dict[str, Any]:
    template = loaded.template
    ids = template.prompt(asked(prompt))
    room = min(manner.max_new_tokens, template.context - len(ids))
    if room < 1:
        raise BadInput(f"A prompt has {len(ids):,} tokens; the model takes {template.context:,}. Give a shorter one.")
    torch.manual_seed(manner.seed)
    how: dict[str, Any] = {"do_sample": False}
    if manner.temperature > 0:
        how = {"do_sample": True, **{name: getattr(manner, name) for name in ("temperature", "top_p", "top_k")}}
    row = torch.tensor([ids], device=loaded.device)
    filler = min(template.end_ids)
    with torch.inference_mode():
        out = loaded.model.generate(
            row, attention_mask=torch.ones_like(row), max_new_tokens=room, pad_token_id=filler, **how
        )
    said, ended = template.until_end(out[0, len(ids) :].tolist())
    return {"text": template.decode(said), "ended": ended}


def lines_of(found: dict[str, Any]) -> list[str]:
    """Write a comparison as text."""
    lines = []
    for row in found["rows"]:
        lines += [f"> {row['prompt']}", ""]
        lines += [f"[version {found[side]}] {row[side]['text']}" for side in ("a", "b")] + [""]
    return lines


def _folder(data: DataSettings) -> Path:
    return data.data_dir / "compared"


def _lock(data: DataSettings) -> Path:
    return _folder(data) / "making.lock"


def _file(data: DataSettings, job_id: str) -> Path:
    return _folder(data) / f"{job_id}.json"
