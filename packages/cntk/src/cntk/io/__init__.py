"""Readers: files and arrays to minibatches."""

from ..core import Value
from ..internal.missing import module_getattr
from . import transforms as transforms
from .datasets import CTFDeserializer
from .images import Base64ImageDeserializer, ImageDeserializer
from .memory import MinibatchSourceFromData, UserMinibatchSource
from .source import (
    DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS,
    FULL_DATA_SWEEP,
    INFINITELY_REPEAT,
    MinibatchSource,
)
from .streams import MinibatchData, StreamConfiguration, StreamDef, StreamDefs, StreamInformation
from .text import sequence_to_cntk_text_format
from .user import UserDeserializer

__all__ = [
    "DEFAULT_RANDOMIZATION_WINDOW_IN_CHUNKS", "FULL_DATA_SWEEP", "INFINITELY_REPEAT",
    "Base64ImageDeserializer", "CTFDeserializer", "ImageDeserializer",
    "MinibatchData", "MinibatchSource", "MinibatchSourceFromData", "StreamConfiguration", "StreamDef",
    "StreamDefs",
    "StreamInformation", "UserDeserializer", "UserMinibatchSource",
    "Value", "sequence_to_cntk_text_format",
]  # fmt: skip

__getattr__ = module_getattr("cntk.io")
