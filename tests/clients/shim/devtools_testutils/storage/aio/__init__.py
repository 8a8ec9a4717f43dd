"""The base class of the asynchronous storage suites."""

from devtools_testutils.storage import (
    GenericTestProxyParametrize1,
    GenericTestProxyParametrize2,
    LogCaptured,
)
from devtools_testutils.storage import StorageRecordedTestCase as AsyncStorageRecordedTestCase

__all__ = [
    "AsyncStorageRecordedTestCase",
    "GenericTestProxyParametrize1",
    "GenericTestProxyParametrize2",
    "LogCaptured",
]
