"""What scripts call on values, arrays, functions and user functions, beside the graph itself."""

from __future__ import annotations

from pathlib import Path

import cntk as C
import numpy as np
import pytest
from scipy.sparse import csr_matrix


def test_lists_of_sequences_become_values() -> None:
    row = np.arange(3, dtype=np.float32)
    s = C.sequence.input_variable(3)
    value = C.Value.create(s, [[row], [row, row]], [True, False])
    assert value.shape == (2, 2, 3)
    assert value.mask.tolist() == [[2, 0], [1, 1]]
    assert value.masked_count() == 1
    assert [part.shape for part in value.as_sequences(s)] == [(1, 3), (2, 3)]
    assert value.data.asarray()[0, 1].tolist() == [0, 0, 0]
    assert C.asvalue(C.input_variable(3), [row, row]).shape == (2, 1, 3)
    assert C.asvalue(C.input_variable(3), np.stack([row, row])).shape == (2, 3)
    with pytest.raises(ValueError, match="sequence #1"):
        C.Value.create(s, [np.ones((1, 3)), np.ones((1, 4))])
    with pytest.raises(ValueError, match="no batch axis"):
        C.Value.create(C.input_variable(3, dynamic_axes=[]), [csr_matrix([[1, 0, 2]])])


def test_sparse_values_come_back_sparse_and_feed_tensors() -> None:
    s = C.sequence.input_variable(3, is_sparse=True)
    given = [csr_matrix([[1.0, 0, 2], [2, 3, 0]]), csr_matrix([[5.0, 0, 1]])]
    value = C.Value.create(s, given)
    assert value.is_sparse
    for mine, theirs in zip(value.as_sequences(s), given, strict=True):
        np.testing.assert_array_equal(mine.toarray(), theirs.toarray())
    # The rows of a sample that is a matrix.
    m = C.input_variable((2, 3), is_sparse=True)
    pairs = [csr_matrix(np.eye(3)[[0, 1]]), csr_matrix(np.eye(3)[[2, 0]])]
    np.testing.assert_array_equal((m * 1).eval({m: pairs})[1], np.eye(3)[[2, 0]])
    hot = C.Value.one_hot([[0, 2, 1, 0], [2, C.Value.ONE_HOT_SKIP]], (2, 3))
    assert hot.shape == (2, 2, 2, 3)
    assert hot.as_sequences()[1].toarray().tolist() == [[0, 0, 1], [0, 0, 0]]


def test_views_of_arrays() -> None:
    view = C.NDArrayView.from_csr(csr_matrix(np.eye(4, dtype=np.float32)), shape=(2, 2, 4))
    assert (view.shape, view.is_sparse, view.dtype) == ((2, 2, 4), True, np.float32)
    with pytest.raises(ValueError, match="does not fill"):
        C.NDArrayView.from_csr(csr_matrix(np.eye(4, dtype=np.float32)), shape=(2, 2, 3))
    dense = C.NDArrayView.from_dense(np.arange(6, dtype=np.float32).reshape(2, 3))
    part = dense.slice_view((1, 1), (2,))
    assert part.asarray().tolist() == [4, 5]
    assert part.is_slice_view()
    assert part.is_read_only
    with pytest.raises(RuntimeError, match="read-only"):
        part.set_value(0)
    assert dense.as_shape((3, 2)).asarray()[2].tolist() == [4, 5]
    p = C.parameter((3, 2))
    p.value = dense.as_shape((3, 2))
    assert p.value[2].tolist() == [4, 5]
    assert np.asarray(p).shape == (3, 2)


def test_values_that_are_not_arrays_hold_until_the_next_evaluation() -> None:
    x = C.input_variable(2)
    z = x + 1
    first = z.eval({x: np.zeros((1, 2), np.float32)}, as_numpy=False)
    assert first.shape == (1, 2)
    kept = first.deep_clone()
    z.eval({x: np.ones((1, 2), np.float32)})
    assert not first.is_valid
    assert kept.is_valid
    assert kept.asarray().tolist() == [[1, 1]]
    with pytest.raises(RuntimeError, match="no longer be accessed"):
        first.asarray()


