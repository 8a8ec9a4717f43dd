"""The training script that comes with our `cntk` package."""

from importlib.util import find_spec
from pathlib import Path

NAME = "convnet_mnist.py"


def training_script() -> Path:
    """Found without importing `cntk`, which would load PyTorch here. Raises FileNotFoundError."""
    found = find_spec("cntk")
    if found is None or found.origin is None:
        raise FileNotFoundError("The package cntk, which the training script belongs to, is not installed.")
    return Path(found.origin).parent / "examples" / NAME
