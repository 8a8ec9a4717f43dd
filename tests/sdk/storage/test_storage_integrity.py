"""Checked uploads and downloads: MD5, CRC64, structured bodies, by azure-storage-blob 12.31 and by hand."""

import base64
import hashlib
import io
import os
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.storage.blob import BlobServiceClient, ContainerClient, generate_container_sas

from openbatchai.dataplane.crc64 import crc64, to_base64
from openbatchai.dataplane.structured import Encoder

MIB = 1 << 20


@pytest.fixture
def container(server, fresh_name) -> ContainerClient:
    with BlobServiceClient.from_connection_string(
        server.connection_string, max_single_put_size=2 * MIB, max_block_size=MIB, max_single_get_size=3 * MIB
    ) as service:
        yield service.create_container(fresh_name)


@pytest.fixture
def ask(server, container):
    """A request about a blob with a SAS; the answer."""
    token = generate_container_sas(
        server.account,
        container.container_name,
        account_key=server.key,
        permission="racwd",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    with requests.Session() as session:
        session.trust_env = False

        def send(method: str, name: str, body: bytes = b"", **headers: str) -> requests.Response:
            sent = {key.replace("_", "-"): value for key, value in headers.items()}
            url = f"{server.url('blob', container.container_name)}/{name}"
            name, _, query = url.partition("?")
            return session.request(
                method,
                f"{name}?{query}{'&' if query else ''}{token}",
                data=body,
                headers={"x-ms-version": "2026-10-06", **sent},
            )

        yield send


@pytest.mark.parametrize("option", ["auto", "crc64", "md5", True])
@pytest.mark.parametrize("size", [0, 1000, 5 * MIB + 7])
def test_the_sdk_checks_what_it_sends_and_gets(container, option, size):
    content = os.urandom(size)
    blob = container.get_blob_client("b")
    blob.upload_blob(content, validate_content=option)
    assert blob.download_blob(validate_content=option).readall() == content
    blob.upload_blob(io.BytesIO(content), validate_content=option, overwrite=True)
    assert blob.download_blob(validate_content=option, max_concurrency=2).readall() == content
    assert blob.get_blob_properties().size == size
    if size > 10:
        assert blob.download_blob(offset=3, length=5, validate_content=option).readall() == content[3:8]


@pytest.mark.parametrize("option", ["crc64", "md5"])
def test_the_sdk_checks_blocks_and_appends(container, option):
    blob = container.get_blob_client("blocks")
    blob.stage_block("1", b"abc", validate_content=option)
    blob.stage_block("2", io.BytesIO(b"def"), length=3, validate_content=option)
    blob.commit_block_list(["1", "2"], validate_content=option)
    assert blob.download_blob().readall() == b"abcdef"
    log = container.get_blob_client("log")
    log.create_append_blob()
    log.append_block(b"one\n", validate_content=option)
    log.append_block(io.BytesIO(b"two\n"), length=4, validate_content=option)
    assert log.download_blob(validate_content=option).readall() == b"one\ntwo\n"


def test_a_wrong_crc64_stores_nothing(ask):
    put = {"x_ms_blob_type": "BlockBlob"}
    right, wrong = to_base64(crc64(b"abc")), to_base64(crc64(b"abd"))
    refused = ask("PUT", "b", b"abc", x_ms_content_crc64=wrong, **put)
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (400, "Crc64Mismatch")
    assert ask("HEAD", "b").status_code == 404
    taken = ask("PUT", "b", b"abc", x_ms_content_crc64=right, **put)
    assert (taken.status_code, taken.headers["x-ms-content-crc64"]) == (201, right)
    both = ask("PUT", "b", b"abc", x_ms_content_crc64=right, Content_MD5=md5(b"abc"), **put)
    assert (both.status_code, both.headers["x-ms-error-code"]) == (400, "BothCrc64AndMd5HeaderPresent")
    malformed = ask("PUT", "b", b"abc", x_ms_content_crc64="AAAA", **put)
    assert (malformed.status_code, malformed.headers["x-ms-error-code"]) == (400, "InvalidHeaderValue")
    listed = ask("PUT", "c?comp=blocklist", b"<BlockList />", x_ms_content_crc64=wrong)
    assert listed.headers["x-ms-error-code"] == "Crc64Mismatch"
    block = ask("PUT", "c?comp=block&blockid=MDE=", b"abc", x_ms_content_crc64=wrong)
    assert block.headers["x-ms-error-code"] == "Crc64Mismatch"


def test_a_damaged_structured_body_stores_nothing(ask):
    structured = {
        "x_ms_blob_type": "BlockBlob",
        "x_ms_structured_body": "XSM/1.0; properties=crc64",
        "x_ms_structured_content_length": "3",
    }
    message = Encoder(3).feed(b"abc")
    damaged = message.replace(b"abc", b"abd")
    refused = ask("PUT", "b", damaged, **structured)
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (400, "Crc64Mismatch")
    assert ask("PUT", "b", message[:-1], **structured).status_code == 400
    assert ask("HEAD", "b").status_code == 404
    taken = ask("PUT", "b", message, **structured)
    assert (taken.status_code, taken.headers["x-ms-structured-body"]) == (201, "XSM/1.0; properties=crc64")
    assert ask("GET", "b").content == b"abc"


def test_sums_of_ranges(ask):
    content = os.urandom(100)
    ask("PUT", "b", content, x_ms_blob_type="BlockBlob")
    part = content[10:31]
    told = ask("GET", "b", x_ms_range="bytes=10-30", x_ms_range_get_content_crc64="true")
    assert (told.content, told.headers["x-ms-content-crc64"]) == (part, to_base64(crc64(part)))
    told = ask("GET", "b", x_ms_range="bytes=10-30", x_ms_range_get_content_md5="true")
    assert (told.headers["Content-MD5"], told.headers["x-ms-blob-content-md5"]) == (md5(part), md5(content))
    both = {"x_ms_range_get_content_md5": "true", "x_ms_range_get_content_crc64": "true"}
    assert ask("GET", "b", x_ms_range="bytes=10-30", **both).status_code == 400


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
