"""What a bench ran on."""

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
import transformers

_TELLING = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


def facts(device: torch.device, threads: int) -> dict[str, Any]:
    """Return what its figures depend on."""
    return {
        "cpu": _cpu("model name"),
        "cpu_flags": [flag for flag in _TELLING if flag in _cpu("flags").split()],
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "device": name(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def device() -> torch.device:
    """Return the GPU where the bench may use one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def name(device: torch.device) -> str:
    """Return the name of a GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def bandwidth(device: torch.device) -> float:
    """Measure bytes a second that memory gives: the best of five copies of a large buffer, read and written."""
    size = 2**31 if device.type == "cuda" else 2**29
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * size / min(times)


def _cpu(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
