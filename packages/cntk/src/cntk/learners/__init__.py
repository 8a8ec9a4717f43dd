"""Learners: how gradients change parameters.

Every factory takes the options of `base.Options`: L1 and L2 weights (per sample), the standard deviation of
Gaussian noise added to the parameters, a clipping threshold per sample (by value with truncation, by norm
without), `use_mean_gradient` (legacy) or `minibatch_size` (the size that rates without one refer to; IGNORE:
mean gradients), and `epoch_size` in samples for rates given as a list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..internal.missing import module_getattr
from ..variables import Parameter
from .base import Learner, Options
from .rules import (
    AdaDeltaLearner,
    AdaGradLearner,
    AdamLearner,
    FSAdaGradLearner,
    MomentumLearner,
    NesterovLearner,
    RmsPropLearner,
    SgdLearner,
)
from .schedules import (
    IGNORE,
    TrainingParameterSchedule,
    UnitType,
    learning_parameter_schedule,
    learning_parameter_schedule_per_sample,
    learning_rate_schedule,
    momentum_as_time_constant_schedule,
    momentum_schedule,
    momentum_schedule_per_sample,
    training_parameter_schedule,
)
from .user import UserLearner, universal

_UNIT_GAIN = True
# Half the weight of a squared gradient is gone after half a million samples.
_VARIANCE = momentum_schedule_per_sample(0.9999986111120757)
_RATE_ONE = learning_parameter_schedule_per_sample(1)


def default_unit_gain_value() -> bool:
    """What `unit_gain` was by default when this module was loaded, or what was set since."""
    return _UNIT_GAIN


def set_default_unit_gain_value(value: bool) -> None:
    """Sets what `default_unit_gain_value` returns; as in CNTK the learners' signatures keep their default."""
    global _UNIT_GAIN
    _UNIT_GAIN = bool(value)


def _options(arguments: dict[str, Any]) -> Options:
    return Options(
        l1=arguments["l1_regularization_weight"],
        l2=arguments["l2_regularization_weight"],
        noise=arguments["gaussian_noise_injection_std_dev"],
        clip=arguments["gradient_clipping_threshold_per_sample"],
        clip_truncates=arguments["gradient_clipping_with_truncation"],
        use_mean_gradient=arguments["use_mean_gradient"],
        minibatch_size=arguments["minibatch_size"],
        epoch_size=arguments["epoch_size"],
    )


def sgd(
    parameters: Sequence[Parameter],
    lr: Any,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: Any = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """w -= lr g"""
    return SgdLearner(parameters, lr, _options(locals()))


def momentum_sgd(
    parameters: Sequence[Parameter],
    lr: Any,
    momentum: Any,
    unit_gain: bool = True,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: Any = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """v = m v + u lr g; w -= v, with u = 1 - m when unit_gain"""
    return MomentumLearner(parameters, lr, momentum, unit_gain, _options(locals()))


def nesterov(
    parameters: Sequence[Parameter],
    lr: Any,
    momentum: Any,
    unit_gain: bool = True,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: Any = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """v = m v + u lr g; w -= m v + u lr g"""
    return NesterovLearner(parameters, lr, momentum, unit_gain, _options(locals()))


def adagrad(
    parameters: Sequence[Parameter],
    lr: Any,
    need_ave_multiplier: bool = True,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: Any = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """a += g^2; w -= lr/k g/sqrt(a), k the mean of 1/sqrt(a) when need_ave_multiplier, else 1"""
    return AdaGradLearner(parameters, lr, need_ave_multiplier, _options(locals()))


def adadelta(
    parameters: Sequence[Parameter],
    lr: Any = _RATE_ONE,
    rho: float = 0.95,
    epsilon: float = 1e-8,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: Any = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """Steps scaled by the ratio of past steps to past gradients; see `rules.AdaDeltaLearner`."""
    return AdaDeltaLearner(parameters, lr, rho, epsilon, _options(locals()))


def adam(
    parameters: Sequence[Parameter],
    lr: Any,
    momentum: Any,
    unit_gain: bool = True,
    variance_momentum: Any = _VARIANCE,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: Any = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    epsilon: float = 1e-8,
    adamax: bool = False,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """Adam, or with adamax=True its variant with a maximum; see `rules.AdamLearner`.

    A float `lr` is a rate per minibatch; gradients are sums, to which the rule is indifferent.
    """
    return AdamLearner(
        parameters, lr, momentum, unit_gain, variance_momentum, epsilon, adamax, _options(locals())
    )


def fsadagrad(
    parameters: Sequence[Parameter],
    lr: Any,
    momentum: Any,
    unit_gain: bool = True,
    variance_momentum: Any = _VARIANCE,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: Any = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """Gradients scaled to unit variance, then momentum; see `rules.FSAdaGradLearner`."""
    return FSAdaGradLearner(parameters, lr, momentum, unit_gain, variance_momentum, _options(locals()))


def rmsprop(
    parameters: Sequence[Parameter],
    lr: Any,
    gamma: float,
    inc: float,
    dec: float,
    max: float,
    min: float,
    need_ave_multiplier: bool = True,
    l1_regularization_weight: float = 0.0,
    l2_regularization_weight: float = 0.0,
    gaussian_noise_injection_std_dev: Any = 0.0,
    gradient_clipping_threshold_per_sample: float = math.inf,
    gradient_clipping_with_truncation: bool = True,
    use_mean_gradient: bool | None = None,
    minibatch_size: int | None = None,
    epoch_size: int | None = None,
) -> Learner:
    """RMSProp with a step size per element; see `rules.RmsPropLearner`."""
    return RmsPropLearner(parameters, lr, gamma, inc, dec, max, min, need_ave_multiplier, _options(locals()))


__all__ = [
    "IGNORE", "Learner", "TrainingParameterSchedule", "UnitType", "UserLearner", "adadelta", "adagrad",
    "adam",
    "default_unit_gain_value", "fsadagrad", "learning_parameter_schedule",
    "learning_parameter_schedule_per_sample", "learning_rate_schedule", "momentum_as_time_constant_schedule",
    "momentum_schedule", "momentum_schedule_per_sample", "momentum_sgd", "nesterov", "rmsprop",
    "set_default_unit_gain_value", "sgd", "training_parameter_schedule", "universal",
]  # fmt: skip

__getattr__ = module_getattr("cntk.learners")
