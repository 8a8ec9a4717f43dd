"""Copies: Copy Blob and everything "From URL", from this server and from another one."""

import base64
import hashlib
import http.server
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import (
    BlobBlock,
    BlobServiceClient,
    ContainerClient,
    ContentSettings,
    StandardBlobTier,
    generate_blob_sas,
)
from azure.storage.fileshare import ShareServiceClient

from openbatchai.http.storage.foreign import Reach

OTHER = "otherdata"
MIB = 1 << 20


@pytest.fixture(scope="module")
def server(start_server):
    """Two accounts, and sources of any address."""
    return start_server(OTHER, reach=Reach.ANY)


@pytest.fixture
def service(server):
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client


@pytest.fixture
def container(service, fresh_name) -> ContainerClient:
    return service.create_container(fresh_name)


def signed(server, blob, permission: str = "r", key: str = "") -> str:
    token = generate_blob_sas(
        blob.account_name,
        blob.container_name,
        blob.blob_name,
        account_key=key or server.ring.accounts[blob.account_name][0],
        permission=permission,
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return f"{blob.url}?{token}"


def md5(data: bytes) -> bytearray:
    return bytearray(hashlib.md5(data, usedforsecurity=False).digest())


def test_a_copy_is_done_when_it_is_answered(container):
    content = os.urandom(3 * MIB)
    source = container.upload_blob(
        "a/s",
        content,
        metadata={"k": "v"},
        content_settings=ContentSettings(content_type="text/x", cache_control="no-cache"),
        tags={"t": "1"},
    )
    target = container.get_blob_client("t")
    told = target.start_copy_from_url(source.url)
    assert told["copy_status"] == "success"
    assert target.download_blob().readall() == content
    found = target.get_blob_properties()
    assert (found.metadata, found.content_settings.content_type) == ({"k": "v"}, "text/x")
    assert found.content_settings.cache_control == "no-cache"
    assert found.content_settings.content_md5 == md5(content)
    assert (found.copy.id, found.copy.status) == (told["copy_id"], "success")
    assert (found.copy.source, found.copy.progress) == (source.url, f"{3 * MIB}/{3 * MIB}")
    assert found.copy.completion_time is not None
    assert found.tag_count is None
    listed = {each.name: each for each in container.list_blobs(include=["copy"])}
    assert listed["t"].copy.id == told["copy_id"]
    assert next(each for each in container.list_blobs() if each.name == "t").copy.id is None
    assert source.get_blob_properties().copy.id is None
    target.set_http_headers(ContentSettings(content_type="text/y"))
    assert target.get_blob_properties().copy.id is None


def test_a_copy_with_metadata_tags_and_tier_of_its_own(container):
    source = container.upload_blob("s", b"x", metadata={"k": "v"})
    target = container.get_blob_client("t")
    target.start_copy_from_url(
        source.url, metadata={"other": "1"}, tags={"a": "b"}, standard_blob_tier=StandardBlobTier.COOL
    )
    found = target.get_blob_properties()
    assert (found.metadata, found.blob_tier, target.get_blob_tags()) == ({"other": "1"}, "Cool", {"a": "b"})


def test_a_synchronous_copy(server, container):
    source = container.upload_blob("s", b"content", metadata={"k": "v"}, tags={"t": "1"})
    target = container.get_blob_client("t")
    with pytest.raises(HttpResponseError) as refused:
        target.start_copy_from_url(source.url, requires_sync=True)
    # What is read as part of the call needs credentials of its own, within the account too.
    assert refused.value.error_code == "CannotVerifyCopySource"
    assert refused.value.response.headers["x-ms-copy-source-status-code"] == "401"
    assert refused.value.response.headers["x-ms-copy-source-error-code"] == "NoAuthenticationInformation"
    told = target.start_copy_from_url(signed(server, source, "rt"), requires_sync=True, tags="COPY")
    assert told["copy_status"] == "success"
    assert (target.download_blob().readall(), target.get_blob_tags()) == (b"content", {"t": "1"})
    wrong = base64.b64encode(md5(b"other")).decode()
    with pytest.raises(HttpResponseError) as refused:
        target.start_copy_from_url(
            signed(server, source), requires_sync=True, headers={"x-ms-source-content-md5": wrong}
        )
    assert refused.value.error_code == "Md5Mismatch"
    assert target.download_blob().readall() == b"content"


def test_the_blob_type_and_the_blocks_go_along(container):
    log = container.get_blob_client("log")
    log.create_append_blob()
    log.append_block(b"one")
    log.append_block(b"two")
    copied = container.get_blob_client("log2")
    copied.start_copy_from_url(log.url)
    assert copied.get_blob_properties().blob_type == "AppendBlob"
    assert copied.append_block(b"!")["blob_committed_block_count"] == 3
    assert copied.download_blob().readall() == b"onetwo!"
    blocks = container.get_blob_client("blocks")
    blocks.stage_block("1", b"abc")
    blocks.stage_block("2", b"def")
    blocks.commit_block_list(["1", "2"])
    target = container.get_blob_client("blocks2")
    target.start_copy_from_url(blocks.url)
    assert [block.size for block in target.get_block_list()[0]] == [3, 3]
    with pytest.raises(HttpResponseError) as refused:
        log.start_copy_from_url(blocks.url)
    assert refused.value.error_code == "InvalidBlobType"
    log.start_copy_from_url(log.url, seal_destination_blob=True)
    again = container.get_blob_client("log3")
    again.start_copy_from_url(log.url)
    for sealed in (log, again):
        with pytest.raises(HttpResponseError) as refused:
            sealed.append_block(b"more")
        assert refused.value.error_code == "BlobIsSealed"


def test_from_another_account_and_from_a_share(server, container):
    other = BlobServiceClient(
        server.url("blob").replace(server.account, OTHER), server.ring.accounts[OTHER][0]
    )
    theirs = other.create_container("theirs")
    source = theirs.upload_blob("é f%.txt", b"theirs", overwrite=True)
    target = container.get_blob_client("t")
    with pytest.raises(HttpResponseError) as refused:
        target.start_copy_from_url(source.url)
    assert refused.value.error_code == "CannotVerifyCopySource"
    with pytest.raises(HttpResponseError) as refused:
        target.start_copy_from_url(signed(server, source, key=server.other_key()))
    assert (refused.value.status_code, refused.value.error_code) == (403, "CannotVerifyCopySource")
    assert not target.exists()
    target.start_copy_from_url(signed(server, source))
    assert target.download_blob().readall() == b"theirs"
    assert "sig=" not in target.get_blob_properties().copy.source
    with ShareServiceClient.from_connection_string(server.connection_string) as files:
        share = files.create_share(container.container_name)
        share.get_file_client("f.bin").upload_file(b"from a share")
    target.start_copy_from_url(server.link("file", container.container_name, "f.bin"))
    assert target.download_blob().readall() == b"from a share"


def test_a_snapshot_as_source_brings_back_what_was(container):
    blob = container.upload_blob("b", b"old", metadata={"k": "old"})
    snapshot = blob.create_snapshot()["snapshot"]
    blob.upload_blob(b"new", overwrite=True)
    url = f"{blob.url}?snapshot={snapshot}"
    for name in ("restored", "b"):
        target = container.get_blob_client(name)
        target.start_copy_from_url(url)
        assert target.download_blob().readall() == b"old"
        assert target.get_blob_properties().metadata == {"k": "old"}


def test_what_is_not_there_is_no_source(server, container):
    target = container.get_blob_client("t")
    for url in (container.get_blob_client("none").url, server.url("blob", "no-container/b")):
        with pytest.raises(HttpResponseError) as refused:
            target.start_copy_from_url(url)
        assert (refused.value.status_code, refused.value.error_code) == (404, "CannotVerifyCopySource")
    with pytest.raises(HttpResponseError) as refused:
        container.get_blob_client("t").start_copy_from_url("not a url")
    assert refused.value.status_code == 400


def test_conditions_on_source_and_target(container):
    source = container.upload_blob("s", b"x", tags={"a": "b"})
    etag = source.get_blob_properties().etag
    target = container.upload_blob("t", b"old")
    with pytest.raises(HttpResponseError) as refused:
        target.start_copy_from_url(
            source.url, source_etag="0x1", source_match_condition=MatchConditions.IfNotModified
        )
    assert refused.value.error_code == "SourceConditionNotMet"
    with pytest.raises(HttpResponseError) as refused:
        target.start_copy_from_url(
            source.url, source_if_modified_since=datetime.now(UTC) + timedelta(minutes=1)
        )
    assert refused.value.error_code == "SourceConditionNotMet"
    with pytest.raises(HttpResponseError) as refused:
        target.start_copy_from_url(source.url, etag="0x1", match_condition=MatchConditions.IfNotModified)
    assert refused.value.error_code == "ConditionNotMet"
    with pytest.raises(ResourceExistsError) as exists:
        target.start_copy_from_url(source.url, match_condition=MatchConditions.IfMissing)
    assert exists.value.error_code == "BlobAlreadyExists"
    with pytest.raises(HttpResponseError):
        target.start_copy_from_url(source.url, headers={"x-ms-source-if-tags": "a='c'"})
    assert target.download_blob().readall() == b"old"
    target.start_copy_from_url(
        source.url,
        source_etag=etag,
        source_match_condition=MatchConditions.IfNotModified,
        headers={"x-ms-source-if-tags": "a='b'"},
    )
    assert target.download_blob().readall() == b"x"


def test_there_is_never_a_copy_to_abort(container):
    source = container.upload_blob("s", b"x")
    target = container.get_blob_client("t")
    copy_id = target.start_copy_from_url(source.url)["copy_id"]
    for given in (copy_id, "11111111-1111-1111-1111-111111111111"):
        with pytest.raises(ResourceExistsError) as refused:
            target.abort_copy(given)
        assert (refused.value.status_code, refused.value.error_code) == (409, "NoPendingCopyOperation")
    with pytest.raises(HttpResponseError) as refused:
        container.get_blob_client("none").abort_copy(copy_id)
    assert refused.value.status_code == 404


def test_put_blob_from_url(server, container):
    settings = ContentSettings(content_type="text/x", content_language="en")
    source = container.upload_blob(
        "s", b"content", content_settings=settings, metadata={"k": "v"}, tags={"t": "1"}
    )
    url = signed(server, source, "rt")
    target = container.get_blob_client("t")
    target.upload_blob_from_url(url, metadata={"own": "1"}, source_content_md5=md5(b"content"))
    found = target.get_blob_properties()
    assert target.download_blob().readall() == b"content"
    assert (found.metadata, found.content_settings.content_type) == ({"own": "1"}, "text/x")
    assert (found.content_settings.content_md5, found.copy.id) == (md5(b"content"), None)
    with pytest.raises(ResourceExistsError):
        target.upload_blob_from_url(url)
    target.upload_blob_from_url(
        url,
        overwrite=True,
        include_source_blob_properties=False,
        standard_blob_tier=StandardBlobTier.COOL,
        headers={"x-ms-copy-source-tag-option": "COPY"},
    )
    found = target.get_blob_properties()
    assert (found.content_settings.content_type, found.blob_tier) == ("application/octet-stream", "Cool")
    assert target.get_blob_tags() == {"t": "1"}
    with pytest.raises(HttpResponseError) as refused:
        target.upload_blob_from_url(url, overwrite=True, source_content_md5=md5(b"other"))
    assert refused.value.error_code == "Md5Mismatch"


def test_blocks_and_appends_from_urls(server, container):
    content = os.urandom(5 * MIB)
    source = container.upload_blob("s", content)
    url = signed(server, source)
    target = container.get_blob_client("t")
    target.stage_block_from_url("1", url, source_offset=1, source_length=MIB)
    target.stage_block_from_url(
        "2",
        url,
        source_offset=3 * MIB,
        source_length=9,
        source_content_md5=md5(content[3 * MIB : 3 * MIB + 9]),
    )
    with pytest.raises(HttpResponseError) as refused:
        target.stage_block_from_url("3", url, source_offset=0, source_length=9, source_content_md5=md5(b"x"))
    assert refused.value.error_code == "Md5Mismatch"
    with pytest.raises(HttpResponseError) as refused:
        target.stage_block_from_url("3", url, source_offset=6 * MIB, source_length=9)
    assert refused.value.status_code == 416
    target.commit_block_list([BlobBlock("1"), BlobBlock("2")])
    assert target.download_blob().readall() == content[1 : MIB + 1] + content[3 * MIB : 3 * MIB + 9]
    log = container.get_blob_client("log")
    log.create_append_blob()
    log.append_block_from_url(url, source_offset=0, source_length=100)
    told = log.append_block_from_url(url, source_offset=100, source_length=50)
    assert (told["blob_append_offset"], told["blob_committed_block_count"]) == ("100", 2)
    assert log.download_blob().readall() == content[:150]


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """A web server that is none of ours; `/moved` leads to `/data`."""

    content = bytes(range(256)) * 40

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/data")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"too little")
            return
        if self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):
                while True:
                    self.wfile.write(self.content)
        if self.path != "/data":
            self.send_error(403 if self.path == "/secret" else 404)
            return
        body, status = self.content, 200
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            body, status = body[int(first) : int(last) + 1], 206
        self.send_response(status)
        self.send_header("Content-Type", "text/x-elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{web.server_address[1]}"
    web.shutdown()
    thread.join(10)
    web.server_close()


def test_a_source_on_another_server(container, elsewhere):
    target = container.get_blob_client("t")
    for path in ("/data", "/moved"):
        target.start_copy_from_url(f"{elsewhere}{path}")
        assert target.download_blob().readall() == _Elsewhere.content
        assert target.get_blob_properties().content_settings.content_type == "text/x-elsewhere"
        container.delete_blob("t")
    target.stage_block_from_url("1", f"{elsewhere}/data", source_offset=10, source_length=20)
    target.commit_block_list([BlobBlock("1")])
    assert target.download_blob().readall() == _Elsewhere.content[10:30]
    for path, status in (("/none", 404), ("/secret", 403), ("/cut", 404)):
        with pytest.raises(HttpResponseError) as refused:
            target.start_copy_from_url(f"{elsewhere}{path}")
        assert (refused.value.status_code, refused.value.error_code) == (status, "CannotVerifyCopySource")
    assert target.download_blob().readall() == _Elsewhere.content[10:30]


def test_the_url_of_a_source_elsewhere_is_not_logged(container, elsewhere, caplog):
    caplog.set_level(logging.INFO)
    for path in ("/data?sig=SECRET", "/moved?sig=SECRET"):
        with pytest.raises(HttpResponseError) as refused:
            container.get_blob_client("t").start_copy_from_url(f"{elsewhere}{path}")
        assert "SECRET" not in str(refused.value)
    told = [record.getMessage() for record in caplog.records if not record.name.startswith("azure.")]
    assert not [line for line in told if "SECRET" in line]


def test_a_server_that_ignores_ranges_and_never_ends(server, container, elsewhere):
    target = container.get_blob_client("t")
    target.stage_block_from_url("1", f"{elsewhere}/endless", source_offset=300, source_length=100)
    target.commit_block_list([BlobBlock("1")])
    assert target.download_blob().readall() == (_Elsewhere.content * 2)[300:400]
    target.delete_blob()
    target.create_append_blob()
    # In this version a block has at most 4 MiB.
    older = BlobServiceClient.from_connection_string(server.connection_string, api_version="2021-12-02")
    with older:
        log = older.get_blob_client(container.container_name, "t")
        with pytest.raises(HttpResponseError) as refused:
            log.append_block_from_url(f"{elsewhere}/endless")
    assert refused.value.error_code == "RequestBodyTooLarge"
    assert target.get_blob_properties().size == 0


def test_addresses_of_this_machine_are_not_asked_by_default(start_server, elsewhere):
    connection = start_server().connection_string
    with BlobServiceClient.from_connection_string(connection) as client:
        target = client.create_container("c-c").get_blob_client("t")
        for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]"):
            with pytest.raises(HttpResponseError) as refused:
                target.start_copy_from_url(f"{elsewhere.replace('localhost', host)}/data")
            assert refused.value.error_code == "CannotVerifyCopySource"
            assert "public address" in refused.value.message
        assert not target.exists()


