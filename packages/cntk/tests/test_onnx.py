"""ONNX files, evaluated by onnxruntime to the numbers that the model gives here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest
from golden_replay.corpus import Corpus

pytest.importorskip("onnx", reason="onnx is not installed (extra `onnx`)")
runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

L = C.layers


def exported(function: Any, feeds: dict[Any, np.ndarray], folder: Path) -> list[np.ndarray]:
    file = folder / "new" / "model.onnx"
    function.save(str(file), format=C.ModelFormat.ONNX)
    session = runtime.InferenceSession(str(file))
    named = {i.name: feeds[v] for i in session.get_inputs() for v in feeds if i.name in (v.name, v.uid)}
    results: list[np.ndarray] = session.run(None, named)
    return results


def same(function: Any, feeds: dict[Any, np.ndarray], folder: Path) -> None:
    results = exported(function, feeds, folder)
    own = function.eval(feeds)
    own = list(own.values()) if isinstance(own, dict) else [own]
    for mine, theirs in zip(own, results, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-5)


def net(x: Any) -> Any:
    with L.default_options(activation=C.relu):
        return L.Sequential(
            [
                L.Convolution2D((3, 3), 4, pad=True),
                L.MaxPooling((3, 3), (2, 2), pad=True),
                L.BatchNormalization(map_rank=1),
                L.Convolution2D((2, 2), 5, strides=2, pad=True),
                L.AveragePooling((2, 2), (2, 2), pad=True),
                L.Dropout(0.5),
                L.Dense(7, activation=C.tanh),
                L.Dense(3, activation=C.softmax, name="end"),
            ]
        )(x / 256)


@pytest.mark.parametrize(
    "build",
    [
        net,
        lambda x: C.reduce_mean(C.square(x), axis=1) + C.reduce_max(x, axis=(0, 2)),
        lambda x: C.splice(C.slice(x, 2, 1, 9, 2), C.transpose(x, (0, 2, 1))[:, :11, :4], axis=2),
        lambda x: C.reshape(C.clip(x - 100.0, 0.0, 20.0), (11, 26)),
        lambda x: C.element_select(C.greater(x, 128.0), C.elu(x / 300), C.leaky_relu(x - 200.0)),
        lambda x: C.combine([C.hardmax(C.reshape(x, (286,))), C.argmax(C.reshape(x, (286,)), 0)]),
        lambda x: L.MaxPooling((3, 3), strides=(3, 2))(x) * C.constant(2.0),
    ],
)
def test_models(tmp_path: Path, build: Callable[[Any], Any]) -> None:
    x = C.input_variable((2, 11, 13), name="x")
    data = np.random.default_rng(0).integers(0, 256, (3, 2, 11, 13)).astype(np.float32)
    same(build(x), {x: data}, tmp_path)


def test_a_trained_criterion(tmp_path: Path) -> None:
    x, y = C.input_variable(4, name="x"), C.input_variable(3, name="y")
    z = L.Dense(3)(x)
    both = C.combine([z, C.cross_entropy_with_softmax(z, y), C.classification_error(z, y)])
    random = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.float32)[random.integers(0, 3, 5)]
    same(both, {x: random.normal(size=(5, 4)).astype(np.float32), y: labels}, tmp_path)


@pytest.mark.parametrize("name", ["conv", "conv_bn", "bn_vector", "named_nodes", "frozen_clone"])
def test_models_that_cntk_wrote(shared: Path, tmp_path: Path, name: str) -> None:
    corpus = Corpus(shared / "data" / "cntk" / "golden")
    case = corpus.cases[f"models/{name}"]
    model = C.load_model(str(corpus.folder / case["model_file"]))
    given = {v.name: v for v in model.arguments}
    feeds = {given[e["name"]]: corpus.data(case, e) for e in case["inputs"] if e["name"] in given}
    for result, entry in zip(exported(model, feeds, tmp_path), case["outputs"], strict=True):
        expected = corpus.array(case, entry["npz"])
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_exported_says_so(tmp_path: Path) -> None:
    x = C.sequence.input_variable(3)
    with pytest.raises(NotImplementedError, match="ONNX export of a model over sequences"):
        L.Recurrence(L.LSTM(2))(x).save(str(tmp_path / "m.onnx"), format=C.ModelFormat.ONNX)
    assert list(tmp_path.iterdir()) == []
