"""What jobs do to files is at once what clients see (docs/storage.md, "Files that jobs change")."""

import base64
import hashlib
import threading
from xml.etree import ElementTree

import pytest
from harness.storage_writers import client_for

BLOCK = {"x-ms-blob-type": "BlockBlob"}
PUT_AS = {
    "blob": lambda body: (BLOCK, body),
    "file": lambda body: ({"x-ms-type": "file", "x-ms-content-length": str(len(body))}, b""),
}


@pytest.fixture
def client(server):
    made = client_for(server.url("blob"), server.url("file"), server.account, server.key)
    yield made
    made.close()


@pytest.fixture(params=["blob", "file"])
def place(request, server, client, fresh_name):
    """A service, and a container or share of it with its directory."""
    restype = "container" if request.param == "blob" else "share"
    assert client.ask("PUT", request.param, fresh_name, {"restype": restype}).status == 201
    return request.param, fresh_name, server.directory(request.param, fresh_name)


def put(client, service, name, body, **metadata):
    headers, content = PUT_AS[service](body)
    headers = {**headers, **{f"x-ms-meta-{key}": value for key, value in metadata.items()}}
    assert client.ask("PUT", service, name, None, headers, content).status == 201
    if service == "file" and body:
        span = {"x-ms-write": "update", "x-ms-range": f"bytes=0-{len(body) - 1}"}
        assert client.ask("PUT", service, name, {"comp": "range"}, span, body).status == 201


def listed(client, service, container):
    """Lengths by name."""
    if service == "blob":
        answer = client.ask("GET", service, container, {"restype": "container", "comp": "list"})
    else:
        answer = client.ask("GET", service, container, {"restype": "directory", "comp": "list"})
    kind = "Blob" if service == "blob" else "File"
    entries = ElementTree.fromstring(answer.body).iter(kind)
    return {str(e.findtext("Name")): int(str(e.findtext("Properties/Content-Length"))) for e in entries}


def look(client, service, name, body):
    """All ways to look at an item tell of this content; the answer to a GET."""
    head = client.ask("HEAD", service, name)
    assert head.headers["content-length"] == str(len(body))
    whole = client.ask("GET", service, name)
    assert (whole.status, whole.body) == (200, body)
    assert whole.headers["etag"] == head.headers["etag"]
    assert listed(client, service, name.partition("/")[0])[name.partition("/")[2]] == len(body)
    past = client.ask("GET", service, name, None, {"x-ms-range": f"bytes={len(body)}-"})
    assert past.status == 416
    assert past.headers["content-range"] == f"bytes */{len(body)}"
    if body:
        last = client.ask("GET", service, name, None, {"x-ms-range": f"bytes={len(body) - 1}-"})
        assert (last.status, last.body) == (206, body[-1:])
    return whole


def test_made_grown_rewritten_renamed_deleted(client, place):
    service, container, directory = place
    etags = []
    (directory / "log.txt").write_bytes(b"one\n")
    etags.append(look(client, service, f"{container}/log.txt", b"one\n").headers["etag"])
    with (directory / "log.txt").open("ab") as log:
        log.write(b"two\n")
        log.flush()
        etags.append(look(client, service, f"{container}/log.txt", b"one\ntwo\n").headers["etag"])
    (directory / "log.txt").write_bytes(b"new")
    found = look(client, service, f"{container}/log.txt", b"new")
    etags.append(found.headers["etag"])
    assert len(set(etags)) == 3
    assert "content-md5" not in found.headers
    (directory / "log.txt").rename(directory / "other.txt")
    look(client, service, f"{container}/other.txt", b"new")
    assert client.ask("GET", service, f"{container}/log.txt").status == 404
    (directory / "other.txt").unlink()
    assert client.ask("HEAD", service, f"{container}/other.txt").status == 404
    assert listed(client, service, container) == {}


