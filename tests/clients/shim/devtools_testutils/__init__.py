"""What the Azure SDK's own test suites import under this name, for live runs against one service of ours.

Microsoft keeps a package of this name in the SDK's repository and publishes it nowhere; the suites inside the
source distributions import it. This one is written from the names and calls the suites use: nothing is
recorded, every answer comes from the service that the environment names, and sanitizers do nothing.
"""

import functools
import inspect
import os

import pytest

from .cases import AzureRecordedTestCase
from .fake_credentials import FakeTokenCredential


def is_live():
    return True


class ResponseCallback:
    """Replaces the status of answers, so that a client sees a fault."""

    def __init__(self, status=None, new_status=None):
        self.status = status
        self.new_status = new_status
        self.first = True
        self.count = 0

    def override_first_status(self, response):
        if self.first and response.http_response.status_code == self.status:
            response.http_response.status_code = self.new_status
            self.first = False
        self.count += 1

    def override_status(self, response):
        if response.http_response.status_code == self.status:
            response.http_response.status_code = self.new_status
        self.count += 1


class RetryCounter:
    def __init__(self):
        self.count = 0

    def simple_count(self, retry_context):
        self.count += 1


class Secret(str):
    """A value that the tests read as `.secret`."""

    @property
    def secret(self):
        return str(self)


class EnvironmentVariableOptions:
    def __init__(self, *, hide_secrets=None):
        self.hide_secrets = hide_secrets or []


class EnvironmentVariableLoader:
    """A decorator that hands a test the values of the environment variables of the names it lists."""

    def __init__(self, directory, *, options=None, **names):
        self._names = list(names)
        self._secrets = options.hide_secrets if options else []

    def _values(self, test):
        """Those of the values that the test takes."""
        parameters = inspect.signature(test).parameters
        takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        names = [name for name in self._names if takes_all or name in parameters]
        return {name: self._value(name) for name in names}

    def _value(self, name):
        value = os.environ[name.upper()]
        return Secret(value) if name in self._secrets else value

    def __call__(self, test):
        if inspect.iscoroutinefunction(test):

            @functools.wraps(test)
            async def prepared(*arguments, **named):
                await test(*arguments, **named, **self._values(test))
        else:

            @functools.wraps(test)
            def prepared(*arguments, **named):
                test(*arguments, **named, **self._values(test))

        return prepared


def recorded_by_proxy(test):
    @functools.wraps(test)
    def live(*arguments, **named):
        test(*arguments, **named)

    return live


@pytest.fixture(scope="session")
def test_proxy():
    return None


def _nothing(*arguments, **named):
    """Recordings are not made, so nothing has to be taken out of them."""


add_body_regex_sanitizer = _nothing
add_general_regex_sanitizer = _nothing
add_header_regex_sanitizer = _nothing
add_oauth_response_sanitizer = _nothing
add_remove_header_sanitizer = _nothing
add_uri_regex_sanitizer = _nothing
add_uri_string_sanitizer = _nothing
set_custom_default_matcher = _nothing

__all__ = [
    "AzureRecordedTestCase",
    "EnvironmentVariableLoader",
    "EnvironmentVariableOptions",
    "FakeTokenCredential",
    "ResponseCallback",
    "RetryCounter",
    "is_live",
    "recorded_by_proxy",
    "test_proxy",
]
