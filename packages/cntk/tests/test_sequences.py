"""Sequences: ragged batches compute what every sequence computes alone, and gradients do."""

from __future__ import annotations

from typing import Any

import cntk as C
import numpy as np
import pytest
from cntk.layers.typing import Sequence, Tensor

RNG = np.random.default_rng(0)


def ragged(lengths: tuple[int, ...], *shape: int) -> list[np.ndarray]:
    return [RNG.normal(size=(n, *shape)).astype(np.float32) for n in lengths]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_by_hand(x: np.ndarray, b: np.ndarray, w: np.ndarray, u: np.ndarray) -> np.ndarray:
    """One sequence through the equations of an LSTM with gates input, candidate, forget, output."""
    size = len(b) // 4
    h = c = np.zeros(size)
    out = []
    for step in x:
        i, g, f, o = np.split(b + step @ w + h @ u, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def test_lstm_on_ragged_sequences() -> None:
    x = C.sequence.input_variable(3, needs_gradient=True)
    z = C.layers.Recurrence(C.layers.LSTM(2))(x)
    data = ragged((4, 1, 3), 3)
    b, w, u = (p.value.astype(float) for p in z.parameters)
    for got, sequence in zip(z.eval(data), data, strict=True):
        np.testing.assert_allclose(got, lstm_by_hand(sequence, b, w, u), atol=1e-5)


@pytest.mark.parametrize("backwards", [False, True])
def test_gradients_of_a_batch_are_those_of_its_sequences(backwards: bool) -> None:
    x = C.sequence.input_variable(3, needs_gradient=True)
    layer = C.layers.Recurrence(C.layers.GRU(2), go_backwards=backwards)
    z = C.log(1 + C.square(layer(x)))
    data = ragged((4, 1, 3), 3)
    together = z.grad(data, [x, *z.parameters])
    alone = [z.grad([sequence], [x, *z.parameters]) for sequence in data]
    for i, gradients in enumerate(alone):
        np.testing.assert_allclose(together[x][i], gradients[x][0], atol=1e-5)
    for parameter in z.parameters:
        np.testing.assert_allclose(together[parameter], sum(g[parameter] for g in alone), atol=1e-4)


def test_delays_by_hand() -> None:
    x = C.sequence.input_variable(1)
    data = [np.array([[1], [2], [3]], np.float32), np.array([[7]], np.float32)]
    past = C.sequence.past_value(x, 9, 2).eval(data)
    future = C.sequence.future_value(x, 9).eval(data)
    assert [row.ravel().tolist() for row in past] == [[9, 9, 1], [9]]
    assert [row.ravel().tolist() for row in future] == [[2, 3, 9], [9]]


def test_a_running_sum_and_a_window_over_it() -> None:
    x = C.sequence.input_variable(1)
    hole = C.placeholder()
    total = C.plus(C.sequence.past_value(hole), x)
    total.replace_placeholders({hole: total.output})
    data = [np.ones((4, 1), np.float32), np.ones((2, 1), np.float32)]
    assert [row.ravel().tolist() for row in total.eval(data)] == [[1, 2, 3, 4], [1, 2]]
    assert C.sequence.last(total).eval(data).ravel().tolist() == [4, 2]
    assert C.sequence.reduce_sum(total).eval(data).ravel().tolist() == [10, 3]
    tail = C.sequence.slice(total, 1, 0).eval(data)
    assert [row.ravel().tolist() for row in tail] == [[2, 3, 4], [2]]


def test_picking_and_putting_back() -> None:
    x, flag = C.sequence.input_variable(1), C.sequence.input_variable(1)
    data = [np.array([[1], [2], [3]], np.float32), np.array([[4], [5]], np.float32)]
    flags = [np.array([[1], [0], [1]], np.float32), np.array([[0], [1]], np.float32)]
    picked = C.sequence.gather(x, flag)
    values = picked.eval({x: data, flag: flags})
    assert [row.ravel().tolist() for row in values] == [[1, 3], [5]]
    back = C.sequence.scatter(picked, flag).eval({x: data, flag: flags})
    assert [row.ravel().tolist() for row in back] == [[1, 0, 3], [0, 5]]


def test_to_a_static_axis_and_back() -> None:
    x = C.sequence.input_variable(2)
    data = ragged((3, 1), 2)
    values, mask = (v.eval(data) for v in (C.combine([o]) for o in C.sequence.unpack(x, -1).outputs))
    assert values.shape == (2, 3, 2)
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert (values[1, 1:] == -1).all()
    again = C.to_sequence_like(C.sequence.unpack(x, 0, no_mask_output=True), x).eval(data)
    for got, sequence in zip(again, data, strict=True):
        np.testing.assert_array_equal(got, sequence)


def test_attention_over_another_axis() -> None:
    """A batch of pairs of sequences gives what every pair gives alone."""
    encoder = C.sequence.input_variable(4, sequence_axis=C.Axis("e"))
    decoder = C.sequence.input_variable(3, sequence_axis=C.Axis("d"))
    z = C.layers.AttentionModel(5)(encoder, decoder)
    states, queries = ragged((3, 1, 2), 4), ragged((2, 4, 1), 3)
    together = z.eval({encoder: states, decoder: queries})
    for i in range(3):
        alone = z.eval({encoder: [states[i]], decoder: [queries[i]]})
        np.testing.assert_allclose(together[i], alone[0], atol=1e-6)


def test_the_loss_counts_every_step_and_nothing_behind_the_end() -> None:
    x, y = C.sequence.input_variable(2), C.sequence.input_variable(1)
    z = C.layers.Dense(1, init=0, bias=False)(x)
    trainer = C.Trainer(z, C.squared_error(z, y), C.sgd(z.parameters, 0.0001))
    targets = [np.full((n, 1), 2, np.float32) for n in (3, 1)]
    trainer.train_minibatch({x: ragged((3, 1), 2), y: targets})
    assert trainer.previous_minibatch_sample_count == 4
    assert trainer.previous_minibatch_loss_average == pytest.approx(4)


def test_different_layouts_are_refused() -> None:
    x, y = C.sequence.input_variable(1, name="x"), C.sequence.input_variable(1, name="y")
    with pytest.raises(ValueError, match=r"^Different minibatch layouts detected"):
        (x + y).eval({x: ragged((2, 1), 1), y: ragged((1, 2), 1)})
    with pytest.raises(RuntimeError, match=r"with #dynamic axes != 2"):
        C.sequence.first(C.input_variable(2))


def test_one_hot_values_feed_an_embedding() -> None:
    x = C.sequence.input_variable(4, is_sparse=True)
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    z = C.layers.Embedding(weights=table)(x)
    got = z.eval(C.Value.one_hot([[1, 3], [2]], 4))
    np.testing.assert_array_equal(got[0], table[[1, 3]])
    np.testing.assert_array_equal(got[1], table[[2]])
    with pytest.raises(ValueError, match="must be of type integer"):
        C.Value.one_hot([[0.5]], 4)


def test_sparse_matrices_are_data() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x = C.input_variable(3, is_sparse=True)
    matrix = sparse.csr_matrix(np.array([[0, 2, 0], [1, 0, 0]], np.float32))
    assert C.times(x, C.constant(np.eye(3, dtype=np.float32))).eval(matrix).tolist() == [[0, 2, 0], [1, 0, 0]]
    s = C.sequence.input_variable(3, is_sparse=True)
    assert C.sequence.last(s + 0).eval([matrix]).tolist() == [[1, 0, 0]]


def test_a_clone_of_a_recurrence_is_one() -> None:
    x = C.sequence.input_variable(2)
    z = C.layers.Fold(C.layers.RNNStep(3))(x)
    data = ragged((2, 4), 2)
    copy = z.clone("clone")
    np.testing.assert_array_equal(copy.eval(data), z.eval(data))
    z.parameters[0].value = np.zeros(z.parameters[0].shape, np.float32)
    assert not np.array_equal(copy.eval(data), z.eval(data))


class _Squared(C.ops.functions.UserFunction):
    """The square, in NumPy."""

    def __init__(self, x: Any, name: str = "squared"):
        super().__init__([x], name=name)

    def forward(self, x: Any, device: Any = None, outputs_to_retain: Any = None) -> Any:
        return x, [row**2 for row in x] if isinstance(x, list) else x**2

    def backward(self, x: Any, root: Any) -> Any:
        return [2 * a * b for a, b in zip(x, root, strict=True)] if isinstance(x, list) else 2 * x * root

    def infer_outputs(self) -> Any:
        of = self.inputs[0]
        return [C.output_variable(of.shape, of.dtype, of.dynamic_axes)]

    def clone(self, cloned_inputs: Any) -> Any:
        return _Squared(*cloned_inputs)


def test_user_functions() -> None:
    x = C.input_variable(2, needs_gradient=True)
    f = C.user_function(_Squared(x))
    data = np.array([[1, -3]], np.float32)
    assert f.eval(data).tolist() == [[1, 9]]
    assert f.grad(data).tolist() == [[2, -6]]
    assert C.relu(f)(x + 1).eval(data).tolist() == [[4, 4]]
    s = C.sequence.input_variable(1, needs_gradient=True)
    g = C.user_function(_Squared(s))
    rows = [np.array([[2], [3]], np.float32), np.array([[4]], np.float32)]
    assert [row.ravel().tolist() for row in g.eval(rows)] == [[4, 9], [16]]
    assert [row.ravel().tolist() for row in g.grad(rows)] == [[4, 6], [8]]


def test_python_functions_with_types_become_functions() -> None:
    @C.Function
    def scaled(weights: Tensor[2], x: Sequence[Tensor[2]]) -> Any:
        return x * weights

    assert [v.name for v in scaled.arguments] == ["weights", "x"]
    assert scaled.arguments[1].has_sequence_axis()
    model = C.layers.Dense(3)
    model.update_signature(C.layers.typing.Tensor[4])
    assert model.W.shape == (4, 3)


def test_random_numbers_are_of_their_distributions() -> None:
    x = C.input_variable((200, 50))
    zeros = np.zeros((1, 200, 50), np.float32)
    uniform = C.random.uniform_like(x, -1, 3, seed=1)
    first, second = uniform.eval(zeros), uniform.eval(zeros)
    assert first.min() >= -1
    assert first.max() < 3
    assert abs(first.mean() - 1) < 0.05
    assert not np.array_equal(first, second)
    normal = C.random.normal((100, 100), mean=2, scale=0.5, seed=1).eval()
    assert abs(normal.mean() - 2) < 0.05
    assert abs(normal.std() - 0.5) < 0.05
    assert abs(C.random.bernoulli((100, 100), mean=0.25, seed=1).eval().mean() - 0.25) < 0.03
    assert abs(C.random.gumbel((100, 100), seed=1).eval().mean() - 0.5772) < 0.05


def test_walks_over_the_graph() -> None:
    x = C.input_variable(3, name="x")
    z = C.layers.Sequential([C.layers.Dense(4, name="first"), C.layers.Dense(2, name="second")])(x)
    search = C.logging.graph.depth_first_search
    assert [f.name for f in search(z, lambda item: isinstance(item, C.Function))] == ["second", "first"]
    assert len(search(z, lambda item: isinstance(item, C.Parameter), depth=-1)) == 4
    assert C.logging.graph.find_by_name(z, "first").name == "first"
    assert C.logging.graph.find_by_uid(z, x.uid) is x
    assert "Dense" in C.logging.graph.plot(z)
