"""Leases of files and shares, by azure-storage-file-share 12.27."""

import uuid

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.fileshare import ContentSettings, ShareClient, ShareServiceClient


@pytest.fixture
def share(server, fresh_name) -> ShareClient:
    with ShareServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_share(fresh_name)


def test_a_leased_file_is_changed_with_its_lease_only(share):
    file = share.get_file_client("f")
    file.upload_file(b"1234")
    lease = file.acquire_lease()
    found = file.get_file_properties().lease
    assert (found.status, found.state, found.duration) == ("locked", "leased", "infinite")
    changes = (
        lambda **lease: file.upload_range(b"5678", 0, 4, **lease),
        lambda **lease: file.clear_range(0, 512, **lease),
        lambda **lease: file.set_file_metadata({"a": "1"}, **lease),
        lambda **lease: file.set_http_headers(ContentSettings(), **lease),
        lambda **lease: file.resize_file(512, **lease),
        lambda **lease: file.create_file(512, **lease),
        lambda **lease: file.delete_file(**lease),
    )
    file.resize_file(512, lease=lease)
    for change in changes:
        with pytest.raises(HttpResponseError) as missing:
            change()
        assert (missing.value.status_code, missing.value.error_code) == (412, "LeaseIdMissing")
        with pytest.raises(HttpResponseError) as wrong:
            change(lease=str(uuid.uuid4()))
        assert wrong.value.error_code == "LeaseIdMismatchWithFileOperation"
    for change in changes:
        change(lease=lease)


def test_reads_need_no_lease_but_compare_one(share):
    file = share.get_file_client("f")
    file.upload_file(b"1234")
    with pytest.raises(HttpResponseError) as absent:
        file.get_file_properties(lease=str(uuid.uuid4()))
    assert absent.value.error_code == "LeaseNotPresentWithFileOperation"
    lease = file.acquire_lease()
    assert file.download_file().readall() == b"1234"
    assert file.download_file(lease=lease).readall() == b"1234"
    with pytest.raises(HttpResponseError) as wrong:
        file.get_ranges(lease=str(uuid.uuid4()))
    assert wrong.value.error_code == "LeaseIdMismatchWithFileOperation"


def test_a_lease_is_changed_released_and_broken(share):
    file = share.get_file_client("f")
    file.upload_file(b"1234")
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    lease = file.acquire_lease(lease_id=first)
    assert lease.id == first
    with pytest.raises(ResourceExistsError) as present:
        file.acquire_lease()
    assert present.value.error_code == "LeaseAlreadyPresent"
    lease.change(second)
    assert lease.id == second
    lease.release()
    assert file.get_file_properties().lease.state == "available"
    etag = file.get_file_properties().etag
    lease = file.acquire_lease()
    assert lease.break_lease() == 0
    assert file.get_file_properties().lease.state == "broken"
    assert file.get_file_properties().etag == etag
    file.upload_range(b"5678", 0, 4)


def test_a_leased_share_is_deleted_with_its_lease_only(share):
    lease = share.acquire_lease(lease_duration=30)
    assert share.get_share_properties().lease.duration == "fixed"
    share.set_share_metadata({"a": "1"})
    lease.renew()
    with pytest.raises(HttpResponseError) as missing:
        share.delete_share()
    assert missing.value.error_code == "LeaseIdMissing"
    share.get_file_client("f").upload_file(b"1")
    share.delete_share(lease=lease)
