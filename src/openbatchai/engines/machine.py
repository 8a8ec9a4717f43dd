"""What this machine has to divide among nodes."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_DRIVER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Machine:
    cpus: tuple[int, ...]
    gpus: tuple[int, ...]
    memory_bytes: int


def look() -> Machine:
    """CPUs this process may use, GPUs by index, physical memory."""
    return Machine(
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        gpus=_visible_gpus(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def _visible_gpus() -> tuple[int, ...]:
    """All, unless whoever started the service left it only some."""
    present = tuple(range(_count_gpus()))
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    names = {name.strip() for name in chosen.split(",")}
    return tuple(gpu for gpu in present if str(gpu) in names)


def _count_gpus() -> int:
    """The driver's own list costs nothing; nvidia-smi is asked only where containers hide that list."""
    if _DRIVER.is_dir():
        return sum(1 for _ in _DRIVER.iterdir())
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        answer = subprocess.run([tool, "--list-gpus"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(1 for line in answer.stdout.splitlines() if line.startswith(b"GPU "))
