"""The graph, its layers and its lowering, checked against arithmetic done another way."""

from __future__ import annotations

import math

import _cntk_py
import cntk as C
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cntk.internal.geometry import window


def brute_force_pool(x: np.ndarray, k: int, s: int, pick: str) -> np.ndarray:
    """Auto-padded pooling of one row, cell by cell, from the rule as written in the documentation."""
    n = len(x)
    out = math.ceil(n / s)
    first = math.floor((n - 1 - (out - 1) * s) / 2) - math.floor((k - 1) / 2)
    cells = [[x[j] for j in range(first + i * s, first + i * s + k) if 0 <= j < n] for i in range(out)]
    return np.array([max(c) if pick == "max" else sum(c) / len(c) for c in cells])


@pytest.mark.parametrize("n", [4, 5, 6, 7, 8, 9, 10])
def test_padding_rule(n: int) -> None:
    x = np.random.default_rng(n).normal(size=(1, 1, n, 1)).astype(np.float32)
    given = C.input_variable((1, n, 1))
    for k in range(1, 7):
        for s in range(1, 5):
            for pick, layer in (("max", C.layers.MaxPooling), ("mean", C.layers.AveragePooling)):
                got = layer((k, 1), strides=(s, 1), pad=True)(given).eval(x)[0, 0, :, 0]
                np.testing.assert_allclose(got, brute_force_pool(x[0, 0, :, 0], k, s, pick), rtol=1e-5)
            if k <= n:
                assert window(n, k, s, auto=False).out == (n - k) // s + 1


@pytest.mark.parametrize(("k", "s", "n"), [(2, 1, 5), (4, 2, 7), (3, 3, 8), (1, 2, 5), (5, 2, 6)])
def test_convolution_padding(k: int, s: int, n: int) -> None:
    rng = np.random.default_rng(k)
    x = rng.normal(size=(2, 3, n, n)).astype(np.float32)
    layer = C.layers.Convolution2D((k, k), 4, strides=s, pad=True, init_bias=0.5)(C.input_variable((3, n, n)))
    weight = layer.W.value
    out = math.ceil(n / s)
    start = (n - 1 - (out - 1) * s) // 2 - (k - 1) // 2
    expected = np.zeros((2, 4, out, out))
    for i in range(out):
        for j in range(out):
            for di in range(k):
                for dj in range(k):
                    r, c = start + i * s + di, start + j * s + dj
                    if 0 <= r < n and 0 <= c < n:
                        expected[:, :, i, j] += x[:, :, r, c] @ weight[:, :, di, dj].T
    np.testing.assert_allclose(layer.eval(x), expected + 0.5, atol=1e-5)


def test_lowering_changes_no_number() -> None:
    """Fused bias, ReLU behind the pooling and channels-last give what plain calls give, also as gradients."""
    x = C.input_variable((2, 9, 9), needs_gradient=True)
    with C.default_options(activation=C.relu):
        hidden = C.layers.MaxPooling((3, 3), (2, 2))(C.layers.Convolution2D((3, 3), 4, pad=True)(x))
        z = C.layers.Dense(3, activation=None)(hidden)
    rng = np.random.default_rng(0)
    for parameter in z.parameters:
        parameter.value = rng.normal(size=parameter.shape)
    data = rng.normal(size=(5, 2, 9, 9)).astype(np.float32)

    dense_w, dense_b, conv_w, conv_b = (torch.tensor(p.value, requires_grad=True) for p in z.parameters)
    given = torch.tensor(data, requires_grad=True)
    plain = F.max_pool2d(F.relu(F.conv2d(given, conv_w, conv_b.reshape(-1), padding=1)), 3, 2)
    expected = plain.flatten(1) @ dense_w.reshape(-1, 3) + dense_b
    expected.sum().backward()

    np.testing.assert_allclose(z.eval(data), expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    names = [x, *z.parameters]
    gradients = z.grad(data, names)
    for name, tensor in zip(names, (given, dense_w, dense_b, conv_w, conv_b), strict=True):
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_losses_and_metric() -> None:
    z, y = C.input_variable(3), C.input_variable(3)
    scores = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 1.0], [0.0, 0.0, 900.0]], np.float32)
    labels = np.array([[0, 0, 1], [0, 1, 0], [0.5, 0.25, 0.0]], np.float32)
    loss = C.cross_entropy_with_softmax(z, y).eval({z: scores, y: labels})
    expected = [math.log(sum(math.exp(v) for v in (1, 2, 3))) - 3, math.log(2 + math.exp(-4)), 900]
    np.testing.assert_allclose(loss[:, 0], expected, rtol=1e-6)
    # The first of equal maxima is the answer, so row 2 is wrong; a soft label counts in part.
    assert C.classification_error(z, y).eval({z: scores, y: labels})[:, 0].tolist() == [0, 1, 1]
    np.testing.assert_allclose(
        C.squared_error(z, y).eval({z: scores, y: labels}), ((scores - labels) ** 2).sum(1), rtol=1e-6
    )


