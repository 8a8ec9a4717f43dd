"""The base class of the storage suites."""

from devtools_testutils.cases import LogCaptured
from devtools_testutils.cases import StorageCase as StorageRecordedTestCase


class GenericTestProxyParametrize1:
    """The suites put it between their parameters and the recorder; without one there is nothing to do."""

    def __call__(self, test):
        return test


class GenericTestProxyParametrize2(GenericTestProxyParametrize1):
    pass


__all__ = [
    "GenericTestProxyParametrize1",
    "GenericTestProxyParametrize2",
    "LogCaptured",
    "StorageRecordedTestCase",
]
