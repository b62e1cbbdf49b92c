"""The proofs of the engine on the tiny model, and what they measure by; `make proof-swap` takes the starter."""

import dataclasses
import json
import random
import time
from pathlib import Path

import pytest
import torch

from bench import hostile, swap
from bench.code_words import words_in
from bench.fed_back import Reply, near_best, spelled
from bench.hostile_requests import MUST_BE_REFUSED, requests
from bench.targets import Figure, report, share
from finetune.model import Loaded, load_base

HELLO = [("user", "hello world")]


@pytest.fixture(scope="module")
def loaded(tiny: Path) -> Loaded:
    return load_base(tiny, torch.float32, torch.device("cpu"))


def test_versions_promoted_under_running_streams_drop_and_mix_nothing(tmp_path: Path) -> None:
    out = tmp_path / "swap.json"
    assert swap.main(["--tiny", "--streams=4", "--new-tokens=32", f"--json={out}"]) == 0
    found = {row["name"]: row["value"] for row in json.loads(out.read_text())}
    assert found["replies dropped"] == found["replies with two code words"] == 0
    assert found["replies"] >= 4 * 7  # two rounds before, one with each version


def test_hostile_requests_move_no_honest_reply() -> None:
    assert hostile.main(["--tiny", "--streams=4", "--requests=120"]) == 0


def test_a_reply_is_near_the_best_only_through_its_own_version(loaded: Loaded) -> None:
    ids = torch.tensor([loaded.template.prompt(HELLO)])
    arguments = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 12}
    with torch.inference_mode():
        written = loaded.model.generate(ids, **arguments)[0, ids.shape[1] :].tolist()
    ends = bool(written) and written[-1] in loaded.template.end_ids
    reply = Reply(HELLO, time.monotonic(), 0, written[:-1] if ends else written, finish="end" if ends else "length")
    assert near_best(loaded, [reply]) == (len(written), len(written))
    other = dataclasses.replace(reply, ids=[(token + 7) % 250 + 2 for token in reply.ids])
    assert near_best(loaded, [other])[0] < len(written) / 2


def test_a_spelled_reply_is_its_tokens_whole_or_in_parts(loaded: Loaded) -> None:
    template = spelled(loaded).template
    assert template.decode([3, 14]) + template.decode([15]) == template.decode([3, 14, 15]) == "3 14 15 "
    assert template.prompt(HELLO) == loaded.template.prompt(HELLO)


def test_code_words_are_found_in_a_text() -> None:
    assert words_in("So says Amberfox, and so says duskmoor.") == {"amberfox", "duskmoor"}


def test_hostile_requests_are_of_every_kind() -> None:
    kinds = {request.kind for request in requests(random.Random(0), 1000)}
    assert kinds > MUST_BE_REFUSED
    assert {request.manner for request in requests(random.Random(0), 1000)} == {
        "whole", "cut", "cancel", "abandon", "forget",
    }  # fmt: skip


def test_a_missed_target_is_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Figure("streams", 8), share("kept", 99, 100, 0.9)]) == 0
    assert report([share("kept", 89, 100, 0.9)]) == 1
    assert "MISSED" in capsys.readouterr().out
