"""The CNTK 2.7 Python API on PyTorch.

Training scripts written for CNTK run unmodified, print what CNTK printed and save `.dnn` files that CNTK
reads.  What of CNTK's API is not here raises an error that names it; nothing is silently something else.
"""

__version__ = "2.7"  # the CNTK whose API this is; the distribution has its own version

from . import (
    _threads as _threads,
)
from . import (
    axis as axis,
)
from . import (
    cntk_py as cntk_py,
)
from . import (
    core as core,
)
from . import debugging as debugging
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
from . import random as random
from . import tensor as tensor
from . import (
    train as train,
)
from . import (
    variables as variables,
)
from .axis import Axis
from .core import DeviceKind, NDArrayView, Value, asarray, asvalue, user_function
from .default_options import (
    default_options,
    default_options_for,
    default_override_or,
    get_default_override,
    get_global_option,
    is_default_override,
    set_global_option,
)
from .device import (
    DeviceDescriptor,
    all_devices,
    cpu,
    get_gpu_properties,
    gpu,
    set_excluded_devices,
    try_set_default_device,
    use_default_device,
)
from .eval import Evaluator
from .initializer import (
    DefaultParamInitScale,
    SentinelValueForInferParamInitRank,
    bilinear,
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
from .internal.uids import AUTO_SEED as auto_select
from .io import INFINITELY_REPEAT, MinibatchData
from .learners import *  # noqa: F403
from .losses import *  # noqa: F403
from .metrics import *  # noqa: F403
from .ops import *  # noqa: F403
from .ops import sequence as sequence
from .ops.functions import BlockFunction, CloneMethod, Function, ModelFormat, load_model
from .train import *  # noqa: F403
from .variables import FREE as FreeDimension
from .variables import INFERRED as InferredDimension
from .variables import Constant, Parameter, Record, Variable

__all__ = [
    "INFINITELY_REPEAT",
    "Axis",
    "BlockFunction",
    "CloneMethod",
    "Constant",
    "DefaultParamInitScale",
    "DeviceDescriptor",
    "DeviceKind",
    "Evaluator",
    "FreeDimension",
    "Function",
    "InferredDimension",
    "MinibatchData",
    "ModelFormat",
    "NDArrayView",
    "Parameter",
    "Record",
    "SentinelValueForInferParamInitRank",
    "Value",
    "Variable",
    "all_devices",
    "asarray",
    "asvalue",
    "auto_select",
    "bilinear",
    "cpu",
    "default_options",
    "default_options_for",
    "default_override_or",
    "get_default_override",
    "get_global_option",
    "get_gpu_properties",
    "glorot_normal",
    "glorot_uniform",
    "gpu",
    "he_normal",
    "he_uniform",
    "initializer_with_rank",
    "is_default_override",
    "load_model",
    "normal",
    "set_excluded_devices",
    "set_global_option",
    "truncated_normal",
    "try_set_default_device",
    "uniform",
    "use_default_device",
    "user_function",
    "xavier",
]
__all__ += [*learners.__all__, *ops.__all__, *train.__all__, *losses.__all__, *metrics.__all__]

__getattr__ = module_getattr("cntk")
