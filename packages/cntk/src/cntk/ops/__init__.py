"""The operations: each builds one node (or one block) of the graph."""

from __future__ import annotations

from ..internal.missing import module_getattr
from ..internal.uids import AUTO_SEED as SentinelValueForAutoSelectRandomSeed
from . import elementwise, graph_ops, normalization, products, reductions, shapes, windows
from .base import CloneMethod, Function, ModelFormat
from .construction import constant, input, input_variable, output_variable, parameter, placeholder
from .elementwise import *  # noqa: F403
from .functions import BlockFunction, load_model
from .graph_ops import *  # noqa: F403
from .normalization import *  # noqa: F403
from .products import *  # noqa: F403
from .reductions import *  # noqa: F403
from .shapes import *  # noqa: F403
from .windows import *  # noqa: F403

from . import sequence  # isort: skip

__all__ = [
    "BlockFunction",
    "CloneMethod",
    "Function",
    "ModelFormat",
    "SentinelValueForAutoSelectRandomSeed",
    "constant",
    "input",
    "input_variable",
    "load_model",
    "output_variable",
    "parameter",
    "placeholder",
    "sequence",
]
__all__ += elementwise.__all__
__all__ += graph_ops.__all__
__all__ += normalization.__all__
__all__ += products.__all__
__all__ += reductions.__all__
__all__ += shapes.__all__
__all__ += windows.__all__

__getattr__ = module_getattr("cntk.ops")
