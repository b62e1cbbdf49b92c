"""How much memory is free: what a process may still take, not what nobody has touched yet."""

from pathlib import Path
from typing import Any

import psutil
import torch

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def free(device: Any) -> int:
    """Return the bytes that may be taken on a device now.

    On a CPU that is what the system calls available, which counts the files it keeps in memory while nobody needs the
    room (nearly all of it, after an installation); in a container at most what its limit leaves.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available = int(psutil.virtual_memory().available)
    left = allowed()
    return available if left is None else min(available, left)


def allowed(groups: Path = _GROUPS, own: Path = _OWN) -> int | None:
    """Return the bytes that the control groups of this process leave it, the tightest of them; None for no limit.

    `groups` is where Linux shows them, `own` lists this process's; see cgroups(7). Both versions are understood.
    """
    try:
        listed = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:  # no Linux
        return None
    left = []
    for _, controllers, path in listed:
        if controllers == "":
            left += _left(groups, path, "memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            left += _left(groups / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes")
    return min(left, default=None)


def _left(root: Path, path: str, limit: str, usage: str) -> list[int]:
    """Return what each group from the root to `path` leaves; a container sees its own as the root."""
    folder, left = root / path.lstrip("/"), []
    for group in [folder, *folder.parents]:
        if not group.is_relative_to(root):
            break
        try:
            most, taken = int((group / limit).read_text()), int((group / usage).read_text())
        except (OSError, ValueError):  # no such group in sight, or "max": no limit
            continue
        left.append(max(0, most - taken + _reclaimable(group)))
    return left


def _reclaimable(group: Path) -> int:
    """Return the bytes of files that a group keeps and gives up when the room is needed."""
    try:
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