def test_a_condition_on_a_source_that_is_read_at_once(server, container):
    source = container.upload_blob("s", b"content")
    old = datetime(2001, 1, 1, tzinfo=UTC)
    for attempt in (
        lambda: container.get_blob_client("t").upload_blob_from_url(
            signed(server, source), source_if_unmodified_since=old
        ),
        lambda: container.get_blob_client("b").stage_block_from_url(
            "1", signed(server, source), headers={"x-ms-source-if-match": '"0x1"'}
        ),
    ):
        with pytest.raises(ResourceNotFoundError) as refused:
            attempt()
        assert refused.value.error_code == "CannotVerifyCopySource"
        assert refused.value.response.headers["x-ms-copy-source-status-code"] == "412"


def test_the_copy_of_a_sealed_blob_is_sealed(container):
    log = container.get_blob_client("log")
    log.create_append_blob()
    log.seal_append_blob()
    copied = container.get_blob_client("log2")
    copied.start_copy_from_url(log.url)
    assert copied.get_blob_properties().is_append_blob_sealed
    with pytest.raises(HttpResponseError) as refused:
        copied.append_block(b"x")
    assert refused.value.error_code == "BlobIsSealed"


def test_conditions_on_tags_fail_with_the_plain_code(container):
    source = container.upload_blob("s", b"content", tags={"a": "1"})
    target = container.upload_blob("t", b"old", tags={"b": "1"})
    for name in ("source_if_tags_match_condition", "if_tags_match_condition"):
        with pytest.raises(HttpResponseError) as refused:
            target.start_copy_from_url(source.url, **{name: "\"a\"='2'"})
        assert (refused.value.status_code, refused.value.error_code) == (412, "ConditionNotMet")
    assert target.download_blob().readall() == b"old"
