"""The update rules of CNTK 2.7.

g is the gradient (a sum over the minibatch, or its mean with minibatch_size=IGNORE), lr and m the effective
rate and momentum for the minibatch's n samples, u is 1-m with unit gain and 1 without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..variables import Parameter
from .base import Learner, Options, Tensors
from .schedules import infer_schedule


class SgdLearner(Learner):
    """w -= lr g"""

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        torch._foreach_add_(values, gradients, alpha=-rate)


class _WithMomentum(Learner):
    def __init__(
        self, parameters: Sequence[Parameter], lr: Any, momentum: Any, unit_gain: bool, options: Options
    ):
        super().__init__(parameters, lr, options)
        self._momentum = infer_schedule(momentum, self._minibatch_size, options.epoch_size)
        self._unit_gain = unit_gain

    def _gain(self, momentum: float) -> float:
        return 1.0 - momentum if self._unit_gain else 1.0


class MomentumLearner(_WithMomentum):
    """v = m v + u lr g; w -= v (the rate is inside the velocity)"""

    slots = 1

    def _report_all(self) -> None:
        super()._report_all()
        self._report("Momentum", self._momentum)

    def _velocity(self, values: Tensors, gradients: Tensors, rate: float, momentum: float) -> Tensors:
        """The new velocity; returns the step u lr g."""
        step = list(torch._foreach_mul(gradients, rate * self._gain(momentum)))
        if self._state is None or momentum == 0.0:
            self._state = [step]
        else:
            torch._foreach_mul_(self._state[0], momentum)
            torch._foreach_add_(self._state[0], step)
        return step

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        self._velocity(values, gradients, rate, self._effective_momentum(self._momentum, samples))
        assert self._state is not None
        torch._foreach_sub_(values, self._state[0])


class NesterovLearner(MomentumLearner):
    """v = m v + u lr g; w -= m v + u lr g"""

    def _report_all(self) -> None:
        Learner._report_all(self)

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        momentum = self._effective_momentum(self._momentum, samples)
        step = self._velocity(values, gradients, rate, momentum)
        assert self._state is not None
        torch._foreach_add_(values, self._state[0], alpha=-momentum)
        torch._foreach_sub_(values, step)


class AdaGradLearner(Learner):
    """a += g^2; w -= lr/k g/sqrt(a), k the mean of 1/sqrt(a) over the tensor (or 1)"""

    slots = 1

    def __init__(self, parameters: Sequence[Parameter], lr: Any, need_ave_multiplier: bool, options: Options):
        super().__init__(parameters, lr, options)
        self._average = need_ave_multiplier

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        (sums,) = self._states(values)
        torch._foreach_addcmul_(sums, gradients, gradients)
        for value, gradient, total in zip(values, gradients, sums, strict=True):
            factor = (total + 1e-16).rsqrt_()
            step = gradient * factor
            value.sub_(
                step * (rate / factor.mean()) if self._average else step, alpha=1.0 if self._average else rate
            )


class AdaDeltaLearner(Learner):
    """a = rho a + (1-rho) g^2; d = -sqrt(x+eps)/sqrt(a+eps) g; x = rho x + (1-rho) d^2; w += lr d"""

    slots = 2

    def __init__(
        self, parameters: Sequence[Parameter], lr: Any, rho: float, epsilon: float, options: Options
    ):
        super().__init__(parameters, lr, options)
        self._rho, self._epsilon = rho, epsilon

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        squares, deltas = self._states(values)
        torch._foreach_mul_(squares, self._rho)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1.0 - self._rho)
        above = torch._foreach_add(deltas, self._epsilon)
        torch._foreach_sqrt_(above)
        below = torch._foreach_add(squares, self._epsilon)
        torch._foreach_sqrt_(below)
        torch._foreach_div_(above, below)
        torch._foreach_mul_(above, gradients)
        torch._foreach_mul_(deltas, self._rho)
        torch._foreach_addcmul_(deltas, above, above, value=1.0 - self._rho)
        torch._foreach_add_(values, above, alpha=-rate)


def _complement(momentum: float) -> float:
    """1 - momentum as CNTK has it: the momentum is rounded to float32 first."""
    return float(np.float32(1.0) - np.float32(momentum))


class AdamLearner(_WithMomentum):
    """a = b2 a + (1-b2) g^2 (adamax: max(b2 a, |g|)); h = b1 h + u g;
    w -= lr h c/(sqrt(a)+eps), c = sqrt(1-b2^t)/(1-b1^t) (adamax: 1/(1-b1^t)), t the number of minibatches"""

    slots = 2
    _counts = True

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: Any,
        momentum: Any,
        unit_gain: bool,
        variance_momentum: Any,
        epsilon: float,
        adamax: bool,
        options: Options,
    ):
        super().__init__(parameters, lr, momentum, unit_gain, options)
        self._variance = infer_schedule(variance_momentum, self._minibatch_size, options.epoch_size)
        self._epsilon, self._adamax = epsilon, adamax

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        squares, means = self._states(values)
        first = self._effective_momentum(self._momentum, samples)
        second = self._effective_momentum(self._variance, samples)
        self._count += 1.0
        scale = rate / (1.0 - math.pow(first, self._count))
        torch._foreach_mul_(squares, second)
        if self._adamax:
            torch._foreach_maximum_(squares, torch._foreach_abs(gradients))
            below = torch._foreach_add(squares, self._epsilon)
        else:
            torch._foreach_addcmul_(squares, gradients, gradients, value=_complement(second))
            below = torch._foreach_sqrt(squares)
            torch._foreach_add_(below, self._epsilon)
            scale *= math.sqrt(1.0 - math.pow(second, self._count))
        torch._foreach_mul_(means, first)
        torch._foreach_add_(means, gradients, alpha=self._gain(first))
        torch._foreach_addcdiv_(values, means, below, value=-scale)


class FSAdaGradLearner(_WithMomentum):
    """c = b2 c + (1-b2) n; a = b2 a + (1-b2) g^2; q = g min(sqrt(c)/sqrt(a), 10), or g where a is 0;
    with momentum h = m h + u q, q = h; w -= lr q"""

    slots = 2
    _counts = True

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: Any,
        momentum: Any,
        unit_gain: bool,
        variance_momentum: Any,
        options: Options,
    ):
        super().__init__(parameters, lr, momentum, unit_gain, options)
        self._variance = infer_schedule(variance_momentum, self._minibatch_size, options.epoch_size)

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        squares, means = self._states(values)
        momentum = self._effective_momentum(self._momentum, samples)
        variance = self._effective_momentum(self._variance, samples)
        self._count = variance * self._count + (1.0 - variance) * samples
        torch._foreach_mul_(squares, variance)
        torch._foreach_addcmul_(squares, gradients, gradients, value=_complement(variance))
        steps = []
        for gradient, square in zip(gradients, squares, strict=True):
            scale = (math.sqrt(self._count) * square.rsqrt()).clamp_(max=10.0)
            steps.append(gradient * torch.where(square == 0, torch.ones_like(scale), scale))
        if momentum > 0.0:
            torch._foreach_mul_(means, momentum)
            torch._foreach_add_(means, steps, alpha=self._gain(momentum))
            steps = means
        torch._foreach_add_(values, steps, alpha=-rate)


class RmsPropLearner(Learner):
    """a = gamma a + (1-gamma) g^2; a step per element grows by `inc` while the gradient keeps its sign, else
    shrinks by `dec`; f = step/sqrt(a + 1e-6); w -= lr/k g f, k the mean of f over the tensor (or 1)"""

    slots = 3
    _counts = True

    def __init__(
        self,
        parameters: Sequence[Parameter],
        lr: Any,
        gamma: float,
        inc: float,
        dec: float,
        max: float,
        min: float,
        need_ave_multiplier: bool,
        options: Options,
    ):
        super().__init__(parameters, lr, options)
        self._gamma, self._inc, self._dec, self._max, self._min = gamma, inc, dec, max, min
        self._average = need_ave_multiplier

    def _rule(self, values: Tensors, gradients: Tensors, rate: float, samples: int) -> None:
        begun = self._count > 0
        self._count += 1.0
        averages, signs, steps = self._states(values)
        for i, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
            average, step = averages[i], steps[i]
            if not begun:
                torch.mul(gradient, gradient, out=average)
                step.fill_(0.02)
            average.mul_(self._gamma).addcmul_(gradient, gradient, value=1.0 - self._gamma)
            sign = gradient.sign()
            grows = sign * signs[i] > 0
            step.copy_(
                torch.where(
                    grows, (step * self._inc).clamp_(max=self._max), (step * self._dec).clamp_(min=self._min)
                )
            )
            signs[i].copy_(sign)
            factor = step / (average + 1e-6).sqrt_()
            change = gradient * factor
            if self._average:
                change *= 1.0 / factor.mean()
            value.sub_(change, alpha=rate)
