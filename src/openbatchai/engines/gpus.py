"""The GPUs of this machine, by NVML where the extra `[gpu]` is installed, else by what the driver tells.

Indexes are those of NVML, in the order of the PCI bus; a job that counts as NVML does has
`CUDA_DEVICE_ORDER=PCI_BUS_ID` (preparation.py).
"""

import importlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DRIVER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class GpuUse:
    """`percent`: part of the last moments in which something ran on it."""

    percent: float
    memory_bytes: int


class Nvml:
    """`library` has the functions of nvidia-ml-py. Raises the library's own error when there is no driver."""

    def __init__(self, library: Any) -> None:
        self._library = library
        library.nvmlInit()
        handles = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]
        self._handles = dict(enumerate(handles))

    def names(self) -> dict[int, str]:
        """Index -> UUID, by which CUDA_VISIBLE_DEVICES may name one, too."""
        return {index: _text(self._library.nvmlDeviceGetUUID(h)) for index, h in self._handles.items()}

    def use(self, index: int) -> GpuUse | None:
        """None for one that does not answer."""
        try:
            handle = self._handles[index]
            rates = self._library.nvmlDeviceGetUtilizationRates(handle)
            memory = self._library.nvmlDeviceGetMemoryInfo(handle)
        except (KeyError, self._library.NVMLError):
            return None
        return GpuUse(float(rates.gpu), int(memory.used))


def open_nvml() -> Nvml | None:
    """None without the extra, or without a driver that works."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        return Nvml(library)
    except library.NVMLError:
        return None


def visible(nvml: Nvml | None, chosen: str | None) -> tuple[int, ...]:
    """All, unless whoever started the service left it only some (`chosen`: CUDA_VISIBLE_DEVICES)."""
    known = nvml.names() if nvml else dict.fromkeys(range(_count()), "")
    if chosen is None:
        return tuple(known)
    wanted = [name.strip() for name in chosen.split(",") if name.strip()]
    return tuple(index for index, uuid in known.items() if any(_is(name, index, uuid) for name in wanted))


def _is(name: str, index: int, uuid: str) -> bool:
    return name == str(index) or (name.startswith("GPU-") and uuid.startswith(name))


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _count() -> int:
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
