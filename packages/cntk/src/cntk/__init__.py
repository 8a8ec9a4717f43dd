"""The CNTK 2.7 Python API on PyTorch.

Training scripts written for CNTK run unmodified, print what CNTK printed and save `.dnn` files that CNTK
reads.  What of CNTK's API is not here raises an error that names it; nothing is silently something else.
"""

__version__ = "2.7"  # the CNTK whose API this is; the distribution has its own version

from . import (
    axis as axis,
)
from . import (
    cntk_py as cntk_py,
)
from . import (
    core as core,
)
from . import (
    device as device,
)
from . import (
    eval as eval,
)
from . import (
    initializer as initializer,
)
from . import (
    io as io,
)
from . import (
    layers as layers,
)
from . import (
    learners as learners,
)
from . import (
    logging as logging,
)
from . import (
    losses as losses,
)
from . import (
    metrics as metrics,
)
from . import (
    ops as ops,
)
from . import (
    train as train,
)
from . import (
    variables as variables,
)
from .axis import Axis
from .core import Value
from .default_options import default_options, default_options_for, default_override_or, get_default_override
from .device import all_devices, cpu, gpu, try_set_default_device, use_default_device
from .eval import Evaluator
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
from .learners import *  # noqa: F403
from .losses import *  # noqa: F403
from .metrics import *  # noqa: F403
from .ops import *  # noqa: F403
from .ops import sequence as sequence
from .ops.functions import BlockFunction, CloneMethod, Function, ModelFormat, load_model
from .train import *  # noqa: F403
from .variables import Constant, Parameter, Record, Variable

__all__ = [
    "Axis",
    "BlockFunction",
    "CloneMethod",
    "Constant",
    "Evaluator",
    "Function",
    "ModelFormat",
    "Parameter",
    "Record",
    "Value",
    "Variable",
    "all_devices",
    "cpu",
    "default_options",
    "default_options_for",
    "default_override_or",
    "get_default_override",
    "glorot_normal",
    "glorot_uniform",
    "gpu",
    "he_normal",
    "he_uniform",
    "initializer_with_rank",
    "load_model",
    "normal",
    "truncated_normal",
    "try_set_default_device",
    "uniform",
    "use_default_device",
    "xavier",
]
__all__ += [*learners.__all__, *ops.__all__, *train.__all__, *losses.__all__, *metrics.__all__]

__getattr__ = module_getattr("cntk")
