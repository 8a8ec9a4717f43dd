"""Layers: functions with parameters of their own, to be applied to an input."""

from ..axis import Axis
from ..default_options import default_options, default_options_for
from ..internal.absent import SHOWN_ELSEWHERE
from ..internal.missing import module_getattr
from ..ops.functions import BlockFunction, Function
from ..variables import Constant, Parameter, Record, Variable
from . import typing as typing
from .blocks import (
    GRU,
    LSTM,
    ForwardDeclaration,
    RNNStep,
    RNNUnit,
    Stabilizer,
    UntestedBranchError,
    identity,
)
from .higher_order_layers import (
    For,
    ResNetBlock,
    Sequential,
    SequentialClique,
)
from .layers import (
    Activation,
    AveragePooling,
    BatchNormalization,
    Convolution,
    Convolution1D,
    Convolution2D,
    Convolution3D,
    ConvolutionTranspose,
    ConvolutionTranspose1D,
    ConvolutionTranspose2D,
    ConvolutionTranspose3D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling,
    GlobalMaxPooling,
    Label,
    LayerNormalization,
    MaxPooling,
    MaxUnpooling,
    SequentialConvolution,
)
from .layers import SentinelValueForAutoSelectRandomSeed as SentinelValueForAutoSelectRandomSeed
from .models import AttentionModel
from .sequence import (
    Delay,
    Fold,
    PastValueWindow,
    Recurrence,
    RecurrenceFrom,
    UnfoldFrom,
)
from .typing import ParameterTensor, Sequence, SequenceOver, Signature, SparseTensor, Tensor, tensor

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "AttentionModel",
    "AveragePooling",
    "Axis",
    "BatchNormalization",
    "BlockFunction",
    "Constant",
    "Convolution",
    "Convolution1D",
    "Convolution2D",
    "Convolution3D",
    "ConvolutionTranspose",
    "ConvolutionTranspose1D",
    "ConvolutionTranspose2D",
    "ConvolutionTranspose3D",
    "Delay",
    "Dense",
    "Dropout",
    "Embedding",
    "Fold",
    "For",
    "ForwardDeclaration",
    "Function",
    "GlobalAveragePooling",
    "GlobalMaxPooling",
    "Label",
    "LayerNormalization",
    "MaxPooling",
    "MaxUnpooling",
    "Parameter",
    "ParameterTensor",
    "PastValueWindow",
    "RNNStep",
    "RNNUnit",
    "Record",
    "Recurrence",
    "RecurrenceFrom",
    "ResNetBlock",
    "Sequence",
    "SequenceOver",
    "Sequential",
    "SequentialClique",
    "SequentialConvolution",
    "Signature",
    "SparseTensor",
    "Stabilizer",
    "Tensor",
    "UnfoldFrom",
    "UntestedBranchError",
    "Variable",
    "default_options",
    "default_options_for",
    "identity",
    "tensor",
]  # fmt: skip

# CNTK's module shows these as well, and `from cntk.layers import *` brings them.
__all__ += [name for module, name in SHOWN_ELSEWHERE if module == "cntk.layers"]

__getattr__ = module_getattr("cntk.layers")
