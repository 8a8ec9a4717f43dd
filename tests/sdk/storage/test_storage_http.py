"""What browsers, curl and the 2017 job stream see: host style, plain Range headers, common headers."""

import base64
import hashlib
import hmac
import http.client
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from openbatchai.domain.ports import ItemRef, StorageService


@pytest.fixture
def log(server, fresh_name):
    """A log file that a job is writing, in a share of its own."""
    home = server.directory("file", fresh_name)
    home.mkdir()
    path = home / "stdout.txt"
    path.write_bytes(b"")
    return path


def _sign(server, method: str, resource: str, headers: dict[str, str]) -> str:
    """The 2017 generation's SharedKey, written down from the published rules."""
    ours = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    text = f"{method}\n" + "\n" * 11 + ours + resource
    digest = hmac.new(base64.b64decode(server.key), text.encode(), hashlib.sha256).digest()
    return f"SharedKey {server.account}:{base64.b64encode(digest).decode()}"


def _dated(version: str = "2017-07-29", at: datetime | None = None) -> dict[str, str]:
    moment = at or datetime.now(UTC)
    return {"x-ms-date": format_datetime(moment, usegmt=True), "x-ms-version": version}


@pytest.mark.parametrize("suffix", ["core.windows.net", "storage.example.org:8443"])
def test_host_style(server, fresh_name, suffix):
    headers = _dated()
    resource = f"/{server.account}/{fresh_name}\nrestype:share"
    headers["Authorization"] = _sign(server, "PUT", resource, headers)
    url = f"http://127.0.0.1:{server.ports['file']}/{fresh_name}?restype=share"
    answer = requests.put(url, headers=headers | {"Host": f"{server.account}.file.{suffix}"})
    assert answer.status_code == 201
    assert server.directory("file", fresh_name).is_dir()


def test_path_style_with_the_account_once_in_the_signature(server, fresh_name):
    headers = _dated()
    headers["Authorization"] = _sign(server, "PUT", f"/{server.account}/{fresh_name}\nrestype:share", headers)
    answer = requests.put(server.url("file", f"{fresh_name}?restype=share"), headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("signed", ["\ncomp:list\nprefix:", "\ncomp:list"])
def test_empty_query_values_may_be_left_out_of_the_signature(server, signed):
    headers = _dated()
    headers["Authorization"] = _sign(server, "GET", f"/{server.account}/{signed}", headers)
    url = f"http://127.0.0.1:{server.ports['file']}/?comp=list&prefix="
    answer = requests.get(url, headers=headers | {"Host": f"{server.account}.file.core.windows.net"})
    assert answer.status_code == 200


@pytest.mark.parametrize("more", ["comp=&", "restype=&", "comp&"])
def test_a_parameter_added_without_a_value_changes_nothing(server, fresh_name, more):
    """Signatures may leave such parameters out, so they must not hide the ones that are signed."""
    server.directory("file", fresh_name).mkdir()
    headers = _dated() | {"x-ms-meta-colour": "red"}
    resource = f"/{server.account}/{fresh_name}\ncomp:metadata\nrestype:share"
    headers["Authorization"] = _sign(server, "PUT", resource, headers)
    url = f"http://127.0.0.1:{server.ports['file']}/{fresh_name}?{more}restype=share&comp=metadata"
    answer = requests.put(url, headers=headers | {"Host": f"{server.account}.file.core.windows.net"})
    assert answer.status_code == 200


def _owner_request(server, service, method, path, query="", headers=None, data=b""):
    """A request that carries everything a caller may, so that only what is wrong in it is refused."""
    sent = {
        **server.bearer,
        "x-ms-file-request-intent": "backup",
        **(headers or {}),
    }
    return requests.request(method, f"{server.url(service, path)}?{query}", headers=sent, data=data)


_LONG = "9" * 5000


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Range": f"bytes=0-{_LONG}"}, ""),
        ({"Range": f"bytes={_LONG}-"}, ""),
        ({"Range": f"bytes=-{_LONG}"}, ""),
        ({"If-Modified-Since": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, ""),
        ({"If-Modified-Since": "Mon, 01 Jan 2020 00:00:00 +99999999999999999999"}, ""),
        ({"x-ms-version": "9" * 5000}, ""),
        ({"x-ms-date": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, ""),
    ],
)
def test_numbers_and_dates_beyond_all_bounds_when_reading(server, log, headers, query):
    for service in ("file", "blob"):
        path = server.directory(service, log.parent.name)
        path.mkdir(exist_ok=True)
        (path / "x").write_text("content")
        answer = _owner_request(server, service, "GET", f"{path.name}/x", query, headers)
        assert answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    ("service", "method", "path", "query", "headers", "body"),
    [
        ("blob", "GET", "", f"comp=list&maxresults={_LONG}", {}, b""),
        ("file", "GET", "", f"comp=list&maxresults={_LONG}", {}, b""),
        ("blob", "GET", "{}", "restype=container&comp=list&prefix=a%00b/", {}, b""),
        ("blob", "GET", "{}", f"restype=container&comp=list&prefix={'a' * 2000}/", {}, b""),
        ("file", "PUT", "{}/x", "", {"x-ms-type": "file", "x-ms-content-length": _LONG}, b""),
        ("file", "PUT", "{}/x", "comp=properties", {"x-ms-content-length": _LONG}, b""),
        ("file", "PUT", "{}", "restype=share&comp=properties", {"x-ms-share-quota": _LONG}, b""),
        ("file", "PUT", "{}/x", "comp=range", {"x-ms-write": "clear", "x-ms-range": f"bytes=0-{_LONG}"}, b""),
        ("file", "GET", "{}/x", f"comp=rangelist&marker={'OTk5' * 2000}", {}, b""),
        ("blob", "PUT", "{}/b", "comp=appendblock", {"x-ms-blob-condition-appendpos": _LONG}, b"x"),
        ("blob", "PUT", "{}/b", f"comp=block&blockid={'A' * 9000}", {}, b"x"),
        ("blob", "PUT", "{}/b", "comp=blocklist", {}, b'<?xml version="1.0" encoding="foo"?><BlockList/>'),
        ("blob", "PUT", "{}/b", "comp=blocklist", {}, b'<!DOCTYPE a [<!ENTITY b "c">]><BlockList/>'),
        ("blob", "PUT", "{}/b", "comp=blocklist", {}, b"<BlockList><Latest>\xc3\xa9</Latest></BlockList>"),
        ("blob", "PUT", "{}", "restype=container&comp=acl", {}, b"\xff\xfe<"),
        (
            "blob",
            "PUT",
            "",
            "restype=service&comp=properties",
            {},
            b"<StorageServiceProperties>" + b"<a>" * 50000 + b"</a>" * 50000 + b"</StorageServiceProperties>",
        ),
    ],
)  # fmt: skip
def test_malformed_calls_are_client_errors(server, fresh_name, service, method, path, query, headers, body):
    for kind in ("file", "blob"):
        server.directory(kind, fresh_name).mkdir()
        (server.directory(kind, fresh_name) / "x").write_text("content")
    answer = _owner_request(server, service, method, path.format(fresh_name), query, headers, body)
    assert answer.status_code < 500, answer.text


