"""Traces of learners and nets: minibatch after minibatch, losses, counts and final parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cntk as C
import numpy as np

from .compare import close, same
from .corpus import Case, Corpus

TOLERANCE = 1e-4


def replay(corpus: Corpus, case: Case, folder: Path) -> None:
    if case.get("kind") == "Function.train":
        _function_train(corpus, case)
        return
    scope = corpus.scope(case)
    model = scope[case["model"]]
    loss = corpus.evaluate(case["loss"], scope)
    metric = corpus.evaluate(case["metric"], scope) if case.get("metric") else None
    for parameter, entry in zip(model.parameters, case["parameters"], strict=True):
        same("parameter", parameter.name, entry["name"])
        parameter.value = corpus.array(case, entry["init"])
    learners = [corpus.evaluate(e, scope) for e in case["learners"]]
    trainer = C.Trainer(model, (loss, metric), learners)
    data = {scope[e["name"]]: corpus.data(case, e) for e in case["inputs"]}
    rows = len(next(iter(data.values())))
    losses = corpus.array(case, case["loss_npz"])
    metrics = corpus.array(case, case["metric_npz"]) if metric is not None else None
    ends = case.get("sweep_end")
    position = 0
    for i, size in enumerate(case["minibatch_sizes"]):
        index = np.arange(position, position + size) % rows
        position += size
        options = {} if ends is None else {"is_sweep_end": i in ends}
        batch = {key: _rows(value, index) for key, value in data.items()}
        returned = trainer.train_minibatch(batch, **options)
        same("returned", returned, case["returned"][i])
        same("samples", trainer.previous_minibatch_sample_count, case["counts"][i])
        close("learning rate", learners[0].learning_rate(), np.array(case["learning_rate_after"][i]), 1e-6)
        close(f"loss {i}", trainer.previous_minibatch_loss_average, losses[i], TOLERANCE)
        if metrics is not None:
            close(f"metric {i}", trainer.previous_minibatch_evaluation_average, metrics[i], TOLERANCE)
    same("samples seen", trainer.total_number_of_samples_seen, case["total_samples_seen"])
    for parameter, entry in zip(model.parameters, case["parameters"], strict=True):
        close(f"final {parameter.name}", parameter.value, corpus.array(case, entry["final"]), TOLERANCE)


def _rows(value: Any, index: np.ndarray) -> Any:
    return [value[i] for i in index] if isinstance(value, list) else value[index]


def _function_train(corpus: Corpus, case: Case) -> None:
    scope = corpus.scope(case)
    criterion = corpus.evaluate(case["criterion"], scope)
    by_shape = {(e["name"], tuple(e["shape"])): e for e in case["parameters"]}
    same("parameters", len(by_shape), len(criterion.parameters))
    for parameter in criterion.parameters:
        parameter.value = corpus.array(case, by_shape[parameter.name, parameter.shape]["init"])
    data = tuple(corpus.data(case, e) for e in case["inputs"])
    options = {key: corpus.evaluate(value, scope) for key, value in case["train_kwargs"].items()}
    learners = [corpus.evaluate(e, scope) for e in case["learners"]]
    result = criterion.train(data, parameter_learners=learners, **options)
    same("type", type(result).__name__, case["returned_type"])
    _same_records(result, case["returned"])
    for parameter in criterion.parameters:
        entry = by_shape[parameter.name, parameter.shape]
        close(f"final {parameter.name}", parameter.value, corpus.array(case, entry["final"]), TOLERANCE)
    _same_records(criterion.test(data, **case["test_kwargs"]), case["test_returned"])


def _same_records(mine: Any, recorded: Any) -> None:
    if isinstance(recorded, dict):
        same("keys", sorted(mine), sorted(recorded))
        for key, value in recorded.items():
            _same_records(mine[key], value)
    elif isinstance(recorded, list):
        same("length", len(mine), len(recorded))
        for a, b in zip(mine, recorded, strict=True):
            _same_records(a, b)
    else:
        close("value", mine, np.array(recorded), TOLERANCE)
