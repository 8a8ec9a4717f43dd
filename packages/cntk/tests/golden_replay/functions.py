"""Cases of ops, nnops and layers: build, look at the text, evaluate, differentiate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cntk as C
import numpy as np

from .compare import Different, close, same, same_error, same_text
from .corpus import Case, Corpus, split


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    if case.get("raises"):
        _refused(corpus, case)
        return
    scope = corpus.scope(case)
    if "layer_str" in case:
        layer = scope["layer"]
        same_text("str of the layer", str(layer), case["layer_str"])
        same_text("repr of the layer", repr(layer), case["layer_repr"])
    function = corpus.evaluate(case["expr"], scope)
    if isinstance(function, C.Variable):
        function = C.combine([function])
    same_text("str", str(function), case["str"])
    same_text("repr", repr(function), case["repr"])
    _parameters(corpus, case, function)
    feeds = _feeds(corpus, case, scope, function)
    _outputs(corpus, case, function, feeds)
    _gradients(corpus, case, scope, function, feeds)
    _training(corpus, case, function, feeds)


def _refused(corpus: Corpus, case: Case) -> None:
    stage = "build"
    try:
        scope = corpus.scope(case)
        function = corpus.evaluate(case["expr"], scope)
        stage = "evaluate"
        function.eval(_feeds(corpus, case, scope, function))
    except Exception as error:
        if case.get("limitation_of_the_reference"):
            return
        same("stage", stage, case["stage"])
        same_error(error, case["raises"])
        return
    if not case.get("limitation_of_the_reference"):
        raise Different(f"accepted, instead of {case['raises']}")


def _feeds(corpus: Corpus, case: Case, scope: dict[str, Any], function: Any) -> dict[Any, Any]:
    needed = set(function.arguments)
    return {scope[e["name"]]: corpus.data(case, e) for e in case["inputs"] if scope[e["name"]] in needed}


def _parameters(corpus: Corpus, case: Case, function: Any) -> None:
    recorded = case.get("parameters") or []
    same(
        "parameters",
        [(p.name, p.shape) for p in function.parameters],
        [(p["name"], tuple(p["shape"])) for p in recorded],
    )
    for parameter, entry in zip(function.parameters, recorded, strict=True):
        if "initial_constant" in entry:
            constant = np.full(parameter.shape, entry["initial_constant"], parameter.dtype)
            close(f"initial value of {parameter.name}", parameter.value, constant, 1e-6)
        if "npz" in entry:
            parameter.value = corpus.array(case, entry["npz"])


def _outputs(corpus: Corpus, case: Case, function: Any, feeds: dict[Any, Any]) -> None:
    for output, entry in zip(function.outputs, case["outputs"], strict=True):
        same("name of the output", output.name, entry["name"])
        same("shape of the output", output.shape, tuple(entry["shape"]))
        same("type of the output", np.dtype(output.dtype), np.dtype(entry["dtype"]))
        axes = {0: "none", 1: "batch", 2: "batch,sequence"}[len(output.dynamic_axes)]
        same("axes of the output", axes, entry["axes"])
        value = function.eval(feeds, [output]) if len(function.outputs) > 1 else function.eval(feeds)
        close("output", value, corpus.sequences(case, entry))


def _gradients(
    corpus: Corpus, case: Case, scope: dict[str, Any], function: Any, feeds: dict[Any, Any]
) -> None:
    if case.get("reference_gradient_is_not_the_derivative"):
        return

    def variable(wrt: str) -> Any:
        return function.parameters[int(wrt.split()[1])] if wrt.startswith("parameter ") else scope[wrt]

    if "grad_error" in case:
        try:
            function.grad(feeds, [v for v in feeds if v.needs_gradient])
        except Exception as error:
            same_error(error, case["grad_error"])
        else:
            raise Different(f"a gradient, instead of {case['grad_error']}")
    for entry in case.get("grad") or []:
        value = function.grad(feeds, [variable(entry["wrt"])])
        close(f"gradient of {entry['wrt']}", value, corpus.sequences(case, entry))
    if "backward" in case:
        recorded = case["backward"]
        state, values = function.forward(feeds, function.outputs, set(function.outputs))
        root = split(corpus.array(case, recorded["root"]), recorded.get("root_lengths"))
        same("number of outputs", len(values), len(function.outputs))
        wanted = [variable(entry["wrt"]) for entry in recorded["grads"]]
        found = function.backward(state, {function.output: root}, set(wanted))
        for wrt, entry in zip(wanted, recorded["grads"], strict=True):
            close(f"backward to {entry['wrt']}", found[wrt], corpus.sequences(case, entry))


def _training(corpus: Corpus, case: Case, function: Any, feeds: dict[Any, Any]) -> None:
    """Forward in training mode, on parts of their own: gradients have moved running statistics on."""
    if "train_outputs" not in case:
        return
    fresh_scope = corpus.scope(case)
    fresh = corpus.evaluate(case["expr"], fresh_scope)
    _parameters(corpus, case, fresh)
    fresh_feeds = _feeds(corpus, case, fresh_scope, fresh)
    _, values = fresh.forward(fresh_feeds, fresh.outputs, set(fresh.outputs))
    for output, entry, plain in zip(fresh.outputs, case["train_outputs"], case["outputs"], strict=True):
        recorded = corpus.sequences(case, {**entry, "lengths": plain.get("lengths")})
        close("output in training", values[output], recorded)
    for constant, entry in zip(fresh.constants, case["constants_after_train_forward"], strict=True):
        same("name of a constant", constant.name, entry["name"])
        close(f"{constant.name} after training", constant.value, corpus.array(case, entry["npz"]))
