"""Ways of writing a script that CNTK's users had, each as small as it can be."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cntk as C
import numpy as np
import pytest
from cntk.ops.functions import UserFunction


def _decoder() -> C.Function:
    """(history, input) -> hidden states: an LSTM that looks at the encoder's states at each step."""
    encode = C.layers.Sequential(
        [
            C.layers.Recurrence(C.layers.LSTM(6), return_full_state=True),
            (C.layers.Label("encoded_h"), C.layers.Label("encoded_c")),
        ]
    )
    cell, attention = C.layers.LSTM(6), C.layers.AttentionModel(3)

    @C.Function
    def decode(history, input):
        encoded = encode(input)

        @C.Function
        def step(dh, dc, x):
            return cell(dh, dc, C.splice(x, attention(encoded.outputs[0], dh)))

        return C.layers.Recurrence(step)(history)

    return decode


def test_a_decoder_attends_to_an_encoder_inside_its_recurrence() -> None:
    source = C.sequence.input_variable(5, sequence_axis=C.Axis("source"))
    target = C.sequence.input_variable(4, sequence_axis=C.Axis("target"))
    z = _decoder()(target, source)
    assert z.shape == (6,)
    rng = np.random.default_rng(0)
    long, short = (rng.normal(size=(n, 5)).astype(np.float32) for n in (7, 3))
    history = [rng.normal(size=(n, 4)).astype(np.float32) for n in (2, 5)]
    both = z.eval({source: [long, short], target: history})
    assert [len(states) for states in both] == [2, 5]
    for i, given in enumerate((long, short)):  # nobody sees the other's padding
        alone = z.eval({source: [given], target: [history[i]]})
        np.testing.assert_allclose(alone[0], both[i], atol=1e-6)
    elsewhere = z.eval({source: [long, short + 1], target: history})
    np.testing.assert_array_equal(elsewhere[0], both[0])
    assert np.abs(elsewhere[1] - both[1]).max() > 1e-3


def test_functions_beside_each_other_take_a_value_each() -> None:
    x = C.input_variable(2)

    @C.Function
    def two(x):
        return x + 1, x * 2

    both = C.layers.Sequential([two, (C.layers.Label("a"), lambda v: v * 10)])(x)
    first, second = (both.eval({x: [[1, 2]]})[v] for v in both.outputs)
    np.testing.assert_array_equal(first, [[2, 3]])
    np.testing.assert_array_equal(second, [[20, 40]])
    with pytest.raises(TypeError, match="3 functions beside each other cannot take 2 values"):
        C.layers.Sequential([two, (C.tanh, C.tanh, C.tanh)])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_another_precision_trains_and_is_stored(dtype: type, tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=(8, 6)).astype(dtype)
    labels = np.eye(3, dtype=dtype)[np.arange(8) % 3]
    with C.default_options(dtype=dtype):
        x, y = C.input_variable(6), C.input_variable(3)
        z = C.layers.Sequential([C.layers.Dense(8, activation=C.relu), C.layers.Dense(3)])(x)
        criterion = C.cross_entropy_with_softmax(z, y), C.classification_error(z, y)
    trainer = C.Trainer(z, criterion, C.sgd(z.parameters, C.learning_parameter_schedule(0.1)))
    before = z.parameters[0].value
    trainer.train_minibatch({x: data, y: labels})
    assert 0 <= trainer.previous_minibatch_evaluation_average <= 1
    assert np.abs(z.parameters[0].value - before).max() > 0
    trainer.save_checkpoint(str(tmp_path / "state"))
    kept = z.parameters[0].value
    trainer.train_minibatch({x: data, y: labels})
    trainer.restore_from_checkpoint(str(tmp_path / "state"))
    np.testing.assert_array_equal(z.parameters[0].value, kept)
    z.save(str(tmp_path / "model"))
    loaded = C.load_model(str(tmp_path / "model"))
    assert loaded.arguments[0].dtype == dtype
    np.testing.assert_array_equal(loaded.eval({loaded.arguments[0]: data}), z.eval({x: data}))


class _Logistic(UserFunction):
    def __init__(self, x, name="logistic"):
        super().__init__([x], name=name)

    def forward(self, x, device=None, outputs_to_retain=None):
        result = 1 / (1 + np.exp(-x))
        return result, result

    def backward(self, result, root):
        return root * result * (1 - result)

    def infer_outputs(self):
        of = self.inputs[0]
        return [C.output_variable(of.shape, of.dtype, of.dynamic_axes)]


def _trainer_with_user_function() -> tuple[C.Variable, C.Variable, C.Trainer]:
    x, y = C.input_variable(5), C.input_variable(3)
    z = C.layers.Dense(3)(C.user_function(_Logistic(C.layers.Dense(4)(x))))
    learner = C.sgd(z.parameters, C.learning_parameter_schedule(0.1))
    return x, y, C.Trainer(z, (C.cross_entropy_with_softmax(z, y), None), learner)


def test_a_checkpoint_with_a_user_function_is_taken_up_again(tmp_path: Path) -> None:
    file = str(tmp_path / "state")
    x, y, trainer = _trainer_with_user_function()
    data = np.random.default_rng(2).normal(size=(8, 5)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[np.arange(8) % 3]
    trainer.train_minibatch({x: data, y: labels})
    trainer.save_checkpoint(file)
    _, _, later = _trainer_with_user_function()
    later.restore_from_checkpoint(file)
    for mine, stored in zip(later.model.parameters, trainer.model.parameters, strict=True):
        np.testing.assert_array_equal(mine.value, stored.value)
    # The file alone does not have the function's code, and this class does not say how to make one.
    with pytest.raises(NotImplementedError, match="deserialize has to be overwritten"):
        C.load_model(file)


def test_a_giant_in_an_archive_is_no_image(tmp_path: Path) -> None:
    archive = zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED)
    with archive, archive.open("giant.png", "w") as entry:
        for _ in range(257):
            entry.write(bytes(1 << 20))
    (tmp_path / "map.txt").write_text(f"{tmp_path}/a.zip@/giant.png\t0\n")
    scale = C.io.transforms.scale(4, 4, 3)
    streams = C.io.StreamDefs(x=C.io.StreamDef("image", transforms=[scale]))
    source = C.io.MinibatchSource(C.io.ImageDeserializer(str(tmp_path / "map.txt"), streams))
    with pytest.raises(RuntimeError, match="Cannot open file"):
        source.next_minibatch(1)


def test_sequences_that_are_marked_as_new_or_as_continued() -> None:
    s = C.sequence.input_variable(2)
    z = C.layers.Fold(C.layers.RNNStep(3))(s)
    y = C.input_variable(3)
    learner = C.sgd(z.parameters, C.learning_parameter_schedule(0.1))
    trainer = C.Trainer(z, (C.squared_error(z, y), None), learner)
    data = {s: [np.ones((4, 2), np.float32)], y: np.zeros((1, 3), np.float32)}
    assert trainer.train_minibatch((data, [True]))
    np.testing.assert_array_equal(z.eval(({s: data[s]}, [True])), z.eval({s: data[s]}))
    once = z.eval(({s: data[s]}, [True]))
    for again in (z.eval((data[s], [False])), z.eval({s: C.Value.create(s, data[s], [False])})):
        assert not np.allclose(again, once)
    assert trainer.train_minibatch((data, [False]))


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_class_that_is_none_has_no_one_hot_vector(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"class {wrong} is not one of the 3 classes"):
        C.Value.one_hot([[0, 2], [wrong]], 3)
