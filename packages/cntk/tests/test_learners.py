"""Schedules, update rules and the Trainer, against the formulas written out in NumPy."""

from __future__ import annotations

import math
from typing import Any

import cntk as C
import numpy as np
import pytest


def test_schedules() -> None:
    schedule = C.learning_rate_schedule([0.001] * 2 + [0.0005], C.UnitType.sample, 10)
    assert [schedule[i] for i in (0, 9, 10, 19, 20, 10**9)] == [0.001] * 4 + [0.0005] * 2
    assert schedule.minibatch_size == 1
    repeated = C.learning_parameter_schedule([(3, 1.0), (1, 2.0)], minibatch_size=32, epoch_size=5)
    assert [repeated[i] for i in (14, 15, 20)] == [1.0, 2.0, 2.0]
    assert C.learning_rate_schedule(0.1, C.UnitType.minibatch).minibatch_size == C.learners.IGNORE
    momentum = C.momentum_as_time_constant_schedule([0] * 5 + [1024], 60000)
    assert momentum[0] == 0.0
    assert momentum[300000] == pytest.approx(0.9990239141819757, abs=0)
    sizes = C.train.minibatch_size_schedule([10, 20], 30)
    assert [sizes[i] for i in (0, 29, 30)] == [10, 10, 20]
    with pytest.raises(ValueError, match=r"^schedule must be either a float or a list, not <class 'str'>"):
        C.learning_parameter_schedule("a")
    with pytest.raises(
        ValueError, match=r"^training parameter schedule type \(<class 'str'>\) not supported"
    ):
        C.sgd([C.parameter((2,))], "0.1")


def run(learner_of: Any, sizes: list[int]) -> tuple[list[np.ndarray], list[np.ndarray], C.Parameter]:
    """Values after each update and the summed gradients that were applied."""
    parameter = C.parameter((3,), init=np.array([1.0, -2.0, 0.5], np.float32))
    learner = learner_of([parameter])
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=3).astype(np.float32) * n for n in sizes]
    values = []
    for gradient, size in zip(gradients, sizes, strict=True):
        assert learner.update({parameter: gradient}, size)
        values.append(parameter.value)
    return values, gradients, parameter


SIZES = [4, 6, 3, 8]


