"""Readers: files and arrays to minibatches."""

from ..core import Value
from ..internal.missing import module_getattr
from .memory import MinibatchSourceFromData, UserMinibatchSource
from .source import (
    DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS,
    FULL_DATA_SWEEP,
    INFINITELY_REPEAT,
    CTFDeserializer,
    MinibatchSource,
)
from .streams import MinibatchData, StreamDef, StreamDefs, StreamInformation

__all__ = [
    "DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS", "FULL_DATA_SWEEP", "INFINITELY_REPEAT", "CTFDeserializer",
    "MinibatchData", "MinibatchSource", "MinibatchSourceFromData", "StreamDef", "StreamDefs",
    "StreamInformation", "UserMinibatchSource", "Value",
]  # fmt: skip

__getattr__ = module_getattr("cntk.io")
