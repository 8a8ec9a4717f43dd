"""What scripts and the suites of CNTK itself do with layers, learners and training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest
from cntk.layers.typing import Sequence, Tensor


def test_a_recurrence_starts_from_the_last_step_of_a_sequence() -> None:
    x = C.input_variable(**Sequence[Tensor[1]])
    s = C.sequence.input_variable(1, sequence_axis=C.Axis("other"))
    sums = C.layers.RecurrenceFrom(C.plus)(s, x)
    given = {x: [np.ones((3, 1), np.float32)] * 2, s: [np.array([[5], [2]]), np.array([[7]])]}
    rows = sums.eval(given)
    np.testing.assert_array_equal(np.ravel(rows[0]), [3, 4, 5])
    np.testing.assert_array_equal(np.ravel(rows[1]), [8, 9, 10])
    before = C.sequence.past_value(x, s).eval(given)
    np.testing.assert_array_equal(np.ravel(before[0]), [2, 1, 1])
    ahead = C.sequence.future_value(x, s).eval(given)
    np.testing.assert_array_equal(np.ravel(ahead[0]), [1, 1, 5])


def test_a_recurrence_has_at_most_ten_states() -> None:
    def step(a: Any, b: Any, c: Any, d: Any, x: Any) -> Any:
        return a + x, b + a, c + b, d + c

    x = C.input_variable(**Sequence[Tensor[1]])
    last = C.layers.Fold(step, return_full_state=True)(x)
    values = last.eval({x: [np.ones((3, 1), np.float32)]})
    assert [float(np.ravel(values[v])[0]) for v in last.outputs] == [3, 3, 1, 0]
    names = [f"s{i}" for i in range(11)]
    space: dict[str, Any] = {}
    exec(f"def wide({', '.join(names)}, x): return {', '.join(f'{n} * x' for n in names)}", space)
    with pytest.raises(ValueError, match="up to 10 state variables"):
        C.layers.Recurrence(space["wide"])


def test_an_unfolding_of_which_only_the_initial_state_says_the_shape() -> None:
    x = C.input_variable(**Sequence[Tensor[1]])
    doubled = C.layers.UnfoldFrom(lambda s: s * 2)(C.Constant(1), x)
    rows = doubled.eval({x: [np.zeros((3, 1), np.float32), np.zeros((5, 1), np.float32)]})
    assert [list(np.ravel(row)) for row in rows] == [[2, 4, 8], [2, 4, 8, 16, 32]]


def test_a_convolution_over_a_sequence_without_padding() -> None:
    taps = np.array([4, 2, 1], np.float32)
    layer = C.layers.Convolution(3, init=taps, sequential=True, reduction_rank=0, bias=False)
    layer.update_signature(Sequence[Tensor[()]])
    (row,) = layer([np.array([2, 6, 4, 8, 6], np.float32)])
    np.testing.assert_array_equal(row, [24, 40, 38])


def test_a_layer_without_input_can_be_copied() -> None:
    model = C.layers.Sequential([C.layers.Dense(2), C.layers.Dense(3)])
    copy = model.clone("clone")
    x = C.input_variable(4)
    pairs = list(zip(model(x).parameters, copy(x).parameters, strict=True))
    assert len(pairs) == 4
    assert all(a is not b and np.array_equal(a.value, b.value) for a, b in pairs)


def test_for_wants_a_function_that_makes_layers() -> None:
    with pytest.raises(TypeError, match="not a layer"):
        C.layers.For(range(3), C.layers.Dense(5))


class _Writer(C.cntk_py.ProgressWriter):
    def __init__(self) -> None:
        super().__init__(1, 0, 1, 0, sys.maxsize, 0)
        self.seen: list[float] = []
        self.__disown__()

    def write(self, key: str, value: Any) -> None:
        self.seen.append(float(value))


def test_a_writer_derived_from_the_native_base_class() -> None:
    x, y = C.input_variable(1), C.input_variable(1)
    z = x * C.parameter(1, init=1)
    rates = C.learning_rate_schedule([0.3, 0.1, 0], C.UnitType.sample, 1)
    writer = _Writer()
    learner = C.momentum_sgd(z.parameters, rates, C.momentum_schedule([0.6, 0.7], 1))
    trainer = C.Trainer(z, (C.squared_error(z, y), None), learner, writer)
    for _ in range(4):
        trainer.train_minibatch({x: [[2]], y: [[1]]})
    assert writer.seen == [0.3, 0.6, 0.1, 0.7, 0.0]


def test_samples_of_a_loss_that_is_one_number() -> None:
    x, y = C.input_variable(1), C.input_variable(2)
    loss = C.reduce_sum(C.cross_entropy_with_softmax(C.layers.Dense(2)(x), y), C.Axis.all_axes()) * 1.0
    trainer = C.Trainer(None, (loss, None), C.sgd(loss.parameters, 0.1))
    assert trainer.train_minibatch({x: [[1], [2], [3]], y: [[0, 1]] * 3})
    assert trainer.total_number_of_samples_seen == 3


def test_one_output_of_several_is_a_model() -> None:
    x, y = C.input_variable(2), C.input_variable(3)
    both = C.combine([C.layers.Dense(3)(x), C.layers.Dense(4)(x)])
    loss = C.cross_entropy_with_softmax(both.outputs[0], y)
    trainer = C.Trainer(both.outputs[0], (loss, None), C.sgd(loss.parameters, 0.1))
    assert trainer.train_minibatch({x: [[1, 2]], y: [[0, 1, 0]]})


def test_an_epoch_size_for_a_single_number_is_warned_of() -> None:
    with pytest.warns(RuntimeWarning, match="epoch_size is ignored"):
        C.momentum_as_time_constant_schedule(1100, epoch_size=1000)
    with pytest.warns(RuntimeWarning, match="epoch_size is ignored"):
        C.learning_rate_schedule(0.01, C.UnitType.sample, epoch_size=1000)


def test_a_learner_takes_gradients_with_unit_axes() -> None:
    w = C.parameter(1, init=1)
    learner = C.sgd([w], C.learning_parameter_schedule_per_sample(0.5))
    assert learner.update({w: np.array([[2]], np.float32)}, 1)
    assert w.value == 0


def test_the_position_of_a_source_can_be_set(tmp_path: Path) -> None:
    file = tmp_path / "data.txt"
    file.write_text("".join(f"|x {i}\n" for i in range(5)))
    streams = C.io.StreamDefs(x=C.io.StreamDef(field="x", shape=1))
    source = C.io.MinibatchSource(C.io.CTFDeserializer(str(file), streams), randomize=False)
    before = source.current_position
    first = source.next_minibatch(2)[source.streams.x].asarray()
    source.current_position = before
    np.testing.assert_array_equal(source.next_minibatch(2)[source.streams.x].asarray(), first)


def test_a_hierarchical_softmax_is_one_over_all_labels() -> None:
    x, label = C.input_variable(6), C.input_variable(1)
    probability, classes, parts = C.hierarchical_softmax_layer(x, label, 10)
    rows = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    labels = np.array([[0], [3], [9], [5]], np.float32)
    everything = np.concatenate([part.eval({x: rows}) for part in parts], 1)
    assert everything.shape == (4, 12)
    np.testing.assert_allclose(everything.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(classes.eval({x: rows}).sum(1), 1, rtol=1e-5)
    found = probability.eval({x: rows, label: labels})
    wanted = [everything[i, int(number)] for i, number in enumerate(labels.ravel())]
    np.testing.assert_allclose(np.ravel(found), wanted, rtol=1e-5)
    trainer = C.Trainer(None, (-C.log(probability), None), C.sgd(probability.parameters, 0.1))
    trainer.train_minibatch({x: rows, label: labels})
    first = trainer.previous_minibatch_loss_average
    trainer.train_minibatch({x: rows, label: labels})
    assert trainer.previous_minibatch_loss_average < first


def test_cosines_with_the_partners_of_later_steps() -> None:
    rows = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], np.float32)
    x, y = C.sequence.input_variable(4), C.sequence.input_variable(4)
    cosines = C.cosine_distance_with_negative_samples(x, y, shift=1, num_negative_samples=2)
    expected = [[1, 0.5, 0], [1, 0.5, 0.5], [1, 0, 0.5]]
    (one,) = cosines.eval({x: [rows], y: [rows]})
    np.testing.assert_allclose(one, expected, atol=1e-6)
    several = cosines.eval({x: rows[:, None], y: rows[:, None]})
    np.testing.assert_allclose(np.concatenate(several), expected, atol=1e-6)


def test_a_walk_tells_what_each_function_is() -> None:
    x = C.input_variable((3, 8, 8), name="image")
    model = C.layers.Sequential([C.layers.Convolution((3, 3), 4), C.layers.Dense(2, name="top")])(x)
    found = C.logging.graph.depth_first_search(model, lambda v: getattr(v, "op_name", "") == "Dense")
    assert [f.name for f in found] == ["top"]
    assert str(found[0]).startswith("top: Dense(")
    assert C.logging.graph.plot(model).index("Convolution(") < C.logging.graph.plot(model).index("Dense(")


def test_a_sweep_has_the_order_of_the_next_seed(tmp_path: Path) -> None:
    file = tmp_path / "data.txt"
    file.write_text("".join(f"|x {i}\n" for i in range(7)))
    streams = C.io.StreamDefs(x=C.io.StreamDef(field="x", shape=1))
    orders = []
    for seed in (3, 4):
        source = C.io.MinibatchSource(C.io.CTFDeserializer(str(file), streams), randomization_seed=seed)
        orders.append(source.next_minibatch(21)[source.streams.x].asarray().ravel().tolist())
    assert orders[0][7:] == orders[1][:14]
    assert orders[0][:7] != orders[0][7:14]


def test_fields_are_written_in_the_order_of_their_names() -> None:
    write = C.io.sequence_to_cntk_text_format
    given = {"W": np.array([[1, 0], [5, 6]]), "L": np.array([[2]])}
    assert write(0, given) == "0\t|L 2 |W 1 0\n0\t|W 5 6"
    assert write(0, {"W": np.array([])}) == ""
    with pytest.raises(ValueError, match="expected a NumPy array"):
        write(0, {"A": [object()]})


def test_modules_show_names_of_others_as_cntk_does() -> None:
    assert C.layers.glorot_uniform is C.glorot_uniform
    assert C.logging.find_by_name is C.logging.graph.find_by_name
    assert C.layers.InferredDimension == C.InferredDimension
    space: dict[str, Any] = {}
    exec("from cntk.layers import *", space)
    assert space["glorot_uniform"] is C.glorot_uniform
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        _ = C.layers.nosuch


def test_types_that_do_not_fit_are_named() -> None:
    with pytest.raises(TypeError, match=r"abstract type Tensor\[3\] cannot be instantiated"):
        Tensor[3]()
    with pytest.raises(ValueError, match=r"type object \(Tensor\[3\]\)"):
        C.sigmoid(Tensor[3])
    with pytest.raises(TypeError, match="sequences over sequences"):
        _ = Sequence[Sequence[Tensor[3]]]

    @C.Function.with_signature(Tensor[3])
    def squash(x: Any) -> Any:
        return C.sigmoid(x)

    np.testing.assert_allclose(squash([[0, 0, 0]]), [[0.5] * 3])
    with pytest.raises(TypeError, match=r"x's type Tensor\[3\] is incompatible with the type Tensor\[4\]"):
        squash(C.input_variable(4))


class _Commands:
    """What a person types, and what the debugger says."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.said = ""

    def readline(self) -> str:
        return self.lines.pop(0) + "\n"

    def write(self, text: str) -> None:
        self.said += text

    def flush(self) -> None:
        pass