def test_sgd_per_sample_and_per_minibatch() -> None:
    values, gradients, _ = run(lambda p: C.sgd(p, C.learning_parameter_schedule_per_sample(0.01)), SIZES)
    w = np.array([1.0, -2.0, 0.5])
    for value, g in zip(values, gradients, strict=True):
        w = w - 0.01 * g
        np.testing.assert_allclose(value, w, rtol=1e-5)
    values, gradients, _ = run(lambda p: C.sgd(p, 0.01), SIZES)
    w = np.array([1.0, -2.0, 0.5])
    for value, g, n in zip(values, gradients, SIZES, strict=True):
        w = w - 0.01 * g / n
        np.testing.assert_allclose(value, w, rtol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("unit_gain", [False, True])
def test_momentum_by_time_constant(nesterov: bool, unit_gain: bool) -> None:
    rate = C.learning_rate_schedule(0.02, C.UnitType.sample)
    momentum = C.momentum_as_time_constant_schedule([0, 20], 5)
    make = C.nesterov if nesterov else C.momentum_sgd
    values, gradients, _ = run(lambda p: make(p, rate, momentum, unit_gain), SIZES)
    w, v, seen = np.array([1.0, -2.0, 0.5]), np.zeros(3), 0
    for value, g, n in zip(values, gradients, SIZES, strict=True):
        m = 0.0 if seen < 5 else math.exp(-n / 20)
        step = (1 - m if unit_gain else 1) * 0.02 * g
        v = m * v + step
        w = w - (m * v + step if nesterov else v)
        seen += n
        np.testing.assert_allclose(value, w, rtol=1e-5)


def test_weight_decay_and_clipping() -> None:
    rate = C.learning_parameter_schedule_per_sample(0.01)
    values, gradients, _ = run(
        lambda p: C.sgd(p, rate, l2_regularization_weight=0.1, gradient_clipping_threshold_per_sample=0.5),
        SIZES,
    )
    w = np.array([1.0, -2.0, 0.5])
    clipped = 0
    for value, g, n in zip(values, gradients, SIZES, strict=True):
        limited = np.clip(g, -0.5 * n, 0.5 * n)
        clipped += int((limited != g).any())
        w = w - 0.01 * (limited + 0.1 * n * w)
        np.testing.assert_allclose(value, w, rtol=1e-5)
    assert clipped


def test_learner_mistakes() -> None:
    p = C.parameter((2,))
    with pytest.raises(ValueError, match=r"^The parameters list specified to a Learner must not be empty"):
        C.sgd([], 0.1)
    with pytest.raises(ValueError, match=r"^Learner's parameters list must not contain duplicates"):
        C.sgd([p, p], 0.1)
    learner = C.sgd([p], 0.1)
    with pytest.raises(RuntimeError, match=r"^Learner\.update: no gradient for"):
        learner.update({}, 1)
    with pytest.raises(RuntimeError, match=r"^Shape '\[4\]' of the smoothed gradient value restored from"):
        C.momentum_sgd([C.parameter((4,))], 0.1, 0.9).restore_from_checkpoint(learner.create_checkpoint())


def test_noise_is_added_once_per_update_and_is_the_same_in_every_run() -> None:
    def noisy() -> np.ndarray:
        parameter = C.parameter((200, 50), init=0)
        learner = C.sgd([parameter], 0.1, gaussian_noise_injection_std_dev=0.5)
        for _ in range(4):
            learner.update({parameter: np.zeros((200, 50))}, 2)
        return parameter.value

    first = noisy()
    # Four independent draws: the deviation of their sum is twice that of one.
    assert first.std() == pytest.approx(1.0, rel=0.03)
    assert abs(first.mean()) < 0.05
    np.testing.assert_array_equal(first, noisy())


class HalfRate(C.UserLearner):
    """Plain gradient descent, written by a user."""

    def update(self, gradient_values: Any, training_sample_count: int, sweep_end: bool = False) -> bool:
        for parameter, gradient in gradient_values.items():
            parameter.value = parameter.value - 0.5 * self.learning_rate() * gradient / training_sample_count
        return training_sample_count > 1


def test_user_learner(linear: Any) -> None:
    _, y, z, data = linear
    learner = HalfRate(z.parameters, C.learning_parameter_schedule(0.02))
    trainer = C.Trainer(z, C.squared_error(z, y), learner)
    assert trainer.train_minibatch(data) is True
    np.testing.assert_allclose(z.W.value[:, 0], [0.5 - 0.01 * 8, 0.5 - 0.01 * 11], rtol=1e-5)
    assert trainer.total_number_of_samples_seen == 2
    assert trainer.train_minibatch({variable: value[:1] for variable, value in data.items()}) is False


@pytest.fixture
def linear() -> tuple[C.Variable, C.Variable, C.Function, dict[Any, np.ndarray]]:
    x, y = C.input_variable(2), C.input_variable(1)
    z = C.layers.Dense(1, init=0.5)(x)
    data = {x: np.array([[1, 2], [3, 4]], np.float32), y: np.array([[1], [1]], np.float32)}
    return x, y, z, data


def test_trainer_sums_and_averages(linear: Any) -> None:
    _, y, z, data = linear
    loss, metric = C.squared_error(z, y), C.reduce_sum(C.abs(z - y), axis=0)
    trainer = C.Trainer(
        z, (loss, metric), C.sgd(z.parameters, C.learning_parameter_schedule_per_sample(0.01))
    )
    with pytest.raises(RuntimeError, match=r"^There was no preceding call to TrainMinibatch"):
        _ = trainer.previous_minibatch_loss_average
    proceed, values = trainer.train_minibatch(data, outputs=[z.output])
    # Outputs 1.5 and 3.5: errors 0.5 and 2.5.
    assert proceed is True
    np.testing.assert_allclose(values[z.output], [[1.5], [3.5]])
    assert trainer.previous_minibatch_loss_average == pytest.approx((0.25 + 6.25) / 2)
    assert trainer.previous_minibatch_evaluation_average == pytest.approx(1.5)
    assert trainer.previous_minibatch_sample_count == trainer.total_number_of_samples_seen == 2
    # The gradient of the SUM: 2 * (0.5 * x1 + 2.5 * x2).
    np.testing.assert_allclose(z.W.value[:, 0], [0.5 - 0.01 * 2 * 8, 0.5 - 0.01 * 2 * 11], rtol=1e-5)
    assert trainer.test_minibatch(data) == pytest.approx(
        float(np.abs(z.eval(data[z.arguments[0]]) - 1).mean())
    )
    assert trainer.train_minibatch({}) is False


def test_a_zero_rate_stops(linear: Any) -> None:
    _, y, z, data = linear
    rate = C.learning_parameter_schedule_per_sample([0.1, 0.0], epoch_size=2)
    trainer = C.Trainer(z, C.squared_error(z, y), C.sgd(z.parameters, rate))
    assert trainer.train_minibatch(data) is True
    before = z.W.value
    assert trainer.train_minibatch(data) is False
    np.testing.assert_array_equal(z.W.value, before)


def test_trainer_mistakes(linear: Any) -> None:
    _, y, z, data = linear
    loss = C.squared_error(z, y)
    learner = C.sgd(z.parameters, 0.1)
    with pytest.raises(ValueError, match=r"^These must be at least one learner"):
        C.Trainer(z, loss, [])
    with pytest.raises(ValueError, match="is covered by 2 different learners"):
        C.Trainer(z, loss, [learner, C.sgd(z.parameters, 0.1)])
    with pytest.raises(ValueError, match="are not part of the model specified"):
        C.Trainer(z, loss, C.sgd([C.parameter((2,))], 0.1))
    with pytest.raises(
        ValueError, match=r"^Evaluator::TestMinibatch: Cannot test when no evaluation function"
    ):
        C.Trainer(z, loss, learner).test_minibatch(data)


@pytest.mark.parametrize(
    ("schedule", "minibatch_size", "rate"),
    [
        # Per sample, legacy mean mode: the rate is for the mean gradient.
        (lambda: C.learning_parameter_schedule_per_sample(0.01), None, 0.01 / 4),
        (lambda: C.learning_rate_schedule(0.01, C.UnitType.minibatch), None, 0.01 / 4),
        (lambda: C.learning_parameter_schedule(0.01, minibatch_size=2), None, 0.01 / 2),
        # A minibatch size given to the learner wins over the legacy switch.
        (lambda: 0.01, 8, 0.01 / 8),
        (lambda: C.learning_parameter_schedule(0.01), 8, 0.01 / 8),
    ],
)
def test_legacy_mean_gradient(schedule: Any, minibatch_size: int | None, rate: float) -> None:
    parameter = C.parameter((1,), init=np.zeros(1, np.float32))
    learner = C.sgd([parameter], schedule(), use_mean_gradient=True, minibatch_size=minibatch_size)
    learner.update({parameter: np.array([4.0], np.float32)}, 4)
    np.testing.assert_allclose(parameter.value, [-4.0 * rate], rtol=1e-6)


def test_learners_that_share_a_schedule_keep_their_minibatch_sizes() -> None:
    first, second = (C.parameter((1,), init=np.zeros(1, np.float32)) for _ in range(2))
    schedule = C.learning_parameter_schedule(0.08)
    learners = [C.sgd([first], schedule, minibatch_size=4), C.sgd([second], schedule, minibatch_size=8)]
    for learner, parameter in zip(learners, (first, second), strict=True):
        learner.update({parameter: np.array([1.0], np.float32)}, 4)
    np.testing.assert_allclose([first.value[0], second.value[0]], [-0.02, -0.01], rtol=1e-6)


@pytest.mark.parametrize(("map_rank", "shape"), [(None, (3,)), (1, (3, 1, 1))])
def test_a_minibatch_of_one_sample_through_batch_normalization(map_rank: Any, shape: Any) -> None:
    x, y = C.input_variable(shape), C.input_variable(shape)
    z = C.layers.BatchNormalization(map_rank=map_rank, normalization_time_constant=1)(x)
    trainer = C.Trainer(z, C.squared_error(z, y), C.sgd(z.parameters, 0.0001))
    pair = np.array([[1, 2, 3], [3, 4, 5]], np.float32).reshape(2, *shape)
    trainer.train_minibatch({x: pair, y: pair})
    np.testing.assert_allclose(z.aggregate_variance.value, [2, 2, 2])
    one = np.array([9, 9, 9], np.float32).reshape(1, *shape)
    _, values = trainer.train_minibatch({x: one, y: one}, outputs=[z.output])
    np.testing.assert_allclose(values[z.output].ravel(), z.bias.value, atol=0.01)
    kept = math.exp(-1)
    np.testing.assert_allclose(z.aggregate_mean.value, np.array([2, 3, 4]) * kept + 9 * (1 - kept), rtol=1e-6)
    np.testing.assert_allclose(z.aggregate_variance.value, [2 * kept] * 3, rtol=1e-6)  # one has no variance
    assert z.aggregate_count.value == 3


def test_running_statistics_start_again_when_their_count_is_reset() -> None:
    x, y = C.input_variable(1), C.input_variable(1)
    z = C.layers.BatchNormalization()(x)
    trainer = C.Trainer(z, C.squared_error(z, y), C.sgd(z.parameters, 0.0001))
    for start, expected in ((0, 1.0), (10, 11.0)):
        z.aggregate_count.value = 0
        data = np.array([[start], [start + 2]], np.float32)
        trainer.train_minibatch({x: data, y: data})
        np.testing.assert_allclose(z.aggregate_mean.value, [expected])
        assert z.aggregate_count.value == 2
        trainer.train_minibatch({x: data + 1, y: data})
        assert expected < z.aggregate_mean.value[0] < expected + 0.1


def test_a_minibatch_without_samples(linear: Any) -> None:
    x, y, z, _ = linear
    loss = C.squared_error(z, y)
    trainer = C.Trainer(z, (loss, loss), C.sgd(z.parameters, 0.1))
    for call in (trainer.train_minibatch, trainer.test_minibatch):
        with pytest.raises(ValueError, match="has no samples"):
            call({x: np.zeros((0, 2)), y: np.zeros((0, 1))})
