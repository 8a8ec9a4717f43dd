"""The CNTK 2.7 Python API on PyTorch.

Training scripts written for CNTK run unmodified, print what CNTK printed and save `.dnn` files that CNTK reads.  What of
CNTK's API is not here raises an error that names it; nothing is silently something else.
"""

__version__ = "2.7"  # the CNTK whose API this is; the distribution has its own version

from . import (  # isort: skip  (variables and operations first: the others are made of them)
    axis, cntk_py, core, default_options as _default_options, device, initializer, variables,
)  # fmt: skip
from . import ops, losses, metrics, layers, learners, logging, train, io  # isort: skip
from .axis import Axis
from .core import Value
from .default_options import default_options, default_options_for, default_override_or, get_default_override
from .device import all_devices, cpu, gpu, try_set_default_device, use_default_device
from .initializer import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    initializer_with_rank,
    normal,
    truncated_normal,
    uniform,
    xavier,
)
from .internal.missing import module_getattr
from .learners import (
    IGNORE,
    Learner,
    UnitType,
    learning_parameter_schedule,
    learning_parameter_schedule_per_sample,
    learning_rate_schedule,
    momentum_as_time_constant_schedule,
    momentum_schedule,
    momentum_schedule_per_sample,
    momentum_sgd,
    nesterov,
    sgd,
    training_parameter_schedule,
)
from .losses import cross_entropy_with_softmax, squared_error
from .metrics import classification_error
from .ops import *  # noqa: F403
from .ops.functions import BlockFunction, CloneMethod, Function, ModelFormat, load_model
from .train import Trainer
from .train import trainer as _trainer
from .variables import Constant, Parameter, Record, Variable

__getattr__ = module_getattr("cntk")