def test_a_model_in_single_steps() -> None:
    x = C.input_variable(2, name="features", needs_gradient=True)
    w = C.parameter((2, 1), init=3, name="w")
    talk = _Commands("n", "p", "what?", "u nowhere", "u z", "c")
    z = C.debugging.debug_model(C.times(x, w, name="z"), talk, talk)
    slope = z.grad({z.arguments[0]: [[1, 2]]}, z.parameters)
    np.testing.assert_array_equal(slope, [[1], [2]])
    stops = [line.split("(")[0] for line in talk.said.split("\n") if " with uid " in line]
    assert sorted(stops[:2]) == ["Input", "Parameter"]
    assert stops[2:4] == ["z: Times", "z: Times"]  # forward, then backward
    assert "Commands:" in talk.said
    assert 'does not contain a node with name "nowhere"' in talk.said
    assert "[CNTK forward] >>> " in talk.said
    assert talk.lines == []


def test_a_response_normalisation_made_of_a_convolution_over_channels() -> None:
    """A kernel of the rank of its input has one map: AlexNet sums over neighbouring channels so."""
    reach = 1

    @C.Function
    def normalise(x: Any) -> Any:
        squares = C.reshape(C.square(x), (1, C.InferredDimension), 0, 1)
        weight = C.constant(0.5, (1, 2 * reach + 1, 1, 1))
        sums = C.reshape(C.convolution(weight, squares), C.InferredDimension, 0, 2)
        return C.element_divide(x, 1 + sums)

    x = C.input_variable((4, 2, 3))
    pixels = np.random.default_rng(0).normal(size=(2, 4, 2, 3)).astype(np.float32)
    padded = np.pad(pixels**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    sums = 0.5 * (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:])
    np.testing.assert_allclose(normalise(x).eval({x: pixels}), pixels / (1 + sums), rtol=1e-5)


