"""Layers: functions with parameters of their own, to be applied to an input."""

from ..default_options import default_options as default_options
from ..default_options import default_options_for as default_options_for
from ..internal.missing import module_getattr
from . import blocks, higher_order_layers, layers, models, sequence
from .blocks import *  # noqa: F403
from .higher_order_layers import *  # noqa: F403
from .layers import *  # noqa: F403
from .models import AttentionModel
from .sequence import *  # noqa: F403

__all__ = ["AttentionModel", "default_options", "default_options_for", "models"]
__all__ += blocks.__all__
__all__ += higher_order_layers.__all__
__all__ += layers.__all__
__all__ += sequence.__all__

__getattr__ = module_getattr("cntk.layers")