def test_a_block_of_the_same_name_is_not_taken_for_the_standard_one() -> None:
    """The fused loss kernels are for CNTK's own blocks only."""
    from cntk.ops.functions import make_block

    z, y = C.input_variable(3), C.input_variable(3)
    block = make_block("CrossEntropyWithSoftmax", lambda a, b: a * b + 1, [z, y])
    ones = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(block.eval({z: ones, y: ones}), ones * 2)
    swapped = C.cross_entropy_with_softmax(y, z)
    scores = np.array([[1.0, 2.0, 4.0]], np.float32)
    assert swapped.eval({z: ones[:1] / 3, y: scores})[0, 0] == pytest.approx(
        math.log(math.e + math.e**2 + math.e**4) - 7 / 3
    )


def test_parameters_last_layer_first_and_sharing() -> None:
    x = C.input_variable((2, 3))
    z = C.layers.Sequential([C.layers.Dense(4, name="first"), C.layers.Dense(2, bias=False)])(x)
    assert [(p.name, p.shape) for p in z.parameters] == [("W", (4, 2)), ("W", (2, 3, 4)), ("b", (4,))]
    layer = C.layers.Dense(2)
    one, two = layer(C.input_variable(3)), layer(C.input_variable(3))
    assert one.parameters == two.parameters
    assert z.first.root_function.op_name == "Dense"
    assert z.find_by_name("nothing") is None


def test_default_options_nest_and_yield_to_arguments() -> None:
    x = C.input_variable(3)
    with C.default_options(activation=C.relu, bias=False):
        with C.layers.default_options(activation=C.tanh):
            inner = C.layers.Dense(2)(x)
            plain = C.layers.Dense(2, activation=None, bias=True)(x)
        outer = C.layers.Dense(2)(x)
    after = C.layers.Dense(2)(x)
    assert [f.block_root.root_function.op_name for f in (inner, plain, outer, after)] == [
        "Tanh", "Plus", "ReLU", "Plus",
    ]  # fmt: skip
    assert [len(f.parameters) for f in (inner, plain, outer, after)] == [1, 2, 1, 2]
    with C.default_options_for(C.layers.Dense, bias=False):
        assert len(C.layers.Dense(2)(x).parameters) == 1
        assert len(C.layers.Convolution1D(2, 2)(C.input_variable((1, 4))).parameters) == 2


def test_clone_methods() -> None:
    x = C.input_variable(3)
    z = C.layers.Dense(2)(x)
    data = np.ones((1, 3), np.float32)
    shared, copied, frozen = (z.clone(method) for method in ("share", C.CloneMethod.clone, "freeze"))
    assert shared.parameters == z.parameters
    assert frozen.parameters == ()
    before = z.eval(data)
    z.parameters[0].value = np.zeros((3, 2))
    assert not np.array_equal(z.eval(data), before)
    np.testing.assert_array_equal(shared.eval(data), z.eval(data))
    np.testing.assert_array_equal(copied.eval(data), before)
    np.testing.assert_array_equal(frozen.eval(data), before)


def test_placeholders_replaced_in_place() -> None:
    hole = C.placeholder()
    z = C.relu(hole) + 1
    assert repr(z.output).startswith("Output(")
    z.replace_placeholders({hole: C.input_variable(2)})
    np.testing.assert_array_equal(z.eval(np.array([[-1, 3]], np.float32)), [[1, 4]])
    with pytest.raises(ValueError, match="is not a placeholder"):
        z.replace_placeholders({z.arguments[0]: C.input_variable(2)})


def test_dropout_only_in_training() -> None:
    C.cntk_py.set_fixed_random_seed(7)
    x = C.input_variable(2000, needs_gradient=True)
    z = C.layers.Dropout(0.25)(x)
    ones = np.ones((1, 2000), np.float32)
    np.testing.assert_array_equal(z.eval(ones), ones)
    kept = z.grad(ones, [x])
    assert set(np.unique(kept)) == {0.0, np.float32(1 / 0.75)}
    assert 0.70 < (kept > 0).mean() < 0.80


