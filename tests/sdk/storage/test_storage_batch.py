"""Batches of deletes and tier changes, by azure-storage-blob 12.31 and by hand."""

import email
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    AccountSasPermissions,
    BlobServiceClient,
    ContainerClient,
    PartialBatchErrorException,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)


@pytest.fixture
def container(server, fresh_name) -> ContainerClient:
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_container(fresh_name)


def names(container) -> list[str]:
    return [each.name for each in container.list_blobs()]


def test_delete_many_by_key_and_by_token(server, container):
    odd = ["a b", "d/e f.txt", "é%", "plus+"]
    for name in [*odd, "kept"]:
        container.upload_blob(name, b"x")
    answers = list(container.delete_blobs(*odd[:2]))
    assert [answer.status_code for answer in answers] == [202, 202]
    assert all(answer.headers["x-ms-delete-type-permanent"] == "true" for answer in answers)
    assert names(container) == ["kept", "plus+", "é%"]
    token = generate_container_sas(
        server.account,
        container.container_name,
        account_key=server.key,
        permission="d",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    with ContainerClient.from_container_url(f"{container.url}?{token}") as by_token:
        by_token.delete_blobs(*odd[2:])
    assert names(container) == ["kept"]


def test_failures_are_told_part_by_part(container):
    container.upload_blob("a", b"x")
    container.upload_blob("b", b"x")
    with pytest.raises(PartialBatchErrorException) as partial:
        container.delete_blobs("a", "none", "b")
    assert [part.status_code for part in partial.value.parts] == [202, 404, 202]
    assert partial.value.parts[1].headers["x-ms-error-code"] == "BlobNotFound"
    assert names(container) == []
    container.upload_blob("c", b"x")
    answers = list(container.delete_blobs({"name": "c", "etag": "0x1"}, raise_on_any_failure=False))
    assert [(answer.status_code, answer.headers["x-ms-error-code"]) for answer in answers] == [
        (412, "ConditionNotMet")
    ]


def test_tiers_of_many(container):
    for name in ("a", "b"):
        container.upload_blob(name, b"x")
    container.set_standard_blob_tier_blobs("Cool", "a", "b")
    assert [each.blob_tier for each in container.list_blobs()] == ["Cool", "Cool"]


def test_as_many_as_the_service_takes(container):
    many = [f"{number:03}" for number in range(257)]
    with pytest.raises(HttpResponseError) as refused:
        container.delete_blobs(*many)
    assert refused.value.error_code == "ExceedsMaxBatchRequestCount"
    answers = list(container.delete_blobs(*many[:256], raise_on_any_failure=False))
    assert [answer.status_code for answer in answers] == [404] * 256


def batch(*requests_: str, boundary: str = "b-1") -> bytes:
    parts = (
        f"--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
        f"Content-ID: {number}\r\n\r\n{text}\r\n"
        for number, text in enumerate(requests_)
    )
    return "".join([*parts, f"--{boundary}--\r\n"]).encode()


def test_every_part_needs_credentials_of_its_own(server, container):
    """That a batch may be sent opens nothing: parts with none, with another blob's, with too little."""
    for name in ("a", "b", "c"):
        container.upload_blob(name, b"x")
    expiry = datetime.now(UTC) + timedelta(hours=1)
    place = f"/{server.account}/{container.container_name}"

    def token(name: str, permission: str) -> str:
        return generate_blob_sas(
            server.account,
            container.container_name,
            name,
            account_key=server.key,
            permission=permission,
            expiry=expiry,
        )

    whole = generate_container_sas(
        server.account, container.container_name, account_key=server.key, permission="rwdl", expiry=expiry
    )
    body = batch(
        f"DELETE {place}/a HTTP/1.1\r\nContent-Length: 0\r\n",
        f"DELETE {place}/a?{token('b', 'd')} HTTP/1.1\r\n\r\n",
        f"DELETE {place}/a?{token('a', 'r')} HTTP/1.1\r\n\r\n",
        f"GET {place}/a?{token('a', 'r')} HTTP/1.1\r\n\r\n",
        f"PUT {place}/a?comp=metadata&{whole} HTTP/1.1\r\n\r\n",
        f"DELETE {place}?restype=container&{whole} HTTP/1.1\r\n\r\n",
        f"DELETE /{server.account}/other/a?{whole} HTTP/1.1\r\n\r\n",
        f"DELETE {place}/c?{token('c', 'd')} HTTP/1.1\r\n\r\n",
    )
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{container.url}?restype=container&comp=batch&{whole}",
            data=body,
            headers={"Content-Type": "multipart/mixed; boundary=b-1", "x-ms-version": "2020-10-02"},
        )
    assert answer.status_code == 202
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + answer.content).get_payload()
    lines = [part.get_payload().splitlines()[0] for part in parts]
    assert [part["Content-ID"] for part in parts] == [str(number) for number in range(8)]
    statuses = [int(line.split()[1]) for line in lines]
    assert statuses[0] in (401, 403, 404)
    assert statuses[1:3] == [403, 403]
    assert statuses[3:5] == [400, 400]
    assert statuses[5] in (400, 403)
    assert statuses[6] == 400
    assert lines[7] == "HTTP/1.1 202 Accepted"
    assert names(container) == ["a", "b"]


