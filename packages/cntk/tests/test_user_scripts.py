"""Ways of writing a script that CNTK's users had, each as small as it can be."""

from __future__ import annotations

from pathlib import Path

import cntk as C
import numpy as np
import pytest


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
