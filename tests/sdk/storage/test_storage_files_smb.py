"""SMB properties, permissions, handles and ranges of the Files service, by azure-storage-file-share 12.27."""

import os
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.fileshare import (
    ContentSettings,
    NTFSAttributes,
    ShareClient,
    ShareServiceClient,
    generate_share_sas,
)

SDDL = (
    "O:S-1-5-21-2127521184-1604012920-1887927527-21560751G:S-1-5-21-2127521184-1604012920-1887927527-513"
    "D:AI(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;S-1-5-21-397955417-626881126-188441444-3053964)"
)
EARLY = datetime(2018, 3, 4, 5, 6, 7, 891234)  # noqa: DTZ001 - as the SDK takes them


@pytest.fixture
def share(server, fresh_name) -> ShareClient:
    with ShareServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_share(fresh_name)


@pytest.fixture
def call(server, share):
    """A raw request with a SAS that allows everything, at the version given."""
    token = generate_share_sas(
        server.account,
        share.share_name,
        server.key,
        permission="rcwdl",
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )

    def send(method, path, query="", version="2024-11-04", data=None, **headers):
        url = f"{server.url('file', f'{share.share_name}/{path}')}?{query}&{token}"
        given = {"x-ms-" + name.replace("_", "-"): value for name, value in headers.items()}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, url, data=data, headers=given | {"x-ms-version": version})

    return send


def on_disk(server, share, path):
    return server.directory("file", share.share_name) / path


def test_times_attributes_and_permission_of_a_file_are_kept_and_its_write_time_is_the_mtime(server, share):
    key = share.create_permission_for_share(SDDL)
    assert share.get_permission_for_share(key) == SDDL
    file = share.get_file_client("f")
    written = EARLY + timedelta(days=1)
    file.create_file(
        10,
        file_attributes=NTFSAttributes(read_only=True, hidden=True),
        file_creation_time=EARLY,
        file_last_write_time=written,
        file_change_time=EARLY + timedelta(days=2),
        permission_key=key,
    )
    found = file.get_file_properties()
    assert found.file_attributes == "ReadOnly | Hidden | Archive"
    assert found.creation_time == EARLY.replace(tzinfo=UTC)
    assert found.last_write_time == written.replace(tzinfo=UTC)
    assert found.change_time == (EARLY + timedelta(days=2)).replace(tzinfo=UTC)
    assert found.permission_key == key
    assert found.file_id == str(on_disk(server, share, "f").stat().st_ino)
    assert found.parent_id == str(on_disk(server, share, "").stat().st_ino)
    assert datetime.fromtimestamp(on_disk(server, share, "f").stat().st_mtime, UTC) == found.last_write_time


def test_a_read_only_file_refuses_writes_until_the_attribute_is_lifted(share):
    file = share.get_file_client("f")
    file.create_file(4, file_attributes=NTFSAttributes(read_only=True))
    for change in (
        lambda: file.upload_range(b"1234", 0, 4),
        file.delete_file,
        lambda: file.resize_file(8),
        lambda: file.create_file(1),
    ):
        with pytest.raises(ResourceExistsError) as refused:
            change()
        assert refused.value.error_code == "ReadOnlyAttribute"
    file.set_http_headers(ContentSettings(), file_attributes="None")
    assert file.get_file_properties().file_attributes == "None"
    file.upload_range(b"1234", 0, 4)
    assert file.download_file().readall() == b"1234"
    file.delete_file()


def test_setting_preserves_what_is_not_named(server, share):
    file = share.get_file_client("f")
    file.create_file(1, file_creation_time=EARLY, file_last_write_time=EARLY, file_permission=SDDL)
    before = file.get_file_properties()
    file.set_http_headers(ContentSettings(content_type="text/x"), file_attributes="Temporary")
    after = file.get_file_properties()
    for name in ("creation_time", "last_write_time", "permission_key"):
        assert after[name] == before[name]
    assert after.file_attributes == "Temporary"
    assert after.change_time > before.change_time
    file.set_http_headers(ContentSettings(), file_last_write_time="now", file_creation_time="now")
    assert file.get_file_properties().last_write_time > before.last_write_time
    assert file.get_file_properties().creation_time > before.creation_time


