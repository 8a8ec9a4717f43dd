"""Model files that CNTK wrote: loaded, and saved and loaded again."""

from __future__ import annotations

from pathlib import Path

import cntk as C
import numpy as np

from .compare import close, same
from .corpus import Case, Corpus


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    loaded = C.Function.load(str(corpus.folder / case["model_file"]))
    again = folder / "again.dnn"
    loaded.save(str(again))
    for function in (loaded, C.Function.load(str(again))):
        same("str", str(function), case["loaded_str"])
        same("parameter names", [p.name for p in function.parameters], case["loaded_parameter_names"])
        same("parameter uids", [p.uid for p in function.parameters], case["loaded_parameter_uids"])
        same("output names", [v.name for v in function.outputs], case["loaded_output_names"])
        for variables, entries in ((function.parameters, "parameters"), (function.constants, "constants")):
            for variable, entry in zip(variables, case[entries], strict=True):
                np.testing.assert_array_equal(variable.value, corpus.array(case, entry["npz"]))
        given = {v.name: v for v in function.arguments}
        feeds = {given[e["name"]]: corpus.data(case, e) for e in case["inputs"] if e["name"] in given}
        for output, entry in zip(function.outputs, case["outputs"], strict=True):
            close("output", function.eval(feeds, [output]), corpus.sequences(case, entry))
        for entry in case["named_nodes"]:
            node = function.find_by_name(entry["name"])
            needed = {key: value for key, value in feeds.items() if key in node.arguments}
            close(f"node {entry['name']}", node.eval(needed), corpus.sequences(case, entry))
