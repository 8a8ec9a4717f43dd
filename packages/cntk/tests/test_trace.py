"""The recipe's network against recordings of real CNTK 2.7."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cntk as C
import numpy as np


def test_recorded_training_is_reproduced(shared: Path, mnist: Any) -> None:
    trace = np.load(shared / "data" / "cntk" / "train_trace_convnet.npz")
    images, labels = mnist
    x = C.input_variable((1, 28, 28))
    y = C.input_variable(10)
    with C.layers.default_options(activation=C.relu, pad=False):
        net = C.layers.Convolution2D((5, 5), 32, pad=True)(C.element_times(C.constant(0.00390625), x))
        net = C.layers.MaxPooling((3, 3), (2, 2))(net)
        net = C.layers.Convolution2D((3, 3), 48)(net)
        net = C.layers.MaxPooling((3, 3), (2, 2))(net)
        net = C.layers.Dense(96)(C.layers.Convolution2D((3, 3), 64)(net))
        z = C.layers.Dense(10, activation=None)(net)

    def recorded(what: str, i: int) -> np.ndarray:
        (key,) = [key for key in trace if key.startswith(f"{what}{i}_")]
        return trace[key]

    for i, parameter in enumerate(z.parameters):
        assert parameter.shape == recorded("init", i).shape
        parameter.value = recorded("init", i)
    rates = C.learning_rate_schedule([0.001, 0.0005], C.learners.UnitType.sample, 1280)
    momentum = C.learners.momentum_as_time_constant_schedule([0, 1024], 640)
    learner = C.learners.momentum_sgd(z.parameters, rates, momentum)
    trainer = C.Trainer(z, (C.cross_entropy_with_softmax(z, y), C.classification_error(z, y)), learner)

    position = 0
    for i, size in enumerate(trace["sizes"].tolist()):
        rows = slice(position, position + size)
        position += size
        trainer.train_minibatch({x: images[rows].reshape(-1, 1, 28, 28).astype(np.float32), y: labels[rows]})
        assert abs(trainer.previous_minibatch_loss_average - trace["loss"][i]) < 1e-4
        assert abs(trainer.previous_minibatch_evaluation_average - trace["metric"][i]) < 1e-4
        assert trainer.previous_minibatch_sample_count == trace["count"][i]
    assert position == 28 * 64 + 40 + 17
    for i, parameter in enumerate(z.parameters):
        np.testing.assert_allclose(parameter.value, recorded("final", i), atol=1e-4)


def test_a_model_of_real_cntk_gives_its_outputs(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "cntk"
    recorded = np.load(folder / "conv_bn_small.npz")
    z = C.load_model(str(folder / "conv_bn_small.dnn"))
    names = sorted(key for key in recorded if key.startswith("param"))
    for parameter, key in zip(z.parameters, names, strict=True):
        assert key.split("_")[1:] == [parameter.uid, parameter.name]
        np.testing.assert_array_equal(parameter.value, recorded[key])
    np.testing.assert_allclose(z.eval(recorded["input"]), recorded["output"], atol=1e-5)
    np.testing.assert_allclose(C.softmax(z).eval(recorded["input"]), recorded["softmax"], atol=1e-5)
    # Saved again and loaded from bytes, it is still the same function.
    z.save(str(tmp_path / "again.dnn"))
    again = C.load_model((tmp_path / "again.dnn").read_bytes())
    np.testing.assert_array_equal(again.eval(recorded["input"]), z.eval(recorded["input"]))
    assert again.find_by_name("bn1").is_primitive
    assert again.find_by_name("bn1").root_function.op_name == "BatchNormalization"
