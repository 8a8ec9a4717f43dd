"""Many blobs and huge files: everything is answered, in bounded memory."""

from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from harness.arm import unique
from harness.storage_writers import client_of

GIB = 1 << 30
HUGE = 20 * GIB
PAGE = 5000


@pytest.fixture
def client(service):
    made = client_of(service)
    yield made
    made.close()


def make_blobs(service, client, count):
    """A container whose files a job has made, some in directories; their names in order."""
    container = unique("many")
    assert client.ask("PUT", "blob", container, {"restype": "container"}).status == 201
    home = service.home / "storage" / service.account / "blob" / container
    names = [f"{n % 10}/{n:06}.dat" if n % 2 else f"{n:06}.dat" for n in range(count)]
    for n in (1, 3, 5, 7, 9):
        (home / str(n)).mkdir()
    for name in names:
        (home / name).touch()
    return container, sorted(names)


def listed(client, container, **query):
    """All pages of a listing: the names of blobs and prefixes, and how many pages there were."""
    found, marker, pages = [], "", 0
    while True:
        asked = {"restype": "container", "comp": "list", "marker": marker, **query}
        answer = client.ask("GET", "blob", container, asked)
        assert answer.status == 200, answer.body
        document = ElementTree.fromstring(answer.body)
        entries = document.find("Blobs")
        assert entries is not None
        assert len(entries) <= PAGE
        found += [str(entry.findtext("Name")) for entry in entries]
        marker, pages = document.findtext("NextMarker") or "", pages + 1
        if not marker:
            return found, pages


def peak_bytes(pid):
    """The most memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def test_all_blobs_of_a_full_container_are_listed(service, client):
    container, names = make_blobs(service, client, PAGE + 700)
    assert listed(client, container) == (names, 2)
    folded, _ = listed(client, container, delimiter="/")
    assert folded == sorted({name if "/" not in name else name[:2] for name in names})
    under, _ = listed(client, container, prefix="7/", maxresults="100")
    assert under == [name for name in names if name.startswith("7/")]


@pytest.mark.slow
def test_a_hundred_thousand_blobs_are_listed_in_bounded_memory(new_service):
    service = new_service().up()
    client = client_of(service)
    container, names = make_blobs(service, client, 100_000)
    before = psutil.Process(service.endpoint["pid"]).memory_full_info().pss
    for query in ({}, {"include": "metadata"}):
        found, pages = listed(client, container, **query)
        assert found == names
        assert pages == 20
    assert len(listed(client, container, delimiter="/")[0]) == 50_005
    assert peak_bytes(service.endpoint["pid"]) < before + (80 << 20)
    client.close()


def test_a_huge_file_is_read_and_written_at_its_end(service, client):
    share = unique("huge")
    assert client.ask("PUT", "file", share, {"restype": "share"}).status == 201
    name = f"{share}/big"
    headers = {"x-ms-type": "file", "x-ms-content-length": str(HUGE)}
    assert client.ask("PUT", "file", name, None, headers).status == 201
    write = {"x-ms-write": "update", "x-ms-range": f"bytes={HUGE - 4096}-{HUGE - 1}"}
    assert client.ask("PUT", "file", name, {"comp": "range"}, write, b"e" * 4096).status == 201
    head = client.ask("HEAD", "file", name)
    assert head.headers["content-length"] == str(HUGE)
    tail = client.ask("GET", "file", name, None, {"x-ms-range": f"bytes={HUGE - 5000}-"})
    assert tail.status == 206
    assert tail.headers["content-range"] == f"bytes {HUGE - 5000}-{HUGE - 1}/{HUGE}"
    assert tail.body == bytes(904) + b"e" * 4096
    ranges = ElementTree.fromstring(client.ask("GET", "file", name, {"comp": "rangelist"}).body)
    [found] = [(int(r.findtext("Start", "")), int(r.findtext("End", ""))) for r in ranges.iter("Range")]
    assert found == (HUGE - 4096, HUGE - 1)
    clear = {"x-ms-write": "clear", "x-ms-range": f"bytes=0-{HUGE - 1}"}
    assert client.ask("PUT", "file", name, {"comp": "range"}, clear).status == 201
    assert "<Range>" not in client.ask("GET", "file", name, {"comp": "rangelist"}).body.decode()
    past = client.ask("GET", "file", name, None, {"x-ms-range": f"bytes={HUGE}-"})
    assert past.status == 416
    assert past.headers["content-range"] == f"bytes */{HUGE}"
    file = service.share(share) / "big"
    assert file.stat().st_size == HUGE
    assert file.stat().st_blocks * 512 < 1 << 20


def test_a_huge_page_blob_takes_the_space_of_its_pages_and_so_do_its_copies(service, client):
    container = unique("pages")
    assert client.ask("PUT", "blob", container, {"restype": "container"}).status == 201
    name = f"{container}/disk"
    headers = {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": str(HUGE)}
    assert client.ask("PUT", "blob", name, None, headers).status == 201
    write = {"x-ms-page-write": "update", "x-ms-range": f"bytes={HUGE - 512}-{HUGE - 1}"}
    assert client.ask("PUT", "blob", name, {"comp": "page"}, write, b"e" * 512).status == 201
    copy = {"x-ms-copy-source": client.url("blob", name)}
    assert client.ask("PUT", "blob", f"{container}/copy", None, copy).status == 202
    home = service.home / "storage" / service.account / "blob" / container
    for each in ("disk", "copy"):
        head = client.ask("HEAD", "blob", f"{container}/{each}")
        assert head.headers["content-length"] == str(HUGE)
        span = {"x-ms-range": f"bytes={HUGE - 600}-{HUGE - 1}"}
        assert client.ask("GET", "blob", f"{container}/{each}", None, span).body == bytes(88) + b"e" * 512
        pages = client.ask("GET", "blob", f"{container}/{each}", {"comp": "pagelist"}).body.decode()
        assert pages.count("<PageRange>") == 1
        assert (home / each).stat().st_blocks * 512 < 1 << 20
