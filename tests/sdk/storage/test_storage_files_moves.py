"""Renaming files and directories of a share, by azure-storage-file-share 12.27."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.fileshare import (
    ContentSettings,
    ShareClient,
    ShareFileClient,
    ShareServiceClient,
    generate_share_sas,
)


@pytest.fixture
def share(server, fresh_name) -> ShareClient:
    with ShareServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_share(fresh_name)


def put(share, path, content=b"content", **settings):
    file = share.get_file_client(path)
    file.upload_file(content, **settings)
    return file


def test_a_renamed_file_keeps_its_bytes_and_everything_said_of_it(server, share):
    share.create_directory("d")
    file = put(
        share,
        "a.txt",
        metadata={"k": "v"},
        content_settings=ContentSettings(content_type="text/x"),
        file_attributes="Hidden",
    )
    before = file.get_file_properties()
    renamed = file.rename_file("d/b.txt")
    found = renamed.get_file_properties()
    assert renamed.download_file().readall() == b"content"
    assert found.metadata == {"k": "v"}
    assert found.content_settings.content_type == "text/x"
    for name in ("file_attributes", "creation_time", "last_write_time", "file_id"):
        assert found[name] == before[name]
    assert found.parent_id != before.parent_id
    with pytest.raises(ResourceNotFoundError):
        file.get_file_properties()
    assert (server.directory("file", share.share_name) / "d/b.txt").read_bytes() == b"content"


def test_rename_can_change_properties(share):
    renamed = put(share, "a", metadata={"k": "v"}).rename_file(
        "b", metadata={"new": "1"}, content_type="text/y", file_attributes="ReadOnly"
    )
    found = renamed.get_file_properties()
    assert (found.metadata, found.content_settings.content_type) == ({"new": "1"}, "text/y")
    assert found.file_attributes == "ReadOnly"


def test_what_is_there_is_replaced_only_when_asked(share):
    file, other = put(share, "a", b"new"), put(share, "b", b"old", metadata={"of": "b"})
    with pytest.raises(ResourceExistsError) as refused:
        file.rename_file("B")
    assert refused.value.error_code == "ResourceAlreadyExists"
    assert other.download_file().readall() == b"old"
    file.rename_file("b", overwrite=True)
    assert other.download_file().readall() == b"new"
    assert other.get_file_properties().metadata == {}
    share.create_directory("dir")
    with pytest.raises(ResourceExistsError) as directory:
        other.rename_file("dir", overwrite=True)
    assert directory.value.error_code == "ResourceTypeMismatch"


def test_a_directory_takes_the_place_of_a_file_when_asked(server, share):
    share.create_directory("d", metadata={"of": "d"}).upload_file("f", b"below")
    put(share, "x", metadata={"of": "x"})
    share.get_directory_client("d").rename_directory("x", overwrite=True)
    assert share.get_directory_client("x").get_directory_properties().metadata == {"of": "d"}
    assert share.get_file_client("x/f").download_file().readall() == b"below"
    assert [entry.name for entry in server.directory("file", share.share_name).iterdir()] == ["x"]


def test_a_read_only_file_is_replaced_only_when_asked(share):
    file, other = put(share, "a", b"new"), put(share, "b", b"old")
    other.set_http_headers(ContentSettings(), file_attributes="ReadOnly")
    with pytest.raises(ResourceExistsError) as refused:
        file.rename_file("b", overwrite=True)
    assert refused.value.error_code == "ReadOnlyAttribute"
    file.rename_file("b", overwrite=True, ignore_read_only=True)
    assert other.download_file().readall() == b"new"


def test_leases_of_both_ends_are_needed(share):
    file, other = put(share, "a"), put(share, "b")
    source, target = file.acquire_lease(), other.acquire_lease()
    with pytest.raises(HttpResponseError) as missing:
        file.rename_file("b", overwrite=True, destination_lease=target)
    assert missing.value.error_code == "LeaseIdMissing"
    with pytest.raises(HttpResponseError) as wrong:
        file.rename_file("b", overwrite=True, source_lease=source, destination_lease=str(uuid.uuid4()))
    assert wrong.value.error_code == "LeaseIdMismatchWithFileOperation"
    file.rename_file("b", overwrite=True, source_lease=source, destination_lease=target)
    assert other.get_file_properties().lease.state == "leased"
    other.delete_file(lease=source)


def test_letter_case_can_be_renamed(server, share):
    put(share, "readme", metadata={"k": "v"}).rename_file("README")
    assert [entry.name for entry in server.directory("file", share.share_name).iterdir()] == ["README"]
    assert share.get_file_client("readme").get_file_properties().metadata == {"k": "v"}


def test_a_renamed_directory_takes_all_below_it_along(server, share):
    for path in ("d", "d/sub", "d2"):
        share.create_directory(path, metadata={"path": path})
    for path in ("d/f", "d/sub/g", "d2/h"):
        put(share, path, path.encode(), metadata={"path": path})
    moved = share.get_directory_client("d").rename_directory("e")
    assert moved.get_directory_properties().metadata == {"path": "d"}
    for path in ("f", "sub/g"):
        file = share.get_file_client(f"e/{path}")
        assert file.download_file().readall() == f"d/{path}".encode()
        assert file.get_file_properties().metadata == {"path": f"d/{path}"}
    assert share.get_directory_client("e/sub").get_directory_properties().metadata == {"path": "d/sub"}
    assert share.get_file_client("d2/h").get_file_properties().metadata == {"path": "d2/h"}
    assert not share.get_directory_client("d").exists()
    share.create_directory("d")
    assert share.get_directory_client("d").get_directory_properties().metadata == {}


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        ("missing", "x", "ResourceNotFound"),
        ("f", "missing/x", "ParentNotFound"),
        ("d", "d/x", "InvalidInput"),
        ("d", "f", "ResourceAlreadyExists"),
    ],
)
def test_renames_that_cannot_be(share, source, target, code):
    share.create_directory("d")
    put(share, "f", b"kept")
    item = share.get_directory_client(source) if source == "d" else share.get_file_client(source)
    rename = item.rename_directory if source == "d" else item.rename_file
    with pytest.raises(HttpResponseError) as refused:
        rename(target)
    assert refused.value.error_code == code
    assert share.get_file_client("f").download_file().readall() == b"kept"


def test_rename_with_a_token_needs_rights_on_both(server, share):
    put(share, "a")

    def client(permission):
        token = generate_share_sas(
            server.account,
            share.share_name,
            server.key,
            permission=permission,
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        return ShareFileClient(server.url("file"), share.share_name, "a", credential=token)

    for too_little in ("r", "c", "d"):
        with pytest.raises(HttpResponseError) as refused:
            client(too_little).rename_file("b")
        assert refused.value.status_code == 403
    client("rwdc").rename_file("b")
    assert share.get_file_client("b").download_file().readall() == b"content"
