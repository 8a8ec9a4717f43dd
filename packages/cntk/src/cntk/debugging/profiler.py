"""The profiler: what a training spends its time on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..internal.missing import module_getattr
from ..internal.workers import place


class _Running:
    profile: Any = None
    directory = Path("profiler")
    collecting = False


def start_profiler(
    dir: str | os.PathLike[str] = "profiler", sync_gpu: bool = True, reserve_mem: int = 0
) -> None:
    """Begin to measure; `stop_profiler` writes the summary and a trace to `dir`.

    Raises RuntimeError when the profiler is running.
    """
    if _Running.profile is not None:
        raise RuntimeError("Error: Profiler already initialized.")
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    _Running.profile = torch.profiler.profile(activities=activities)
    _Running.directory = Path(dir)
    enable_profiler()


def enable_profiler() -> None:
    """Go on measuring after `disable_profiler`."""
    if _Running.profile is not None and not _Running.collecting:
        _Running.profile.start()
        _Running.collecting = True


def disable_profiler() -> None:
    """Stop measuring for a while; what was measured before the pause is dropped when it goes on."""
    if _Running.profile is not None and _Running.collecting:
        _Running.profile.stop()
        _Running.collecting = False


def stop_profiler() -> None:
    """Stop, and write `<dir>/summary_<rank>.txt` and `<dir>/trace_<rank>.json` (for a trace viewer)."""
    if _Running.profile is None:
        return
    profile = _Running.profile
    disable_profiler()
    _Running.profile = None
    folder, rank = _Running.directory, place().rank
    folder.mkdir(parents=True, exist_ok=True)
    table = profile.key_averages().table(sort_by="cpu_time_total", row_limit=50)
    (folder / f"summary_{rank}.txt").write_text(table + "\n")
    profile.export_chrome_trace(str(folder / f"trace_{rank}.json"))


__getattr__ = module_getattr("cntk.debugging.profiler")
