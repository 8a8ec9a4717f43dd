"""What `python -m cntk info` prints."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib import metadata

import numpy as np
import torch


def information() -> str:
    """Versions, device and threads, a line each."""
    from .. import __version__
    from ..device import all_devices

    try:
        distribution = metadata.version("openbatchai-cntk")
    except metadata.PackageNotFoundError:
        distribution = "not installed (run from its sources)"
    devices = []
    for device in all_devices():
        name = platform.machine() if device.type() == 0 else torch.cuda.get_device_name(device.id())
        devices.append(f"{device} ({name})")
    lines = {
        "CNTK API": __version__,
        "openbatchai-cntk": distribution,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "devices": ", ".join(devices),
        "default device": repr(all_devices()[0]),
        "CPU cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
    }
    with contextlib.suppress(metadata.PackageNotFoundError):
        lines["warning"] = (
            f"the original distribution cntk {metadata.version('cntk')} is installed beside this one; both "
            "provide the module `cntk`: uninstall one of them"
        )
    width = max(len(name) for name in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())
