"""What this machine has to divide among nodes."""

import os
from dataclasses import dataclass

from openbatchai.engines import gpus


@dataclass(frozen=True)
class Machine:
    cpus: tuple[int, ...]
    gpus: tuple[int, ...]
    memory_bytes: int


def look(nvml: gpus.Nvml | None) -> Machine:
    """CPUs this process may use, GPUs by index, physical memory."""
    return Machine(
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        gpus=gpus.visible(nvml, os.environ.get("CUDA_VISIBLE_DEVICES")),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )
