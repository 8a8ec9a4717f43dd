"""Copies into files, by azure-storage-file-share 12.27 and requests."""

import os
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobServiceClient
from azure.storage.fileshare import (
    ContentSettings,
    ShareClient,
    ShareFileClient,
    ShareServiceClient,
    generate_file_sas,
    generate_share_sas,
)

MIB = 1 << 20
SDDL = "O:SYG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)"
EARLY = datetime(2019, 3, 4, 5, 6, 7, 891234)  # noqa: DTZ001 - as the SDK takes them


@pytest.fixture
def share(server, fresh_name) -> ShareClient:
    with ShareServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_share(fresh_name)


@pytest.fixture
def source(share):
    share.create_directory("from")
    file = share.get_file_client("from/source.bin")
    file.upload_file(
        os.urandom(5 * MIB + 3),
        metadata={"of": "source"},
        content_settings=ContentSettings(content_type="text/x", content_md5=bytearray(16)),
        file_attributes="Hidden|System",
        file_permission=SDDL,
    )
    file.set_http_headers(
        ContentSettings(content_type="text/x"), file_creation_time=EARLY, file_last_write_time=EARLY
    )
    return file


def test_a_copy_has_the_bytes_and_properties_of_its_source(server, share, source):
    target = share.get_file_client("copy.bin")
    answer = target.start_copy_from_url(source.url)
    assert answer["copy_status"] == "success"
    found = target.get_file_properties()
    assert target.download_file().readall() == source.download_file().readall()
    assert found.metadata == {"of": "source"}
    assert found.content_settings.content_type == "text/x"
    assert (found.copy.id, found.copy.status) == (answer["copy_id"], "success")
    assert found.copy.source == source.url
    assert found.copy.progress == f"{found.size}/{found.size}"
    # Not those that only a mode takes along.
    assert found.file_attributes == "Archive"
    assert found.last_write_time > EARLY.replace(tzinfo=UTC)
    assert found.permission_key != source.get_file_properties().permission_key
    with pytest.raises(ResourceExistsError) as pending:
        target.abort_copy(answer["copy_id"])
    assert pending.value.error_code == "NoPendingCopyOperation"


def test_a_copy_takes_smb_properties_of_its_source_when_asked(share, source):
    target = share.get_file_client("copy.bin")
    target.start_copy_from_url(
        source.url,
        metadata={"own": "1"},
        file_permission="source",
        file_attributes="source",
        file_creation_time="source",
        file_last_write_time="source",
        file_change_time="source",
        set_archive_attribute=False,
    )
    found, original = target.get_file_properties(), source.get_file_properties()
    for name in (
        "file_attributes", "creation_time", "last_write_time", "change_time", "permission_key",
    ):  # fmt: skip
        assert found[name] == original[name], name
    assert found.metadata == {"own": "1"}
    target.start_copy_from_url(
        source.url, file_attributes="Temporary", file_creation_time=EARLY, file_permission=SDDL
    )
    found = target.get_file_properties()
    assert found.file_attributes == "Archive | Temporary"
    assert found.creation_time == EARLY.replace(tzinfo=UTC)
    assert found.permission_key == original.permission_key


def test_read_only_and_leased_targets(share, source):
    target = share.get_file_client("t")
    target.create_file(1, file_attributes="ReadOnly")
    with pytest.raises(ResourceExistsError) as refused:
        target.start_copy_from_url(source.url)
    assert refused.value.error_code == "ReadOnlyAttribute"
    target.start_copy_from_url(source.url, ignore_read_only=True)
    lease = target.acquire_lease()
    for wrong in ({}, {"lease": str(uuid.uuid4())}):
        with pytest.raises(HttpResponseError) as locked:
            target.start_copy_from_url(source.url, **wrong)
        assert locked.value.status_code == 412
    target.start_copy_from_url(source.url, lease=lease)
    assert target.get_file_properties().lease.state == "leased"


def test_copies_of_blobs_and_into_blobs(server, share, source, fresh_name):
    with BlobServiceClient.from_connection_string(server.connection_string) as blobs:
        container = blobs.create_container(fresh_name)
        blob = container.upload_blob("b", b"of a blob", metadata={"m": "1"})
        file = share.get_file_client("f")
        file.start_copy_from_url(blob.url)
        assert file.download_file().readall() == b"of a blob"
        assert file.get_file_properties().metadata == {"m": "1"}
        back = container.get_blob_client("back")
        back.start_copy_from_url(source.url)
        assert back.download_blob().readall() == source.download_file().readall()


def test_copies_of_snapshots(share, source, server):
    old = source.download_file().readall()
    taken = share.create_snapshot()["snapshot"]
    source.upload_file(b"new")
    client = ShareFileClient.from_connection_string(
        server.connection_string, share.share_name, "from/source.bin", snapshot=taken
    )
    target = share.get_file_client("t")
    target.start_copy_from_url(client.url)
    assert target.download_file().readall() == old


def test_a_source_of_another_account_needs_its_token(server, share, source):
    other, key = "otheraccount", server.key
    server.ring.accounts[other] = (key, key)
    server.storage.create_account(other)
    url = server.url("file").replace(server.account, other)
    service = ShareServiceClient(url, credential={"account_name": other, "account_key": key})
    target = service.create_share("target").get_file_client("t")
    with pytest.raises(HttpResponseError) as refused:
        target.start_copy_from_url(source.url)
    assert refused.value.status_code in (401, 403, 404)
    token = generate_file_sas(
        server.account, share.share_name, ["from", "source.bin"], key, permission="r",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    target.start_copy_from_url(f"{source.url}?{token}")
    assert target.download_file().readall() == source.download_file().readall()
    assert "sig=" not in target.get_file_properties().copy.source


@pytest.mark.parametrize("missing", ["from/none", "none/none"])
def test_copies_that_cannot_be(share, source, missing):
    target = share.get_file_client("t")
    with pytest.raises(HttpResponseError) as refused:
        target.start_copy_from_url(share.get_file_client(missing).url)
    assert (refused.value.status_code, refused.value.error_code) == (404, "CannotVerifyCopySource")
    with pytest.raises(HttpResponseError) as parent:
        share.get_file_client("none/t").start_copy_from_url(source.url)
    assert parent.value.error_code == "ParentNotFound"
    with pytest.raises(HttpResponseError) as directory:
        share.get_file_client("from").start_copy_from_url(source.url)
    assert directory.value.error_code == "ResourceTypeMismatch"
    assert not target.exists()


def test_a_sparse_source_stays_sparse(server, share):
    source, target = share.get_file_client("s"), share.get_file_client("t")
    source.create_file(1 << 30)
    source.upload_range(b"x" * 4096, 1 << 29, 4096)
    target.start_copy_from_url(source.url)
    assert [entry["start"] for entry in target.get_ranges()] == [1 << 29]
    found = (server.directory("file", share.share_name) / "t").stat()
    assert (found.st_size, found.st_blocks * 512 < MIB) == (1 << 30, True)


def test_ranges_come_from_a_source(server, share, source):
    target = share.get_file_client("t")
    target.create_file(MIB, file_last_write_time=EARLY)
    content = source.download_file().readall()
    token = generate_share_sas(
        server.account, share.share_name, server.key, permission="r",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    with pytest.raises(HttpResponseError) as unauthorised:
        target.upload_range_from_url(source.url, offset=0, length=512, source_offset=0)
    told = unauthorised.value.response.headers
    assert told["x-ms-copy-source-status-code"] == "401"
    assert told["x-ms-copy-source-error-code"] == "NoAuthenticationInformation"
    url = f"{source.url}?{token}"
    target.upload_range_from_url(
        url, offset=512, length=4096, source_offset=100, file_last_write_mode="preserve"
    )
    data = target.download_file().readall()
    assert data[512:4608] == content[100:4196]
    assert data[:512] == bytes(512)
    assert target.get_file_properties().last_write_time == EARLY.replace(tzinfo=UTC)
    for offset, length, source_offset, status in (
        (MIB - 1, 4096, 0, 416),
        (0, 4096, len(content) - 5, 400),
        (0, 5 * MIB, 0, 413),
    ):
        with pytest.raises(HttpResponseError) as refused:
            target.upload_range_from_url(url, offset=offset, length=length, source_offset=source_offset)
        assert refused.value.status_code == status
    assert target.download_file().readall() == data


def test_a_range_with_a_wrong_sum_writes_nothing(server, share, source):
    target = share.get_file_client("t")
    target.create_file(16)
    token = generate_share_sas(
        server.account, share.share_name, server.key, permission="rw",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    zeros = "AAAAAAAAAAA="
    with requests.Session() as session:
        session.trust_env = False
        for name, code in (
            ("x-ms-source-content-crc64", "Crc64Mismatch"),
            ("x-ms-source-if-match-crc64", "SourceConditionNotMet"),
        ):
            answer = session.put(
                f"{server.url('file', f'{share.share_name}/t')}?comp=range&{token}",
                headers={
                    "x-ms-version": "2024-11-04",
                    "x-ms-write": "update",
                    "x-ms-range": "bytes=0-15",
                    "x-ms-source-range": "bytes=0-15",
                    "x-ms-copy-source": f"{source.url}?{token}",
                    name: zeros,
                },
            )
            assert answer.headers["x-ms-error-code"] == code
    assert target.download_file().readall() == bytes(16)


def test_permission_to_create_does_not_overwrite(server, share, source):
    share.get_file_client("t").upload_file(b"kept")
    token = generate_share_sas(
        server.account, share.share_name, server.key, permission="rc",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    client = ShareFileClient(server.url("file"), share.share_name, "t", credential=token)
    with pytest.raises(ResourceExistsError):
        client.start_copy_from_url(f"{source.url}?{token}")
    assert share.get_file_client("t").download_file().readall() == b"kept"
