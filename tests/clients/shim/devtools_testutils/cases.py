"""The base classes of the suites."""

import hashlib
import logging
import math
import os
import random
import time
from datetime import datetime
from io import StringIO

import pytest

_ENTROPY = os.environ.get("SUITE_RUN", "")


class AzureRecordedTestCase:
    is_live = True

    def is_playback(self):
        return False

    @property
    def qualified_test_name(self):
        return os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0]

    def get_resource_name(self, name):
        """The same name whenever one test asks with the same word, another one in every other test."""
        digest = hashlib.sha256(f"{_ENTROPY}{self.qualified_test_name}".encode()).hexdigest()
        return f"{name}{digest[:8]}"

    create_random_name = get_resource_name

    def get_settings_value(self, key):
        return os.environ[f"AZURE_{key}"]

    def get_credential(self, client_class, **options):
        if options.get("is_async"):
            from azure.identity.aio import ClientSecretCredential
        else:
            from azure.identity import ClientSecretCredential
        words = [os.environ[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
        return ClientSecretCredential(*words)

    def sleep(self, seconds):
        time.sleep(seconds)

    def generate_sas(self, make, *arguments, **named):
        named.pop("fake_value", None)
        return make(*arguments, **named)


class StorageCase(AzureRecordedTestCase):
    def setup_class(self):
        self.logger = logging.getLogger("azure.storage")
        self.sas_token = a_sas_token()

    def setup_method(self, _):
        self.configure_logging()

    def configure_logging(self):
        self.enable_logging()

    def enable_logging(self):
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = True
        self.logger.disabled = False

    def connection_string(self, account_name, key):
        # The odd capitals are a part of the tests: names in a connection string have no case.
        return (
            f"DefaultEndpointsProtocol=https;AcCounTName={account_name};AccOuntKey={key!s};"
            "EndpoIntSuffix=core.windows.net"
        )

    def account_url(self, storage_account, storage_type):
        return f"https://{storage_account}.{storage_type}.core.windows.net"

    def get_random_bytes(self, size):
        return random.Random(size).randbytes(size)

    def get_random_text_data(self, size):
        # ASCII alone: the suites count characters where the service counts bytes.
        chance = random.Random(self.qualified_test_name)
        text = ""
        while len(text) < size:
            text += " " + chance.choice(("hello", "world", "python"))
        return text

    def get_datetime_variable(self, variables, name, value):
        return datetime.fromisoformat(variables.setdefault(name, value.isoformat()))

    def assertNamedItemInContainer(self, items, name, msg=None):  # noqa: N802 - the suites' own word
        if not any(name in (_name(item), getattr(item, "snapshot", None)) for item in items):
            pytest.fail(msg or f"{name!r} is not there")

    def assertNamedItemNotInContainer(self, items, name, msg=None):  # noqa: N802 - the suites' own word
        if any(name == _name(item) for item in items):
            pytest.fail(msg or f"{name!r} is there")

    def assert_upload_progress(self, size, max_chunk_size, progress, unknown_size=False):
        assert len(progress) == math.ceil(size / max_chunk_size)
        for sent, total in progress:
            assert sent % max_chunk_size in (0, size % max_chunk_size)
            assert total == (None if unknown_size else size)

    def assert_download_progress(self, size, max_chunk_size, max_get_size, progress):
        rest = size - max_get_size if size > max_get_size else 0
        assert len(progress) == 1 + math.ceil(rest / max_chunk_size)
        for received, total in progress[1:]:
            assert received % max_chunk_size in (0, rest % max_chunk_size)
            assert total == size


def _name(item):
    if isinstance(item, str):
        return item
    return item["name"] if isinstance(item, dict) else item.name


class LogCaptured:
    """What the SDK logs, as a stream of text."""

    def __init__(self, test_case=None):
        self.test_case = test_case

    def __enter__(self):
        self.test_case.enable_logging()
        self.stream = StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.logger = logging.getLogger("azure.storage")
        self.logger.addHandler(self.handler)
        return self.stream

    def __exit__(self, *error):
        self.logger.removeHandler(self.handler)
        self.stream.close()


def a_sas_token():
    """A well-formed token that opens nothing, for tests of clients that never send it."""
    from datetime import UTC, timedelta

    try:
        from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
    except ImportError:
        from azure.storage.fileshare import AccountSasPermissions, ResourceTypes, generate_account_sas
    now = datetime.now(UTC)
    return "?" + generate_account_sas(
        account_name="test",
        account_key="a" * 30 + "b" * 30,
        resource_types=ResourceTypes(object=True),
        permission=AccountSasPermissions(read=True, list=True),
        start=now - timedelta(hours=24),
        expiry=now + timedelta(days=8),
    )
