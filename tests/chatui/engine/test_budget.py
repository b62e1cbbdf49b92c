"""What counts as free memory, and who gets how much of it."""

from collections import namedtuple
from pathlib import Path

import pytest
import torch

from chatui.engine import free as measured
from chatui.engine.free import allowed, free

GIB = 2**30
CPU = torch.device("cpu")
Group = dict[str, object]


def grouped(root: Path, listed: str, groups: dict[str, Group]) -> int | None:
    """Lay control groups out as Linux shows them, and tell what they leave."""
    for name, files in groups.items():
        (root / "groups" / name).mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (root / "groups" / name / file).write_text(f"{text}\n")
    (root / "own").write_text(listed)
    return allowed(root / "groups", root / "own")


def v2(limit: object, taken: int, files: int = 0) -> Group:
    return {
        "memory.max": limit,
        "memory.current": taken,
        "memory.stat": f"anon 5\nactive_file 9\ninactive_file {files}",
    }


def test_files_that_the_system_keeps_in_free_memory_are_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop after an installation: hardly a byte that was never touched, and most of it to be had."""
    monkeypatch.setattr(measured.psutil, "virtual_memory", lambda: namedtuple("M", "free available")(800, 5 * GIB))
    monkeypatch.setattr(measured, "allowed", lambda: None)
    assert free(CPU) == 5 * GIB


def test_a_container_has_what_its_limit_leaves_not_what_the_host_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured.psutil, "virtual_memory", lambda: namedtuple("M", "available")(60 * GIB))
    monkeypatch.setattr(measured, "allowed", lambda: 3 * GIB)
    assert free(CPU) == 3 * GIB


def test_a_group_leaves_its_limit_less_what_is_taken_and_not_to_be_had_back(tmp_path: Path) -> None:
    assert grouped(tmp_path, "0::/\n", {"": v2(4 * GIB, 3 * GIB, files=GIB)}) == 2 * GIB


def test_of_groups_within_groups_the_tightest_counts(tmp_path: Path) -> None:
    groups = {"": {}, "app": v2(8 * GIB, GIB), "app/one": v2("max", GIB), "app/one/own": v2(4 * GIB, 5 * GIB)}
    assert grouped(tmp_path, "0::/app/one\n", groups) == 7 * GIB
    assert grouped(tmp_path, "0::/app/one/own\n", groups) == 0


def test_a_group_whose_name_is_the_hosts_is_found_where_its_container_sees_it(tmp_path: Path) -> None:
    assert grouped(tmp_path, "0::/docker/abc\n", {"": v2(4 * GIB, GIB)}) == 3 * GIB


def test_limits_of_the_first_kind_of_groups_count_too(tmp_path: Path) -> None:
    own = {"memory.limit_in_bytes": 2 * GIB, "memory.usage_in_bytes": GIB, "memory.stat": "total_inactive_file 7"}
    listed = "9:name=systemd:/app\n4:cpu,memory:/app\n"
    assert grouped(tmp_path, listed, {"memory/app": own, "app": v2(1, 0)}) == GIB + 7


def test_without_a_limit_or_without_groups_there_is_none(tmp_path: Path) -> None:
    assert grouped(tmp_path, "0::/\n", {"": v2("max", GIB)}) is None
    assert allowed(tmp_path / "none", tmp_path / "nothing") is None