def test_an_assignment_waits_for_the_way_back() -> None:
    target, source = C.parameter((2,)), C.parameter((2,), init=3)
    f = C.assign(target, source)
    state, values = f.forward({}, [f.output], {f.output})
    assert target.value.tolist() == [0, 0]
    f.backward(state, {f.output: np.ones(2)}, {source})
    assert target.value.tolist() == [3, 3]
    assert values[f.output].tolist() == [3, 3]


def test_outputs_are_of_the_function() -> None:
    x = C.input_variable(1)
    a = C.alias(x + 1, name="a")
    b = a + 2
    for outputs in (a, a.output, a.outputs, list(a.outputs)):
        assert b.eval({x: [[1], [2]]}, outputs=outputs).tolist() == [[2], [3]]
    with pytest.raises(TypeError):
        b.eval({x: [[1]]}, outputs=[a.outputs])
    with pytest.raises(ValueError, match="is not part of the function"):
        b.forward({x: [[1]]}, (x * 3).outputs)
    with pytest.raises(ValueError, match="needs a gradient"):
        b.grad({x: [[1]]})
    assert C.combine([a, b])[1] is b.output


def test_attributes_and_notes(tmp_path: Path) -> None:
    x = C.input_variable((2, 3))
    node = C.dropout(x, 0.3, seed=7)
    node.set_attribute("dropoutRate", 0.0)
    assert node.root_function.attributes == {"dropoutRate": 0.0, "rngSeed": 7, "rngOffset": 0}
    ones = np.ones((1, 2, 3), np.float32)
    _, values = node.forward({x: ones}, node.outputs, node.outputs)
    np.testing.assert_array_equal(values[node.output], ones)
    with pytest.raises(ValueError, match="cannot be set"):
        node.set_attribute("rate", 1)
    assert C.slice(x, 0, 1, 2).root_function.attributes["axis"] == ("ordered", "static", 1)
    node.custom_attributes = {"a": 1, "list": [1, "b"], "inner": {"c": 2.5}}
    node.save(str(tmp_path / "m"))
    assert C.load_model(str(tmp_path / "m")).custom_attributes == {
        "a": 1,
        "list": [1, "b"],
        "inner": {"c": 2.5},
    }


def test_what_a_clone_copies() -> None:
    x, w = C.input_variable(2, name="x"), C.constant(np.ones((2, 2), np.float32))
    z = C.times(x, w)
    frozen, shared = z.clone("freeze"), z.clone("share")
    w.value = np.zeros((2, 2))
    assert frozen.arguments[0].uid != x.uid
    assert frozen.eval(np.ones((1, 2))).tolist() == [[2, 2]]
    assert shared.arguments[0] is x
    assert shared.eval(np.ones((1, 2))).tolist() == [[0, 0]]
    with pytest.raises(AttributeError):
        z.clone("share", {None: x})
    with pytest.raises(TypeError):
        z.clone("share", {x: 5})
    named = x + 1
    named.name = "first"
    with pytest.raises(ValueError, match="existing name 'first'"):
        named.name = "second"


@pytest.mark.parametrize("open_size", [C.FreeDimension, C.InferredDimension])
def test_sizes_that_only_the_data_says(open_size: int) -> None:
    image = C.input_variable((1, open_size, open_size), needs_gradient=True)
    w = C.parameter((2, 1, 3, 3), init=1)
    z = C.pooling(C.convolution(w, image, auto_padding=[False, True, True]), C.MAX_POOLING, (2, 2), (2, 2))
    for size in (4, 6, 4):
        data = np.arange(size * size, dtype=np.float32).reshape(1, 1, size, size)
        fixed = C.input_variable((1, size, size))
        same = C.pooling(
            C.convolution(w, fixed, auto_padding=[False, True, True]), C.MAX_POOLING, (2, 2), (2, 2)
        )
        np.testing.assert_array_equal(z.eval({image: data}), same.eval({fixed: data}))
        np.testing.assert_array_equal(z.grad({image: data}, [w]), same.grad({fixed: data}, [w]))