def test_what_a_client_said_stays_and_what_described_its_bytes_goes(client, place):
    service, container, directory = place
    name = f"{container}/data.bin"
    put(client, service, name, b"of a client", owner="me")
    before = client.ask("GET", service, name)
    if service == "blob":
        digest = hashlib.md5(b"of a client", usedforsecurity=False).digest()
        assert before.headers["content-md5"] == base64.b64encode(digest).decode()
    # As editors and most libraries do it: another file of that name.
    (directory / "new").write_bytes(b"of a job")
    (directory / "new").rename(directory / "data.bin")
    found = look(client, service, name, b"of a job")
    assert found.headers["x-ms-meta-owner"] == "me"
    assert "content-md5" not in found.headers
    assert found.headers["etag"] != before.headers["etag"]
    stale = {"If-Match": before.headers["etag"]}
    if service == "blob":
        assert client.ask("PUT", service, name, None, BLOCK | stale, b"x").status == 412


def test_a_client_writes_to_what_a_job_made(client, place):
    service, container, directory = place
    (directory / "d").mkdir()
    (directory / "d" / "f").write_bytes(b"of a job")
    name = f"{container}/d/f"
    answer = client.ask("PUT", service, name, {"comp": "metadata"}, {"x-ms-meta-k": "v"})
    assert answer.status == 200
    assert client.ask("GET", service, name).headers["x-ms-meta-k"] == "v"
    assert (directory / "d" / "f").read_bytes() == b"of a job"
    put(client, service, name, b"of a client")
    assert (directory / "d" / "f").read_bytes() == b"of a client"
    assert client.ask("DELETE", service, name).status == 202
    assert not (directory / "d" / "f").exists()


def test_a_log_may_be_appended_to_by_both(client, place):
    service, container, directory = place
    if service == "file":
        pytest.skip("append blobs are a matter of the Blob service")
    name = f"{container}/log"
    assert client.ask("PUT", service, name, None, {"x-ms-blob-type": "AppendBlob"}).status == 201
    content = b""
    for turn in range(3):
        with (directory / "log").open("ab") as log:
            log.write(b"job %d\n" % turn)
        content += b"job %d\n" % turn
        answer = client.ask("PUT", service, name, {"comp": "appendblock"}, None, b"client %d\n" % turn)
        assert answer.status == 201
        assert answer.headers["x-ms-blob-append-offset"] == str(len(content))
        content += b"client %d\n" % turn
        assert look(client, service, name, content).headers["x-ms-blob-type"] == "AppendBlob"


def test_no_change_in_a_large_directory_is_missed(client, place):
    """Names of large directories are kept between pages, as long as nothing has changed."""
    service, container, directory = place
    for number in range(1100):
        (directory / f"{number:04}").touch()
    names = {f"{number:04}" for number in range(1100)}
    for turn in range(12):
        assert set(listed(client, service, container)) == names
        (directory / f"new{turn}").touch()
        names.add(f"new{turn}")
        if turn % 3 == 0:
            assert set(listed(client, service, container)) == names
        (directory / f"{turn:04}").unlink()
        names.remove(f"{turn:04}")


def test_a_download_has_the_length_it_was_told_while_the_file_grows(client, place):
    service, container, directory = place
    file = directory / "growing"
    file.write_bytes(b"-")
    over = threading.Event()
    # So many lines per request: they come while it is answered.
    lines = threading.Semaphore(0)

    def grow():
        with file.open("ab") as log:
            while not over.is_set():
                lines.acquire()
                log.write(b"0123456789" * 100)
                log.flush()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        length = 0
        for _ in range(40):
            lines.release(20)
            answer = client.ask("GET", service, f"{container}/growing")
            assert answer.status == 200
            assert int(answer.headers["content-length"]) == len(answer.body) >= length
            length = len(answer.body)
            tail = client.ask(
                "GET", service, f"{container}/growing", None, {"x-ms-range": f"bytes={length}-"}
            )
            if tail.status == 206:
                first, _, total = tail.headers["content-range"].removeprefix("bytes ").partition("/")
                assert first == f"{length}-{int(total) - 1}"
                assert len(tail.body) == int(total) - length
            else:
                assert tail.status == 416
    finally:
        over.set()
        lines.release()
        thread.join()
    assert file.stat().st_size >= length