def test_modules_have_the_short_names_that_scripts_use() -> None:
    assert C.distributed.Communicator is C.Communicator
    assert C.trainer.Trainer is C.Trainer
    assert C.learners.cntk_py is C.cntk_py


def test_several_distributed_learners_with_one_that_averages() -> None:
    x, y = C.input_variable(3), C.input_variable(2)
    z = C.layers.Dense(2)(x)
    first, second = (C.data_parallel_distributed_learner(C.sgd([p], 0.1)) for p in z.parameters)
    second.set_as_metric_aggregator()
    assert (first.is_metric_aggregator(), second.is_metric_aggregator()) == (False, True)
    trainer = C.Trainer(z, (C.squared_error(z, y), None), [first, second])
    assert trainer.train_minibatch({x: [[1, 2, 3]], y: [[0, 1]]})
    trainer.summarize_training_progress()
    assert trainer.previous_minibatch_sample_count == 1


class _Watch(C.debugging.UserFunction):
    """Passes its input on, and counts how often a gradient comes by."""

    seen = 0

    def infer_outputs(self) -> list[Any]:
        operand = self.inputs[0]
        return [C.output_variable(operand.shape, operand.dtype, operand.dynamic_axes)]

    def forward(self, argument: Any, device: Any = None, outputs_to_retain: Any = None) -> Any:
        return None, argument

    def backward(self, state: Any, root_gradients: Any) -> Any:
        _Watch.seen += 1
        return root_gradients


def test_training_gives_inputs_that_want_one_a_gradient() -> None:
    for wants, expected in ((False, 0), (True, 1)):
        _Watch.seen = 0
        x, y = C.input_variable(3, needs_gradient=wants), C.input_variable(2)
        z = C.layers.Dense(2)(C.user_function(_Watch([x])))
        trainer = C.Trainer(z, (C.squared_error(z, y), None), C.sgd(z.parameters, 0.1))
        trainer.train_minibatch({x: np.ones((1, 3), np.float32), y: np.ones((1, 2), np.float32)})
        assert _Watch.seen == expected
