"""Where the recorded data is, and an interpreter for the recorded cases.

The data (`shared/`) lies beside the repository, not in it; tests that need it skip when it is absent.  Set
OPENBATCHAI_SHARED to point elsewhere.
"""

from __future__ import annotations

import gzip
import json
import operator
import os
from pathlib import Path
from typing import Any

import cntk as C
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


class Golden:
    """The cases recorded from CNTK 2.7 (see golden/README.md) and how to build them with this package."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.cases: dict[str, dict[str, Any]] = {}
        for line in (folder / "index.json").read_text().splitlines():
            if line.startswith('{"id"'):
                case = json.loads(line.rstrip(","))
                self.cases[case["id"]] = case
        self._arrays: dict[str, Any] = {}

    def array(self, case: dict[str, Any], key: str) -> np.ndarray:
        file = case["file"]
        if file not in self._arrays:
            self._arrays[file] = np.load(self.folder / file)
        return self._arrays[file][key]

    def scope(self, case: dict[str, Any]) -> dict[str, Any]:
        """The case's inputs and named parts."""
        scope: dict[str, Any] = {}
        for entry in case.get("inputs", []):
            options: dict[str, Any] = {
                "needs_gradient": entry.get("needs_gradient", False),
                "name": entry["name"],
            }
            if entry["axes"] == "none":
                options["dynamic_axes"] = []
            elif entry["axes"] != "batch":
                raise AttributeError("sequences are not available in openbatchai-cntk")
            scope[entry["name"]] = C.input_variable(
                tuple(entry["shape"]),
                np.dtype(entry["dtype"]),
                is_sparse=entry.get("is_sparse", False),
                **options,
            )
        for name, expression in case.get("let", []):
            scope[name] = self.evaluate(expression, scope)
        return scope

    def evaluate(self, e: Any, scope: dict[str, Any]) -> Any:
        if isinstance(e, list):
            return [self.evaluate(item, scope) for item in e]
        if not isinstance(e, dict):
            return e
        args = [self.evaluate(item, scope) for item in e.get("args", [])]
        kwargs = {key: self.evaluate(item, scope) for key, item in e.get("kwargs", {}).items()}
        if "ref" in e:
            return scope[e["ref"]]
        if "call" in e:
            return self._path(e["call"])(*args, **kwargs)
        if "attr" in e:
            return self._path(e["attr"])
        if "apply" in e:
            return self.evaluate(e["apply"], scope)(*args, **kwargs)
        if "method" in e:
            return getattr(self.evaluate(e["on"], scope), e["method"])(*args, **kwargs)
        if "attribute" in e:
            return getattr(self.evaluate(e["on"], scope), e["attribute"])
        if "operator" in e:
            return getattr(operator, e["operator"])(*args)
        if "tuple" in e:
            return tuple(self.evaluate(item, scope) for item in e["tuple"])
        if "map" in e:
            return {self.evaluate(k, scope): self.evaluate(v, scope) for k, v in e["map"]}
        if "array" in e:
            return np.array(e["array"], dtype=e["dtype"])
        if "dtype" in e:
            return np.dtype(e["dtype"])
        if "parameters_of" in e:
            return list(scope[e["parameters_of"]].parameters)
        if "with_default_options" in e:
            options = {key: self.evaluate(item, scope) for key, item in e["with_default_options"].items()}
            with C.default_options(**options):
                return self.evaluate(e["body"], scope)
        raise AttributeError(f"expression {sorted(e)} is not supported by this interpreter")

    @staticmethod
    def _path(path: str) -> Any:
        if path.startswith("python."):
            return {"range": range, "list": list, "dict": dict, "float": float, "print": print}[path[7:]]
        value: Any = C
        for part in path.split("."):
            value = getattr(value, part)
        return value


@pytest.fixture(scope="session")
def golden(shared: Path) -> Golden:
    return Golden(shared / "data" / "cntk" / "golden")
