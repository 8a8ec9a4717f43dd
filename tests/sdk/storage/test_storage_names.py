"""Names through the SDKs: whatever clients call their blobs and files is put, listed, read and deleted."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from urllib.parse import quote

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import (
    BlobPrefix,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    generate_container_sas,
)
from azure.storage.fileshare import ShareClient, ShareServiceClient

BLOB_NAMES = [
    *["a", "a/", "a/b", "a//b", "a/b/c", "/lead", "//", ".", "..", "./x", "../../etc/passwd", ".%", ".%a"],
    *["%2F", "%", "a b", "a+b", "a?b#c", "a\\b", "q&<>\"'", "tab\there", "line\nbreak", "cr\rhere", "\x01"],
    *["\ufffe", "é f.txt", "漢字", "\U0001f600", "x" * 300, "n" * 1024],
]


@pytest.fixture(scope="module")
def service(server) -> Iterator[BlobServiceClient]:
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client


@pytest.fixture
def container(service, fresh_name) -> ContainerClient:
    return service.create_container(fresh_name)


@pytest.fixture
def share(server, fresh_name) -> ShareClient:
    client = ShareServiceClient.from_connection_string(server.connection_string)
    return client.create_share(fresh_name)


def raw_put(server, container: str, name: str, content: bytes) -> int:
    """A put whose path is exactly this: some libraries resolve dots before they send a URL."""
    token = generate_container_sas(
        server.account,
        container,
        account_key=server.key,
        permission=ContainerSasPermissions(read=True, write=True, delete=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    connection = HTTPConnection("127.0.0.1", server.ports["blob"])
    try:
        path = f"/{server.account}/{container}/{quote(name, safe='/')}?{token}"
        connection.request(
            "PUT", path, content, {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}
        )
        return connection.getresponse().status
    finally:
        connection.close()


def test_blobs_of_all_names(server, service, container):
    for name in BLOB_NAMES:
        if any(part in (".", "..") for part in name.split("/")):
            assert raw_put(server, container.container_name, name, name.encode()) == 201
        else:
            container.upload_blob(name, name.encode(), metadata={"of": quote(name)})
    listed = {blob.name: blob for blob in container.list_blobs(include=["metadata"])}
    assert list(listed) == sorted(BLOB_NAMES)
    pages = container.list_blobs(results_per_page=3).by_page()
    assert [blob.name for page in pages for blob in page] == sorted(BLOB_NAMES)
    for name in BLOB_NAMES:
        if any(part in (".", "..") for part in name.split("/")):
            continue
        assert container.download_blob(name).readall() == name.encode()
        assert listed[name].metadata == {"of": quote(name)}
        container.delete_blob(name)
    dotted = [name for name in sorted(BLOB_NAMES) if any(part in (".", "..") for part in name.split("/"))]
    assert [blob.name for blob in container.list_blobs()] == dotted
    assert not (server.root / "etc").exists()


def test_a_blob_beside_a_prefix_of_its_name(server, container):
    container.upload_blob("c/d", b"below")
    container.upload_blob("c", b"beside")
    container.upload_blob("a", b"first")
    container.upload_blob("a/b", b"second")
    # The SDK gives the prefixes of a page first.
    walked = sorted((entry.name, isinstance(entry, BlobPrefix)) for entry in container.walk_blobs())
    assert walked == [("a", False), ("a/", True), ("c", False), ("c/", True)]
    assert container.download_blob("c").readall() == b"beside"
    assert container.download_blob("a/b").readall() == b"second"
    home = server.directory("blob", container.container_name)
    assert (home / "a").read_bytes() == b"first"
    assert (home / ".%a%2F/b").read_bytes() == b"second"


def test_folder_marks_of_hadoop_and_blobfuse(server, container):
    container.upload_blob("models", b"", metadata={"hdi_isfolder": "true"})
    container.upload_blob("logs/", b"")
    home = server.directory("blob", container.container_name)
    (home / "models/net.bin").write_text("of a job")
    (home / "logs/stdout.txt").write_text("of a job")
    assert [blob.name for blob in container.list_blobs()] == [
        "logs/", "logs/stdout.txt", "models", "models/net.bin",
    ]  # fmt: skip
    assert container.get_blob_client("models").get_blob_properties().metadata == {"hdi_isfolder": "true"}


def test_listing_parameters(container):
    for name in ("a/1", "a/2", "b", "c--1", "c--2", "d"):
        container.upload_blob(name, b"x")
    assert [blob.name for blob in container.list_blobs(start_from="b")] == ["b", "c--1", "c--2", "d"]
    assert [blob.name for blob in container.list_blobs(name_starts_with="c", start_from="c--2")] == ["c--2"]
    walked = {entry.name for entry in container.walk_blobs(delimiter="--")}
    assert walked == {"a/1", "a/2", "b", "c--", "d"}
    everything = [
        "snapshots",
        "metadata",
        "uncommittedblobs",
        "copy",
        "deleted",
        "tags",
        "versions",
        "legalhold",
    ]
    assert (
        len(list(container.list_blobs(include=[*everything, "immutabilitypolicy", "deletedwithversions"])))
        == 6
    )
    with pytest.raises(HttpResponseError) as refused:
        list(container.list_blobs(include="sizes"))
    assert refused.value.error_code == "InvalidQueryParameterValue"


@pytest.mark.parametrize(
    ("name", "code"),
    [("n" * 1025, "InvalidResourceName"), ("a/" * 300, "InvalidResourceName"), ("nul\0", "InvalidUri")],
)
def test_names_that_no_blob_has(container, name, code):
    with pytest.raises(HttpResponseError) as refused:
        container.upload_blob(name, b"x")
    assert (refused.value.status_code, refused.value.error_code) == (400, code)


@pytest.mark.parametrize(
    ("name", "code"),
    [("ab", "OutOfRangeInput"), ("a" * 64, "OutOfRangeInput"), ("Upper", "InvalidResourceName")],
)
def test_names_that_no_container_or_share_has(server, service, name, code):
    shares = ShareServiceClient.from_connection_string(server.connection_string)
    for create in (service.create_container, shares.create_share):
        with pytest.raises(HttpResponseError) as refused:
            create(name)
        assert refused.value.error_code == code


def test_blobs_of_the_root_container(service):
    root = service.create_container("$root")
    root.upload_blob("robots.txt", b"x")
    assert root.download_blob("robots.txt").readall() == b"x"
    assert [blob.name for blob in root.list_blobs()] == ["robots.txt"]
    service.delete_container("$root")


def test_files_match_without_regard_to_case(server, share):
    directory = share.get_directory_client("Models")
    directory.create_directory()
    directory.upload_file("Net.bin", b"one")
    share.get_directory_client("MODELS").upload_file("NET.BIN", b"two")
    assert [item.name for item in directory.list_directories_and_files()] == ["Net.bin"]
    assert share.get_file_client("models/net.bin").download_file().readall() == b"two"
    home = server.directory("file", share.share_name)
    (home / "Models/net.BIN").write_text("of a job")
    assert [item.name for item in directory.list_directories_and_files()] == ["Net.bin", "net.BIN"]
    assert share.get_file_client("models/net.BIN").download_file().readall() == b"of a job"
    assert share.get_file_client("models/net.bin").download_file().readall() == b"two"
    share.get_file_client("models/nEt.bIn").delete_file()
    assert [path.name for path in (home / "Models").iterdir()] == ["net.BIN"]


def test_trailing_dots_of_files(server, share):
    home = server.directory("file", share.share_name)
    share.get_directory_client("dir.").create_directory()
    share.get_file_client("dir./file...").upload_file(b"x")
    assert (home / "dir/file").read_bytes() == b"x"
    keeping = ShareClient.from_connection_string(
        server.connection_string, share.share_name, allow_trailing_dot=True, allow_source_trailing_dot=True
    )
    keeping.get_file_client("dir/file.").upload_file(b"dotted")
    assert {path.name for path in (home / "dir").iterdir()} == {"file", "file."}
    assert keeping.get_file_client("dir/file.").download_file().readall() == b"dotted"
    assert share.get_file_client("dir/file.").download_file().readall() == b"x"
    keeping.get_file_client("dir/file.").rename_file("dir/other.")
    assert {path.name for path in (home / "dir").iterdir()} == {"file", "other."}


@pytest.mark.parametrize("name", ["a:b", "a*", "what?", 'q"', "a|b", "<a>", "a\\b", "tab\there"])
def test_names_that_smb_does_not_know_can_be_read_where_a_job_made_them(server, share, name):
    client = share.get_file_client(name)
    with pytest.raises(HttpResponseError) as refused:
        client.create_file(1)
    assert (refused.value.status_code, refused.value.error_code) == (400, "InvalidResourceName")
    (server.directory("file", share.share_name) / name).write_text("of a job")
    assert [item.name for item in share.list_directories_and_files()] == [name]
    assert client.download_file().readall() == b"of a job"
    client.delete_file()
    assert list(share.list_directories_and_files()) == []


def test_links_of_jobs(server, share, tmp_path):
    home = server.directory("file", share.share_name)
    (tmp_path / "secret").write_text("x")
    (home / "out").symlink_to(tmp_path)
    (home / "secret").symlink_to(tmp_path / "secret")
    (home / "loop").symlink_to("loop")
    (home / "file").write_text("inside")
    (home / "in").symlink_to("file")
    assert [item.name for item in share.list_directories_and_files()] == ["file", "in"]
    assert share.get_file_client("in").download_file().readall() == b"inside"
    for path in ("out/secret", "secret", "loop"):
        with pytest.raises(ResourceNotFoundError):
            share.get_file_client(path).download_file()


def test_directories_are_listed_in_full_and_in_pages(share):
    for name in ("b", "A", "c"):
        share.get_directory_client(name).create_directory()
    for name in ("B.txt", "a.txt"):
        share.get_file_client(name).upload_file(b"12345")
    pages = share.list_directories_and_files(results_per_page=2).by_page()
    assert [item.name for page in pages for item in page] == ["A", "a.txt", "b", "B.txt", "c"]
    assert [item.name for item in share.list_directories_and_files(name_starts_with="B")] == ["b", "B.txt"]
    full = share.list_directories_and_files(
        include=["timestamps", "Etag", "Attributes", "PermissionKey"], include_extended_info=True
    )
    found = {item.name: item for item in full}
    assert found["a.txt"].size == 5
    assert all((found["a.txt"].last_modified, found["a.txt"].etag, found["a.txt"].file_id))
    assert (found["b"].is_directory, found["b"].file_attributes) == (True, "Directory")


@pytest.mark.parametrize(
    ("name", "code"),
    [("UPPER", "InvalidResourceName"), ("a--b", "InvalidResourceName"), ("ab", "OutOfRangeInput")],
)
@pytest.mark.parametrize("service", ["blob", "file"])
def test_an_impossible_container_is_refused_by_its_name(server, service, name, code):
    restype = {"blob": "container", "file": "share"}[service]
    url = f"{server.url(service, name)}?restype={restype}"
    answer = requests.get(url, headers={**server.bearer, "x-ms-file-request-intent": "backup"}, timeout=30)
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, code)