def test_directories_have_smb_properties_and_children_inherit_the_permission(server, share):
    key = share.create_permission_for_share(SDDL)
    directory = share.get_directory_client("d")
    directory.create_directory(
        file_attributes="Hidden|Directory", file_permission_key=key, file_last_write_time=EARLY
    )
    found = directory.get_directory_properties()
    assert found.file_attributes == "Hidden | Directory"
    assert found.last_write_time == EARLY.replace(tzinfo=UTC)
    child = directory.get_file_client("f")
    child.create_file(1)
    assert child.get_file_properties().permission_key == key
    directory.set_http_headers(file_attributes="none", file_creation_time=EARLY)
    found = directory.get_directory_properties()
    assert (found.file_attributes, found.permission_key) == ("Directory", key)
    assert found.creation_time == EARLY.replace(tzinfo=UTC)
    entry = next(
        iter(
            directory.list_directories_and_files(
                include=["timestamps", "Etag", "Attributes", "PermissionKey"], include_extended_info=True
            )
        )
    )
    assert (entry["file_attributes"], entry["permission_key"]) == ("Archive", key)
    assert entry["file_id"] == child.get_file_properties().file_id
    assert entry["etag"] == child.get_file_properties().etag


def test_a_file_nobody_described_has_the_default_permission_which_can_be_read(server, share):
    on_disk(server, share, "made-by-a-job").write_bytes(b"x")
    found = share.get_file_client("made-by-a-job").get_file_properties()
    assert found.file_attributes == "Archive"
    assert share.get_permission_for_share(found.permission_key).startswith("O:SYG:SYD:")


def test_a_replaced_file_loses_the_attributes_of_the_old_one(server, share):
    file = share.get_file_client("f")
    file.create_file(1, file_attributes="ReadOnly", file_permission=SDDL, metadata={"kept": "yes"})
    old = file.get_file_properties()
    replacement = on_disk(server, share, "other")
    replacement.write_bytes(b"new")
    replacement.rename(on_disk(server, share, "f"))
    found = file.get_file_properties()
    assert (found.file_attributes, found.metadata) == ("Archive", {"kept": "yes"})
    assert found.permission_key != old.permission_key
    file.delete_file()


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("file_attributes", "Strange", "InvalidHeaderValue"),
        ("file_attributes", "Directory", "InvalidHeaderValue"),
        ("file_creation_time", "yesterday", "InvalidHeaderValue"),
        ("file_last_write_time", "1500-01-01T00:00:00Z", "InvalidHeaderValue"),
        ("file_permission", "not SDDL", "FileInvalidPermission"),
        ("file_permission_key", "1*2", "FileInvalidPermissionKey"),
        ("file_permission_format", "xml", "InvalidHeaderValue"),
        ("file_property_semantics", "Both", "InvalidHeaderValue"),
        ("mode", "0777", "UnsupportedHeader"),
        ("owner", "0", "UnsupportedHeader"),
    ],
)
def test_smb_headers_that_are_wrong_are_refused_and_create_nothing(call, server, share, header, value, code):
    fields = {"type": "file", "content_length": "1", header: value}
    if header == "file_permission_format":
        fields["file_permission"] = SDDL
    answer = call("PUT", "f", **fields)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, code)
    assert not on_disk(server, share, "f").exists()


def test_permission_documents(call, server, share):
    wrong = call("PUT", "", "restype=share&comp=filepermission", data='{"permission": 5}')
    assert wrong.headers["x-ms-error-code"] == "InvalidInput"
    huge = call("PUT", "", "restype=share&comp=filepermission", data='{"permission": "O:%s"}' % ("S" * 9000))
    assert huge.headers["x-ms-error-code"] == "FileInvalidPermission"
    unknown = call("GET", "", "restype=share&comp=filepermission", file_permission_key="5*6")
    assert unknown.headers["x-ms-error-code"] == "FileInvalidPermissionKey"
    missing = ShareClient.from_connection_string(server.connection_string, "missing-share")
    with pytest.raises(ResourceNotFoundError) as refused:
        missing.create_permission_for_share(SDDL)
    assert refused.value.error_code == "ShareNotFound"


