"""Where the recorded data is, and an interpreter for the recorded cases.

The data (`shared/`) lies beside the repository, not in it; tests that need it skip when it is absent.  Set
OPENBATCHAI_SHARED to point elsewhere.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

# Small tensors on a machine that also does other work: a second thread would mostly be waited for.
torch.set_num_threads(1)


def _repository() -> Path:
    for folder in Path(__file__).resolve().parents:
        if (folder / "pyproject.toml").is_file() and (folder / "packages").is_dir():
            return folder
    raise RuntimeError("the repository root was not found above this file")


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Parsed text files go to a directory of the test run, not to the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBATCHAI_CNTK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    return _repository()


@pytest.fixture(scope="session")
def shared() -> Path:
    given = os.environ.get("OPENBATCHAI_SHARED")
    folder = Path(given) if given else _repository().parent / "shared"
    if not (folder / "data" / "cntk").is_dir():
        pytest.skip(f"the recorded CNTK data is not at {folder} (set OPENBATCHAI_SHARED)")
    return folder


@pytest.fixture(scope="session")
def mnist(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    """The MNIST training images (float rows of 784) and one-hot labels."""
    folder = shared / "data" / "mnist"
    images = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 784)
    y = np.frombuffer(labels, np.uint8, offset=8)
    return x, np.eye(10, dtype=np.float32)[y]


@pytest.fixture(scope="session")
def digits(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    """The UCI digits (rows of 64 values 0..16) and their labels."""
    text = gzip.decompress((shared / "data" / "digits" / "digits.csv.gz").read_bytes()).decode()
    table = np.array([[float(v) for v in line.split(",")] for line in text.split()])
    return table[:, :64], table[:, 64].astype(int)