def test_a_sized_graph_can_be_trained() -> None:
    x, y = C.input_variable((C.FreeDimension, 2)), C.input_variable((C.FreeDimension, 1))
    w = C.parameter(init=np.zeros((2, 1), np.float32))
    error = C.reduce_sum(C.square(C.times(x, w) - y))
    trainer = C.Trainer(None, (error, None), C.sgd([w], C.learning_parameter_schedule_per_sample(0.1)))
    for rows in (1, 3):
        trainer.train_minibatch({x: np.ones((1, rows, 2)), y: np.ones((1, rows, 1))})
    # 0.2 after one row; then three rows whose error is 1 - 2 * 0.2.
    np.testing.assert_allclose(w.value, 0.2 + 3 * 0.2 * 0.6, rtol=1e-5)


def test_a_kernel_without_output_channels_slides_over_the_channels() -> None:
    x = C.input_variable((4, 2))
    y = C.convolution(C.constant(np.ones((3, 1), np.float32)), x)
    assert y.shape == (4, 2)
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    padded = np.pad(rows, ((1, 1), (0, 0)))
    np.testing.assert_array_equal(y.eval(rows[None])[0], padded[:-2] + padded[1:-1] + padded[2:])
    image = C.input_variable((3, 3))
    wide = C.convolution_transpose(
        C.constant(np.ones((2, 2), np.float32)), image, auto_padding=[False], reduction_rank=0
    )
    assert wide.eval(np.ones((1, 3, 3)))[0, 0].tolist() == [
        [1, 2, 2, 1],
        [2, 4, 4, 2],
        [2, 4, 4, 2],
        [1, 2, 2, 1],
    ]


@pytest.mark.parametrize(("steps", "expected"), [(1, [7, 0, 1]), (-1, [1, 2, 5])])
def test_a_delay_goes_on_into_another_sequence(steps: int, expected: list[int]) -> None:
    x = C.sequence.input_variable(1)
    before = C.sequence.input_variable(1, sequence_axis=C.Axis("before"))
    z = C.sequence.delay(x, before, steps)
    found = z.eval({x: [np.arange(3)[:, None]], before: [np.array([[5], [6], [7]])]})
    assert found[0].ravel().tolist() == expected


def test_numbers_at_the_edges() -> None:
    x = C.input_variable(3, needs_gradient=True)
    root, logarithm = C.sqrt(x), C.log(x)
    data = np.array([[-4.0, 4.0, 9.0]], np.float32)
    assert root.eval({x: data}).tolist() == [[0, 2, 3]]
    assert logarithm.eval({x: data})[0, 0] == pytest.approx(-85.1)
    assert logarithm.grad({x: data})[0].tolist() == pytest.approx([9.0878e36, 0.25, 1 / 9], rel=1e-4)
    e = C.input_variable(1, needs_gradient=True)
    assert C.pow(C.constant([-2.0]), e).grad({e: [[3]]}).tolist() == [[0]]
    assert C.elu(x).grad({x: np.array([[-1.0, 0.0, 200.0]])})[0, 1:].tolist() == [1, 1]
    assert C.log_softmax(x).eval({x: np.full((1, 3), 1e4)})[0] == pytest.approx([-np.log(3)] * 3)
    with pytest.raises(ValueError, match="negative"):
        C.random_sample(C.constant([1.0, -1.0]), 1, True).eval()
    wide = C.input_variable(2, dtype=np.float64)
    assert (wide * C.constant([1, 2])).eval({wide: [[1, 1]]}).dtype == np.float64


