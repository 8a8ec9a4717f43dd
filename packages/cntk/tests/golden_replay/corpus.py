"""A corpus directory: the cases, their arrays, and an interpreter for the recorded expressions."""

from __future__ import annotations

import json
import operator
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np

Case = dict[str, Any]

_BUILTINS = {"range": range, "list": list, "dict": dict, "float": float, "print": print}


class Corpus:
    """The cases of one directory, in their order."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.cases: dict[str, Case] = {}
        for line in (folder / "index.json").read_text().splitlines():
            if line.startswith('{"id"'):
                case = json.loads(line.rstrip(","))
                self.cases[case["id"]] = case
        self._arrays: dict[str, dict[str, np.ndarray]] = {}

    def category(self, name: str) -> list[Case]:
        return [case for case in self.cases.values() if case["category"] == name]

    def categories(self) -> list[str]:
        return list(dict.fromkeys(case["category"] for case in self.cases.values()))

    def array(self, case: Case, key: str) -> np.ndarray:
        file = case["file"]
        if file not in self._arrays:
            with np.load(self.folder / file) as arrays:
                self._arrays[file] = dict(arrays)
        return self._arrays[file][key]

    def sequences(self, case: Case, entry: dict[str, Any]) -> Any:
        """The recorded array of an entry; with lengths, the list of its sequences."""
        return split(self.array(case, entry["npz"]), entry.get("lengths"))

    def data(self, case: Case, entry: dict[str, Any]) -> Any:
        """The value of an input, as one feeds it."""
        value = self.sequences(case, entry)
        if not entry.get("is_sparse"):
            return value
        from scipy.sparse import csr_matrix

        return [csr_matrix(v) for v in value] if isinstance(value, list) else csr_matrix(value)

    def scope(self, case: Case) -> dict[str, Any]:
        """The case's inputs and named parts."""
        scope: dict[str, Any] = {}
        for entry in case.get("inputs", []):
            options: dict[str, Any] = {
                "needs_gradient": entry.get("needs_gradient", False),
                "is_sparse": entry.get("is_sparse", False),
                "name": entry["name"],
            }
            create = C.input_variable
            if entry["axes"] == "none":
                options["dynamic_axes"] = []
            elif entry["axes"] == "batch,sequence":
                create = C.sequence.input_variable
                if "sequence_axis" in entry:
                    options["sequence_axis"] = C.Axis(entry["sequence_axis"])
            scope[entry["name"]] = create(tuple(entry["shape"]), np.dtype(entry["dtype"]).type, **options)
        for name, expression in case.get("let", []):
            scope[name] = self.evaluate(expression, scope)
        return scope

    def evaluate(self, e: Any, scope: dict[str, Any]) -> Any:
        if isinstance(e, list):
            return [self.evaluate(item, scope) for item in e]
        if not isinstance(e, dict):
            return e
        if "ref" in e:
            return scope[e["ref"]]
        if "lambda" in e:
            return self._function(e, scope)
        # Like Python: what is called comes before its arguments.
        called = None
        if "call" in e:
            called = self._path(e["call"])
        elif "apply" in e:
            called = self.evaluate(e["apply"], scope)
        elif "method" in e:
            called = getattr(self.evaluate(e["on"], scope), e["method"])
        elif "operator" in e:
            called = getattr(operator, e["operator"])
        if called is not None:
            args = [self.evaluate(item, scope) for item in e.get("args", [])]
            kwargs = {key: self.evaluate(item, scope) for key, item in e.get("kwargs", {}).items()}
            return called(*args, **kwargs)
        if "attr" in e:
            return self._path(e["attr"])
        if "attribute" in e:
            return getattr(self.evaluate(e["on"], scope), e["attribute"])
        if "tuple" in e:
            return tuple(self.evaluate(item, scope) for item in e["tuple"])
        if "slice" in e:
            return slice(*[self.evaluate(item, scope) for item in e["slice"]])
        if "ellipsis" in e:
            return Ellipsis
        if "map" in e:
            return {self.evaluate(k, scope): self.evaluate(v, scope) for k, v in e["map"]}
        if "array" in e:
            return np.array(e["array"], dtype=e["dtype"])
        if "dtype" in e:
            return np.dtype(e["dtype"]).type
        if "parameters_of" in e:
            return list(scope[e["parameters_of"]].parameters)
        if "with_default_options" in e:
            options = {key: self.evaluate(item, scope) for key, item in e["with_default_options"].items()}
            with C.default_options(**options):
                return self.evaluate(e["body"], scope)
        raise ValueError(f"an expression with {sorted(e)} is not known")

    def _function(self, e: dict[str, Any], scope: dict[str, Any]) -> Any:
        """A Python function with exactly these parameter names, as `inspect` and keyword calls see them."""
        names = e["lambda"]

        def call(*values: Any) -> Any:
            return self.evaluate(e["body"], {**scope, **dict(zip(names, values, strict=True))})

        parameters = ", ".join(names)
        made: Any = eval(f"lambda {parameters}: _call({parameters})", {"_call": call})
        return made

    @staticmethod
    def _path(path: str) -> Any:
        if path.startswith("python."):
            return _BUILTINS[path[7:]]
        value: Any = C
        for part in path.split("."):
            value = getattr(value, part)
        return value


def split(array: np.ndarray, lengths: list[int] | None) -> Any:
    """Sequences joined along the first axis, taken apart."""
    return array if lengths is None else np.split(array, np.cumsum(lengths)[:-1])
