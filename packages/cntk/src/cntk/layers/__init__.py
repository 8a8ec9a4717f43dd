"""Layers: functions with parameters of their own, to be applied to an input."""

from .blocks import identity
from .higher_order_layers import For, Sequential
from .layers import (
    Activation,
    AveragePooling,
    BatchNormalization,
    Convolution,
    Convolution1D,
    Convolution2D,
    Convolution3D,
    Dense,
    Dropout,
    MaxPooling,
)

from ..default_options import default_options, default_options_for  # isort: skip
from ..internal.missing import module_getattr  # isort: skip

__all__ = [
    "Activation",
    "AveragePooling",
    "BatchNormalization",
    "Convolution",
    "Convolution1D",
    "Convolution2D",
    "Convolution3D",
    "Dense",
    "Dropout",
    "For",
    "MaxPooling",
    "Sequential",
    "default_options",
    "default_options_for",
    "identity",
]

__getattr__ = module_getattr("cntk.layers")