class _Twice(C.ops.functions.UserFunction):
    """2 x, and how often it was computed."""

    def __init__(self, arg: C.Variable, name: str = "twice"):
        super().__init__([arg], name=name)
        self.calls = 0

    def infer_outputs(self) -> list[C.Variable]:
        (x,) = self.inputs
        return [C.output_variable(x.shape, x.dtype, x.dynamic_axes)]

    def forward(self, argument, device=None, outputs_to_retain=None):
        self.calls += 1
        return None, argument * 2

    def backward(self, state, root_gradients):
        return root_gradients * 2

    def serialize(self) -> dict[str, int]:
        return {"calls": self.calls}

    @staticmethod
    def deserialize(inputs, name, state):
        made = _Twice(inputs[0], name)
        made.calls = state["calls"]
        return made


def test_a_user_function_in_a_file(tmp_path: Path) -> None:
    file = str(tmp_path / "m")
    x = C.input_variable(2, needs_gradient=True)
    z = C.user_function(_Twice(x)) + 1
    assert z.eval([[1, 2]]).tolist() == [[3, 5]]
    z.save(file)
    again = C.load_model(file)
    assert again.eval([[1, 2]]).tolist() == [[3, 5]]
    assert again.find_by_name("twice").calls == 2
    assert z.clone("share").eval([[1, 2]]).tolist() == [[3, 5]]
    C.Function.register_udf_deserialize_callback(
        "_Twice", lambda inputs, name, state: _Twice(inputs[0], "else")
    )
    assert C.load_model(file).find_by_name("else") is not None


def test_a_file_names_no_code_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "m"
    z = C.user_function(_Twice(C.input_variable(2))) + 1
    z.save(str(file))
    file.write_bytes(file.read_bytes().replace(b"_Twice", b"_Never"))
    with pytest.raises(ValueError, match=r"'_Never'.*is not loaded"):
        C.load_model(str(file))


def test_user_functions_in_a_recurrence_and_on_open_sizes() -> None:
    x = C.sequence.input_variable(2, needs_gradient=True)
    p = C.placeholder((2,))
    z = C.user_function(_Twice(C.sequence.past_value(p))) + x
    z.replace_placeholders({p: z.output})
    data = [np.ones((3, 2), np.float32)]
    assert z.eval({x: data})[0][:, 0].tolist() == [1, 3, 7]
    assert z.grad({x: data}, [x])[0][:, 0].tolist() == [7, 3, 1]
    wide = C.input_variable(C.FreeDimension, needs_gradient=True)
    u = C.user_function(_Twice(wide))
    for n in (2, 5):
        assert u.eval({wide: np.ones((1, n))}).tolist() == [[2] * n]


def test_a_user_function_with_faults_says_so() -> None:
    class Faulty(C.ops.functions.UserFunction):
        def infer_outputs(self):
            return self.not_there

    with pytest.raises(RuntimeError, match="not_there"):
        C.user_function(Faulty([C.input_variable(1)]))


def test_helpers_below_internal() -> None:
    from cntk.internal import sanitize_batch, sanitize_dtype_cntk, sanitize_input, sanitize_value
    from cntk.internal.utils import eval as evaluate
    from cntk.internal.utils import get_data_type

    assert sanitize_dtype_cntk("float") == C.cntk_py.DataType_Float
    assert C.input_variable(1, dtype=C.cntk_py.DataType_Double).dtype == np.float64
    assert sanitize_value((2, 3), 1, np.float32).asarray().sum() == 6
    assert sanitize_input([1, 2], np.float64).dtype == np.float64
    assert get_data_type(C.placeholder(), np.float64(1)) == np.float64
    assert sanitize_batch(C.sequence.input_variable(()), [[5, 6], [8]]).mask.tolist() == [[2, 1], [2, 0]]
    x = C.input_variable(2, needs_gradient=True)
    z = x * 3
    values, gradients = evaluate(z, {x: np.ones((1, 2))}, "float", None, True)
    assert values[z.output].tolist() == gradients[x].tolist() == [[3, 3]]
    w = C.parameter((C.InferredDimension, 1), dtype=C.cntk_py.DataType_Unknown)
    assert w.get_data_type() == C.cntk_py.DataType_Unknown
    C.times(C.input_variable(2, dtype=np.float64), w)
    assert w.dtype == np.float64