def test_a_prefix_is_not_cut_at_a_nul(server, fresh_name):
    home = server.directory("blob", fresh_name)
    (home / "a").mkdir(parents=True)
    (home / "a" / "b").write_text("content")
    answer = _owner_request(server, "blob", "GET", fresh_name, "restype=container&comp=list&prefix=a%00x/")
    assert "<Blobs></Blobs>" in answer.text


def test_old_date_is_refused(server):
    headers = _dated(at=datetime.now(UTC) - timedelta(minutes=20))
    headers["Authorization"] = _sign(server, "GET", f"/{server.account}/\ncomp:list", headers)
    url = f"http://127.0.0.1:{server.ports['file']}/?comp=list"
    answer = requests.get(url, headers=headers | {"Host": f"{server.account}.file.core.windows.net"})
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    assert "AuthenticationErrorDetail" in answer.text


def test_unknown_account_is_not_found(server):
    url = f"http://127.0.0.1:{server.ports['blob']}/c?restype=container"
    answer = requests.put(url, headers={"Host": "nobody.blob.core.windows.net"})
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (404, "ResourceNotFound")


def test_every_answer_names_request_and_version(server):
    answer = requests.get(
        server.url("blob", "c/b"), headers={"x-ms-client-request-id": "Mine-1", "x-ms-version": "2025-11-05"}
    )
    assert answer.headers["x-ms-client-request-id"] == "Mine-1"
    assert answer.headers["x-ms-version"] == "2025-11-05"
    newer = requests.get(server.url("blob", "c/b"), headers={"x-ms-version": "2031-01-01"})
    assert newer.headers["x-ms-version"] == "2026-10-06"
    for service in ("blob", "file"):
        found = requests.head(server.url(service, "c/b"), headers={"x-ms-version": "2021-12-02"})
        assert found.headers["server"].startswith(f"Windows-Azure-{service.title()}/1.0")
        assert found.headers["x-ms-error-code"] == "NoAuthenticationInformation"
        assert found.headers["www-authenticate"].startswith("Bearer authorization_uri=")
    assert len(answer.headers["x-ms-request-id"]) == 36
    assert answer.headers["content-type"] == "application/xml"
    assert answer.text.startswith('<?xml version="1.0" encoding="utf-8"?><Error><Code>NoAuthentication')
    assert requests.get(server.url("blob"), headers={"x-ms-version": "newest"}).status_code == 400


