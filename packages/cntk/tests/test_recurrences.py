"""LSTMs as one step, and sequences that go on from the minibatch before."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest

RAGGED = [np.arange(4 * n, dtype=np.float32).reshape(n, 4) / 10 - 1 for n in (5, 3, 1)]
EVEN = [RAGGED[0], -RAGGED[0]]


def _steps_of_a_cell(net: Any, rows: list[np.ndarray], backwards: bool, start: float) -> list[np.ndarray]:
    """An LSTM in NumPy, from its parameters."""
    values = {p.name: p.value for p in net.parameters}
    factor = np.log(np.exp(4 * values["alpha"]) + 1) / 4 if "alpha" in values else 1.0

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    result = []
    for row in rows:
        h = c = np.full(3, start)
        states = []
        for x in row[::-1] if backwards else row:
            i, u, f, o = np.split(x @ values["W"] + (h * factor) @ values["H"] + values["b"], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(u)
            h = sigmoid(o) * np.tanh(c)
            states.append(h)
        result.append(np.array(states[::-1] if backwards else states))
    return result


@pytest.mark.parametrize(("backwards", "stable"), list(product((False, True), (False, True))))
def test_an_lstm_is_its_formulas(backwards: bool, stable: bool) -> None:
    x = C.sequence.input_variable(4)
    with C.layers.default_options(enable_self_stabilization=stable):
        cell = C.layers.LSTM(3, init_bias=0.1)
        net = C.layers.Recurrence(cell, go_backwards=backwards, initial_state=0.2)(x)
    for p in net.parameters:
        if p.name == "alpha":
            p.value = 1.3
    for rows in (RAGGED, EVEN):
        expected = _steps_of_a_cell(net, rows, backwards, 0.2)
        for got, wanted in zip(net.eval({x: rows}), expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("backwards", "rows"), list(product((False, True), (RAGGED, EVEN))))
def test_gradients_of_both_forms_of_an_lstm(backwards: bool, rows: list[np.ndarray]) -> None:
    """PyTorch's LSTM (states h only) against the one with a written derivative (both states), and that
    against differences."""
    x = C.sequence.input_variable(4, needs_gradient=True)
    net = C.layers.Recurrence(C.layers.LSTM(3), go_backwards=backwards, return_full_state=True)(x)
    h, c = net.outputs
    wrt = [*net.parameters, x]
    of_h = C.combine([h]).grad({x: rows}, wrt)
    of_both = (h + 0 * c).output.owner.composite().grad({x: rows}, wrt)
    for variable in wrt:
        for a, b in zip(of_h[variable], of_both[variable], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    product_ = C.element_times(h, c)
    weight = next(p for p in net.parameters if p.name == "H")
    slope = product_.grad({x: rows}, [weight])
    total = []
    for change in (0.01, -0.01):
        weight.value = weight.value + np.where(np.arange(36).reshape(3, 12) == 7, change, 0)
        total.append(sum(np.sum(v, dtype=np.float64) for v in product_.eval({x: rows})))
        weight.value = weight.value - np.where(np.arange(36).reshape(3, 12) == 7, change, 0)
    np.testing.assert_allclose(slope.ravel()[7], (total[0] - total[1]) / 0.02, rtol=0.02, atol=1e-3)


def _pieces(file: Path, length: int, **options: Any) -> C.io.MinibatchSource:
    sizes = (7, 2, 5, 4)
    file.write_text("".join(f"{s}\t|x {s * 10 + i}\n" for s, n in enumerate(sizes) for i in range(n)))
    streams = C.io.StreamDefs(x=C.io.StreamDef(field="x", shape=1))
    reader = C.io.CTFDeserializer(str(file), streams)
    return C.io.MinibatchSource(reader, randomize=False, truncation_length=length, **options)


def test_truncated_minibatches(tmp_path: Path) -> None:
    source = _pieces(tmp_path / "data.txt", 3, max_sweeps=1)
    seen = []
    while minibatch := source.next_minibatch(6):
        data = minibatch[source.streams.x]
        seen.append([np.ravel(row).astype(int).tolist() for row in data.as_sequences()])
        assert data.num_samples == sum(len(row) for row in seen[-1])
        begins = [row[0] % 10 == 0 for row in seen[-1]]
        assert (data.data.mask[:, 0] == np.where(begins, 2, 1)).all()
    # Two slots of three samples: a sequence that ends makes room for the next one in its slot.
    assert seen == [
        [[0, 1, 2], [10, 11], [20]],
        [[3, 4, 5], [21, 22, 23]],
        [[6], [30, 31], [24]],
        [[32, 33]],
    ]


@pytest.mark.parametrize("kind", ["sum", "lstm", "delay"])
def test_pieces_give_what_whole_sequences_give(tmp_path: Path, kind: str) -> None:
    x = C.sequence.input_variable(1)
    if kind == "sum":
        net = C.layers.Recurrence(C.plus)(x)
    elif kind == "lstm":
        net = C.layers.Recurrence(C.layers.LSTM(2))(x * 0.1)
    else:
        net = C.sequence.past_value(x, 7, time_step=4) + 0
    whole: dict[int, Any] = {}
    pieces: dict[int, Any] = {}
    for found, length in ((whole, 0), (pieces, 3)):
        source = _pieces(tmp_path / f"{length}.txt", length, max_sweeps=1)
        while minibatch := source.next_minibatch(6, input_map={x: source.streams.x}):
            rows = zip(minibatch[x].as_sequences(), net.eval(minibatch), strict=True)
            found.update({int(k[0]): v for keys, values in rows for k, v in zip(keys, values, strict=True)})
    assert len(whole) == 18
    for key, value in whole.items():
        np.testing.assert_allclose(pieces[key], value, rtol=1e-5)


def test_start_flags() -> None:
    x = C.sequence.input_variable(1)
    sums = C.layers.Recurrence(C.plus)(x)
    rows = [np.array([[1], [2], [3]], np.float32), np.array([[10], [20]], np.float32)]

    def last(value: Any) -> list[float]:
        return [float(row[-1, 0]) for row in value]

    assert last(sums.eval(({x: rows}, [True, True]))) == [6, 30]
    assert last(sums.eval(({x: rows}, [False, True]))) == [12, 30]
    assert last(sums.eval({x: C.Value.create(x, rows, [False, False])})) == [18, 60]
    other = C.layers.Recurrence(C.plus)(x)
    with pytest.raises(RuntimeError, match="no sentence start marker"):
        other.eval(({x: rows}, [True, False]))
    with pytest.raises(ValueError, match="start flags"):
        sums.eval(({x: rows}, [True]))


def test_training_goes_on_through_pieces(tmp_path: Path) -> None:
    C.cntk_py.reset_random_seed(8)  # the same initial values whatever tests ran before
    source = _pieces(tmp_path / "data.txt", 3)
    x = C.sequence.input_variable(1)
    z = C.layers.Dense(1)(C.layers.Recurrence(C.layers.LSTM(3))(x * 0.02))
    loss = C.squared_error(z, x * 0.02)
    trainer = C.Trainer(z, (loss, loss), C.sgd(z.parameters, 0.2))
    losses = []
    for _ in range(60):
        trainer.train_minibatch(source.next_minibatch(6, input_map={x: source.streams.x}))
        losses.append(trainer.previous_minibatch_loss_average)
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) * 0.8
    state = source.get_checkpoint_state()
    source.restore_from_checkpoint(state)
    again = source.next_minibatch(6)[source.streams.x]
    assert (again.data.mask[:, 0] == 2).all()  # nothing is under way after a restore