def test_a_permission_has_a_binary_form_too(call, share):
    binary = (
        "AQAUhGwAAACIAAAAAAAAABQAAAACAFgAAwAAAAAAFAD/AR8AAQEAAAAAAAUSAAAAAAAYAP8BHwABAgAAAAAABSAAAAAgAgAAAAAk"
        "AKkAEgABBQAAAAAABRUAAABZUbgXZnJdJWRjOwuMmS4AAQUAAAAAAAUVAAAAoGXPfnhLm1/nfIdwr/1IAQEFAAAAAAAFFQAAAKBl"
        "z354S5tf53yHcAECAAA="
    )
    body = f'{{"Permission": "{binary}", "Format": "Binary"}}'
    created = call("PUT", "", "restype=share&comp=filepermission", data=body)
    key = created.headers["x-ms-file-permission-key"]
    assert share.get_permission_for_share(key, file_permission_format="binary") == binary
    assert share.get_permission_for_share(key) == f"{SDDL}S:NO_ACCESS_CONTROL"
    key = share.create_permission_for_share(f"{SDDL}S:NO_ACCESS_CONTROL")
    assert share.get_permission_for_share(key, file_permission_format="binary") == binary
    unknown = share.create_permission_for_share("O:SYD:(OA;;CR;;;SY)")
    with pytest.raises(HttpResponseError) as refused:
        share.get_permission_for_share(unknown, file_permission_format="binary")
    assert refused.value.error_code == "CannotConvertToSddlDueToCustomAce"


def test_old_versions_get_no_smb_headers(call, share):
    share.get_file_client("f").upload_file(b"x")
    for path, query in (("f", ""), ("", "restype=directory")):
        old = call("HEAD", path, query, version="2018-03-28")
        new = call("HEAD", path, query, version="2019-02-02")
        assert not [name for name in old.headers if name.startswith("x-ms-file-")]
        assert new.headers["x-ms-file-attributes"] in ("Archive", "Directory")


def test_create_with_content(share, server):
    file = share.get_file_client("f")
    file.create_file(6, data=b"abcd")
    assert file.download_file().readall() == b"abcd\0\0"
    with pytest.raises(HttpResponseError):
        share.get_file_client("g").create_file(2, data=b"abcd")
    assert not on_disk(server, share, "g").exists()


def test_write_time_can_be_preserved_by_a_range(server, share):
    file = share.get_file_client("f")
    file.create_file(4, file_last_write_time=EARLY)
    file.upload_range(b"1234", 0, 4, file_last_write_mode="preserve")
    assert file.get_file_properties().last_write_time == EARLY.replace(tzinfo=UTC)
    etag = file.get_file_properties().etag
    file.upload_range(b"5678", 0, 4, file_last_write_mode="preserve")
    assert file.get_file_properties().etag != etag
    file.upload_range(b"1234", 0, 4, file_last_write_mode="now")
    assert file.get_file_properties().last_write_time > EARLY.replace(tzinfo=UTC)


def test_ranges_are_listed_in_pages_too(share, call):
    file = share.get_file_client("f")
    file.create_file(1 << 20)
    for offset in (0, 1 << 17, 1 << 19):
        file.upload_range(os.urandom(4096), offset, 4096)
    assert [entry["start"] for entry in file.get_ranges()] == [0, 1 << 17, 1 << 19]
    page = call("GET", "f", "comp=rangelist&maxresults=2").text
    assert page.count("<Range>") == 2
    marker = page.partition("<NextMarker>")[2].partition("<")[0]
    rest = call("GET", "f", f"comp=rangelist&maxresults=2&marker={marker}").text
    assert f"<Start>{1 << 19}</Start>" in rest
    assert rest.count("<Range>") == 1
    assert "<NextMarker />" in rest


def test_handles_are_none_but_of_what_exists(call, share):
    directory = share.create_directory("d")
    directory.upload_file("f", b"x")
    assert list(directory.list_handles(recursive=True)) == []
    assert list(share.get_directory_client().list_handles()) == []
    assert directory.get_file_client("f").close_all_handles() == {
        "closed_handles_count": 0,
        "failed_handles_count": 0,
    }
    assert directory.close_all_handles(recursive=True)["closed_handles_count"] == 0
    assert directory.close_handle("12345")["closed_handles_count"] == 0
    with pytest.raises(HttpResponseError) as refused:
        directory.close_handle("no-number")
    assert refused.value.error_code == "InvalidHeaderValue"
    with pytest.raises(ResourceNotFoundError):
        list(share.get_file_client("missing").list_handles())
    assert call("PUT", "d/f", "comp=forceclosehandles").headers["x-ms-error-code"] == "MissingRequiredHeader"


def test_links_belong_to_nfs(share):
    file = share.get_file_client("link")
    share.get_file_client("f").upload_file(b"x")
    for make in (lambda: file.create_symlink("f"), lambda: file.create_hardlink("f"), file.get_symlink):
        with pytest.raises(HttpResponseError) as refused:
            make()
        assert (refused.value.status_code, refused.value.error_code) == (400, "UnsupportedQueryParameter")
    assert not file.exists()