def test_batch_normalization_statistics() -> None:
    x = C.input_variable((2, 3, 3))
    z = C.layers.BatchNormalization(map_rank=1, normalization_time_constant=100)(x)
    y = C.input_variable((2, 3, 3))
    trainer = C.Trainer(z, C.squared_error(z, y), C.sgd(z.parameters, 0.0001))
    rng = np.random.default_rng(0)
    batches = [rng.normal(3, 2, (8, 2, 3, 3)).astype(np.float32) for _ in range(2)]
    for batch in batches:
        trainer.train_minibatch({x: batch, y: batch})
    statistics = [(b.mean((0, 2, 3)), b.var((0, 2, 3), ddof=1)) for b in batches]
    share = 1 - math.exp(-8 / 100)
    mean, variance = (a + share * (b - a) for a, b in zip(*statistics, strict=True))
    by_name = {c.name: c.value for c in z.constants}
    np.testing.assert_allclose(by_name["aggregate_mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(by_name["aggregate_variance"], variance, rtol=1e-5)
    assert by_name["aggregate_count"] == 16


@pytest.mark.parametrize(
    ("layer", "shape", "limit"),
    [
        (lambda: C.layers.Convolution2D((5, 5), 32), (1, 28, 28), 0.085280),
        (lambda: C.layers.Convolution2D((3, 3), 48), (32, 13, 13), 0.091287),
        (lambda: C.layers.Convolution2D((3, 3), 64), (48, 5, 5), 0.077152),
        (lambda: C.layers.Dense(96), (64, 3, 3), 0.094491),
        (lambda: C.layers.Dense(10), (96,), 0.237915),
    ],
)
def test_initial_values(layer: object, shape: tuple[int, ...], limit: float) -> None:
    weight = layer()(C.input_variable(shape)).W.value  # type: ignore[operator]
    assert limit * 0.95 < np.abs(weight).max() <= limit * 1.00001
    assert abs(weight.mean()) < limit / 10


def test_seeds() -> None:
    def draw() -> list[np.ndarray]:
        z = C.layers.Sequential([C.layers.Dense(4), C.layers.Dense(4)])(C.input_variable(4))
        return [p.value for p in z.parameters if p.name == "W"]

    C.cntk_py.reset_random_seed(3)
    first = draw()
    other = draw()
    _cntk_py.reset_random_seed(3)
    again = draw()
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert not np.array_equal(first[0], first[1])
    # As in CNTK, a fixed seed is the seed of everything.
    C.cntk_py.set_fixed_random_seed(3)
    same = draw()
    np.testing.assert_array_equal(*same)
    np.testing.assert_array_equal(same[0], first[1])
    C.cntk_py.reset_random_seed(1)
    fixed = [C.parameter((3, 3), init=C.glorot_uniform(seed=5)).value for _ in range(2)]
    np.testing.assert_array_equal(*fixed)


def test_missing_parts_are_named() -> None:
    for module, name in (
        (C, "forward_backward"),
        (C.ops, "optimized_rnnstack"),
        (C.io, "HTKMLFDeserializer"),
    ):
        with pytest.raises(
            AttributeError, match=rf"{module.__name__}\.{name} is not available in openbatchai-cntk"
        ):
            getattr(module, name)
    z = C.input_variable(3, name="x") + 1
    assert z.uid
    with pytest.raises(AttributeError, match=r"^Function\.clone_flattened is not available in openbatchai-"):
        z.clone_flattened()
    with pytest.raises(AttributeError, match=r"^'Variable' object has no attribute 'never_there'$"):
        z.never_there()
    with pytest.raises(AttributeError, match=r"^module 'cntk' has no attribute 'never_there'$"):
        C.never_there()
    with pytest.raises(ImportError):
        from cntk.ops import labels_to_graph  # noqa: F401
    x = C.input_variable(3)
    with pytest.raises(NotImplementedError, match="without weight sharing"):
        C.convolution(C.parameter((1, 1, 2)), x, sharing=[False])


def test_mistakes_have_cntks_words() -> None:
    x, y = C.input_variable(3, name="x"), C.input_variable(2, name="y")
    with pytest.raises(
        ValueError, match=r"^The trailing dimensions of the Value shape '\[2 x 4\]' do not match the "
    ):
        C.relu(x).eval(np.ones((2, 4), np.float32))
    with pytest.raises(
        ValueError, match=r"^Values for 1 required arguments 'Input\('y', \[#\], \[2\]\)', that the "
    ):
        C.combine([C.relu(x), C.relu(y)]).eval({x: np.ones((1, 3), np.float32)})
    with pytest.raises(ValueError, match=r"^Different minibatch layouts detected"):
        C.combine([C.relu(x), C.relu(y)]).eval(
            {x: np.ones((1, 3), np.float32), y: np.ones((2, 2), np.float32)}
        )
    with pytest.raises(RuntimeError, match=r"^Binary elementwise operation Plus: Left operand"):
        _ = x + y
    with pytest.raises(ValueError, match=r"^Times: The 1 leading dimensions of the right operand"):
        C.times(x, C.parameter((4, 2)))
    with pytest.raises(TypeError, match=r"^CNTK Function expected 1 arguments, got 2"):
        C.layers.Dense(2)(x, y)
    with pytest.raises(ValueError, match=r"^Specified GPU device id \(99\) is invalid\."):
        C.gpu(99)
    with pytest.warns(DeprecationWarning, match="Please use input_variable"):
        assert C.ops.input(3).shape == (3,)
    assert C.__version__ == "2.7"
    assert C.ops.input is C.input


def test_float32_and_float64_do_not_mix() -> None:
    y = C.input_variable(3, np.float64)
    with C.default_options(dtype=np.float64):
        layer = C.layers.Dense(2, activation=C.relu)
    assert layer(y).eval(np.ones((2, 3))).dtype == np.float64
    single = C.layers.Sequential([C.layers.Activation(C.tanh), C.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"with different DataTypes 'Float' and 'Double'\.$"):
        single(y).eval(np.ones((2, 3)))


def test_no_data_is_not_a_number() -> None:
    x = C.input_variable(())
    with pytest.raises(ValueError, match="batch must be a list of NumPy arrays"):
        (x + 1).eval({x: None})