def test_nobody_sends_a_batch_without_credentials(container):
    container.set_container_access_policy({}, public_access="container")
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{container.url}?restype=container&comp=batch",
            data=batch(f"DELETE /{container.container_name}/a HTTP/1.1\r\n"),
            headers={"Content-Type": "multipart/mixed; boundary=b-1", "x-ms-version": "2020-10-02"},
        )
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (401, "NoAuthenticationInformation")


def test_a_batch_deletes_no_container(server, container):
    token = generate_account_sas(
        server.account,
        account_key=server.key,
        resource_types=ResourceTypes(container=True, object=True),
        permission=AccountSasPermissions(delete=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    place = f"/{server.account}/{container.container_name}"
    body = batch(
        f"DELETE {place}?restype=container&{token} HTTP/1.1\r\n",
        f"DELETE {place}/?Restype=Container&{token} HTTP/1.1\r\n",
    )
    with requests.Session() as session:
        session.trust_env = False
        for url in (f"{server.url('blob')}?comp=batch", f"{container.url}?restype=container&comp=batch"):
            answer = session.post(
                f"{url}&{token}", data=body, headers={"Content-Type": "multipart/mixed; boundary=b-1"}
            )
            assert answer.text.count("HTTP/1.1 400") == 2
    assert container.exists()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", batch("DELETE /c/b HTTP/1.1")),
        ("multipart/mixed", batch("DELETE /c/b HTTP/1.1")),
        ("multipart/mixed; boundary=b-1", b""),
        ("multipart/mixed; boundary=b-1", b"--b-1--\r\n"),
        ("multipart/mixed; boundary=b-1", batch("DELETE /c/b HTTP/1.1")[:-10]),
        ("multipart/mixed; boundary=b-1", batch("nonsense")),
        ("multipart/mixed; boundary=b-1", b"--b-1\r\n\r\nDELETE /c/b HTTP/1.1\r\n\r\n--b-1--\r\n"),
    ],
)
def test_what_is_no_batch_is_a_client_error(server, container, content_type, body):
    token = generate_container_sas(
        server.account,
        container.container_name,
        account_key=server.key,
        permission="d",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    with requests.Session() as session:
        session.trust_env = False
        url = f"{container.url}?restype=container&comp=batch&{token}"
        answer = session.post(url, data=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, "InvalidInput")


def test_a_batch_for_the_account_of_a_path_as_for_a_container(server, container):
    """As the SDK for JavaScript sends it to a URL with the account in its path."""
    container.upload_blob("gone", b"x")
    container.upload_blob("kept", b"x")
    token = generate_account_sas(
        server.account,
        server.key,
        resource_types=ResourceTypes(object=True, container=True, service=True),
        permission=AccountSasPermissions(delete=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    part = (
        "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: 0\r\n\r\n"
        f"DELETE /{server.account}/{container.container_name}/gone?{token} HTTP/1.1\r\n"
        "Content-Length: 0\r\n\r\n"
        "--b--\r\n"
    )
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{server.url('blob')}?restype=container&comp=batch&{token}",
            data=part.encode(),
            headers={"Content-Type": "multipart/mixed; boundary=b", "x-ms-version": "2021-12-02"},
        )
    assert answer.status_code == 202
    assert "HTTP/1.1 202" in answer.text
    assert names(container) == ["kept"]