def test_download_link_shows_text_in_a_browser(server, log):
    log.write_text("hello")
    answer = requests.get(server.link("file", log.parent.name, "stdout.txt"))
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "hello"
    assert answer.headers["x-ms-version"] == "2016-05-31"


def test_expired_link(server, log):
    answer = requests.get(server.link("file", log.parent.name, "stdout.txt", minutes=-1))
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")


def test_stream_loop_reads_each_byte_once(server, log):
    link = server.link("file", log.parent.name, "stdout.txt")
    seen, sizes = b"", []
    for text in ("", "epoch 1\n", "epoch 2: gr", "ün\n", ""):
        with log.open("ab") as writer:
            writer.write(text.encode())
        answer = requests.get(link, headers={"Range": f"bytes={len(seen)}-"})
        sizes.append(answer.status_code)
        if answer.ok:
            seen += answer.content
    assert sizes == [416, 206, 206, 206, 416]
    assert seen == log.read_bytes()
    assert answer.headers["content-range"] == f"bytes */{len(seen)}"


def test_answer_ends_before_half_a_character(server, log):
    link = server.link("file", log.parent.name, "stdout.txt")
    euro = "€".encode()
    log.write_bytes(b"price: " + euro[:2])
    half = requests.get(link, headers={"Range": "bytes=0-"})
    assert half.content == b"price: "
    assert half.headers["content-range"] == "bytes 0-6/9"
    nothing = requests.get(link, headers={"Range": "bytes=7-"})
    assert nothing.status_code == 416
    log.write_bytes(b"price: " + euro)
    assert requests.get(link, headers={"Range": "bytes=7-"}).content == euro
    log.write_bytes(b"price: " + euro[:2])
    assert requests.get(link).content == b"price: " + euro[:2]
    assert requests.get(link, headers={"Range": "bytes=0-8"}).content == b"price: " + euro[:2]


def test_reader_marks(server, log):
    ref = ItemRef(StorageService.FILE, server.account, log.parent.name, "stdout.txt")
    link = server.link("file", log.parent.name, "stdout.txt")
    ended = threading.Event()
    server.storage.on_read(lambda told: ended.set() if told == ref else None)
    log.write_bytes(b"12345")
    requests.get(link, headers={"Range": "bytes=0-2"})
    assert server.storage.unread_since(ref, 600)
    assert not ended.is_set()
    requests.get(link, headers={"Range": "bytes=3-"})
    assert ended.wait(30)
    assert not server.storage.unread_since(ref, 600)
    log.write_bytes(b"1234567")
    assert server.storage.unread_since(ref, 600)
    ended.clear()
    requests.get(link, headers={"Range": "bytes=7-"})
    assert ended.wait(30)
    assert not server.storage.unread_since(ref, 600)


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [
        ("bytes=2-3", 206, b"23"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, None),
        ("bytes=-3", 206, b"789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("lines=1-2", 400, None),
    ],
)
def test_ranges(server, log, header, status, content):
    log.write_bytes(b"0123456789")
    answer = requests.get(server.link("file", log.parent.name, "stdout.txt"), headers={"Range": header})
    assert answer.status_code == status
    if content is not None:
        assert answer.content == content


def test_refused_upload_with_expect_closes_the_connection(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["blob"], timeout=30)
    connection.putrequest("PUT", f"/{server.account}/c/b")
    for name, value in (
        ("Content-Length", "1000000"),
        ("Expect", "100-continue"),
        ("x-ms-blob-type", "BlockBlob"),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 404
    assert answer.headers["connection"] == "close"


def test_head_of_what_is_missing_names_the_error(server, log):
    answer = requests.head(server.link("file", log.parent.name, "no.txt"))
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (404, "ResourceNotFound")
    assert answer.content == b""


def test_unknown_calls_are_refused_politely(server, log):
    link = server.link("file", log.parent.name, "stdout.txt")
    assert requests.post(link).headers["x-ms-error-code"] == "UnsupportedHttpVerb"
    assert requests.get(f"{link}&comp=nonsense").headers["x-ms-error-code"] == "UnsupportedQueryParameter"
    assert requests.options(link).headers["x-ms-error-code"] == "InvalidHeaderValue"
