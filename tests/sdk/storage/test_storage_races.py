"""Many clients at once on one item: conditions let one of them win, and nobody ever sees a mixture."""

import base64
import hashlib
import itertools
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.storage_writers import client_for

THREADS = 8
BLOCK = {"x-ms-blob-type": "BlockBlob"}
APPEND = {"x-ms-blob-type": "AppendBlob"}


@pytest.fixture
def clients(server):
    """A client per thread."""
    made = [
        client_for(server.url("blob"), server.url("file"), server.account, server.key) for _ in range(THREADS)
    ]
    yield made
    for client in made:
        client.close()


@pytest.fixture
def container(clients, fresh_name):
    assert clients[0].ask("PUT", "blob", fresh_name, {"restype": "container"}).status == 201
    return fresh_name


@pytest.fixture
def share(clients, fresh_name):
    assert clients[0].ask("PUT", "file", fresh_name, {"restype": "share"}).status == 201
    return fresh_name


def together(clients, work):
    """`work(client, number)` by all clients, begun at the same moment; their results in order."""
    barrier = threading.Barrier(len(clients))

    def begin(client, number):
        barrier.wait(60)
        return work(client, number)

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(begin, clients, range(len(clients))))


def test_one_of_many_creations_wins(clients, container):
    for turn in range(10):
        name = f"{container}/b{turn}"

        def create(client, number, name=name):
            headers = BLOCK | {"If-None-Match": "*"}
            return client.ask("PUT", "blob", name, None, headers, bytes([number]) * 5000)

        answers = together(clients, create)
        assert sorted(answer.status for answer in answers) == [201] + [409] * (THREADS - 1)
        assert {a.headers["x-ms-error-code"] for a in answers if a.status == 409} == {"BlobAlreadyExists"}
        [winner] = [number for number, answer in enumerate(answers) if answer.status == 201]
        assert clients[0].ask("GET", "blob", name).body == bytes([winner]) * 5000


@pytest.mark.parametrize("what", ["content", "metadata"])
def test_one_of_many_changes_of_a_version_wins(clients, container, what):
    name = f"{container}/b"
    etag = clients[0].ask("PUT", "blob", name, None, BLOCK, b"-").headers["etag"]
    for _ in range(10):

        def change(client, number, etag=etag):
            headers = {"If-Match": etag, "x-ms-meta-n": str(number)}
            if what == "metadata":
                return client.ask("PUT", "blob", name, {"comp": "metadata"}, headers)
            return client.ask("PUT", "blob", name, None, BLOCK | headers, b"%d" % number)

        answers = together(clients, change)
        won = [number for number, answer in enumerate(answers) if answer.status < 300]
        assert len(won) == 1
        assert {answer.status for answer in answers} == {201 if what == "content" else 200, 412}
        found = clients[0].ask("GET", "blob", name)
        assert found.headers["x-ms-meta-n"] == str(won[0])
        assert found.headers["etag"] == answers[won[0]].headers["etag"]
        etag = found.headers["etag"]


@pytest.mark.parametrize("conditional", [True, False])
def test_appended_blocks_lie_one_after_the_other(clients, container, conditional):
    name = f"{container}/log"
    assert clients[0].ask("PUT", "blob", name, None, APPEND).status == 201

    def append(client, number):
        done, chance = [], random.Random(number)
        while len(done) < 12:
            body = bytes([number]) * chance.randint(1, 9000)
            length = int(client.ask("HEAD", "blob", name).headers["content-length"])
            headers = {"x-ms-blob-condition-appendpos": str(length)} if conditional else {}
            answer = client.ask("PUT", "blob", name, {"comp": "appendblock"}, headers, body)
            if conditional and answer.status == 412:
                assert answer.headers["x-ms-error-code"] == "AppendPositionConditionNotMet"
                continue
            assert answer.status == 201
            offset = int(answer.headers["x-ms-blob-append-offset"])
            assert offset == length or not conditional
            done.append((offset, body))
        return done

    blocks = sorted(itertools.chain(*together(clients, append)))
    found = clients[0].ask("GET", "blob", name)
    assert b"".join(body for _, body in blocks) == found.body
    assert [offset for offset, _ in blocks] == list(
        itertools.accumulate((len(body) for _, body in blocks[:-1]), initial=0)
    )
    assert found.headers["x-ms-blob-committed-block-count"] == str(len(blocks))


def test_a_reader_gets_content_and_headers_of_one_version(clients, container):
    name = f"{container}/b"
    over = threading.Event()

    def put(client, number):
        for turn in range(60):
            body = b"%d-%d " % (number, turn) * 300
            headers = BLOCK | {"x-ms-meta-v": f"{number}-{turn}"}
            assert client.ask("PUT", "blob", name, None, headers, body).status == 201
            if turn % 20 == 10:
                assert client.ask("DELETE", "blob", name).status in (202, 404)
        over.set()

    def read(client, number):
        found = []
        while not over.is_set():
            answer = client.ask("GET", "blob", name)
            if answer.status == 404:
                continue
            assert answer.status == 200
            found.append(answer)
        return found

    results = together(clients, lambda client, n: put(client, n) if n < 4 else read(client, n))
    read_ones = list(itertools.chain(*results[4:]))
    assert len(read_ones) > 10
    for answer in read_ones:
        assert answer.body.split()[0].decode() == answer.headers["x-ms-meta-v"]
        digest = hashlib.md5(answer.body, usedforsecurity=False).digest()
        assert answer.headers["content-md5"] == base64.b64encode(digest).decode()


def test_blocks_put_in_parallel_are_all_there(clients, container):
    name = f"{container}/b"
    numbers = range(64)

    def identifier(number):
        return base64.b64encode(b"%03d" % number).decode()

    def put(client, number):
        for block in numbers[number::THREADS]:
            query = {"comp": "block", "blockid": identifier(block)}
            assert client.ask("PUT", "blob", name, query, None, b"%d," % block).status == 201

    together(clients, put)
    entries = "".join(f"<Latest>{identifier(number)}</Latest>" for number in numbers)
    document = f"<BlockList>{entries}</BlockList>".encode()
    assert clients[0].ask("PUT", "blob", name, {"comp": "blocklist"}, None, document).status == 201
    assert clients[0].ask("GET", "blob", name).body == b"".join(b"%d," % number for number in numbers)


def test_containers_come_and_go_with_what_is_in_them(server, clients, fresh_name):
    """Whatever the order, nothing of a container outlives it."""

    def work(client, number):
        for turn in range(25):
            if number < 2:
                headers = {"x-ms-meta-v": f"{number}-{turn}"}
                answer = client.ask("PUT", "blob", fresh_name, {"restype": "container"}, headers)
                assert answer.status in (201, 409)
            elif number < 4:
                assert client.ask("DELETE", "blob", fresh_name, {"restype": "container"}).status in (202, 404)
            else:
                headers = BLOCK | {"x-ms-meta-v": "x"}
                answer = client.ask("PUT", "blob", f"{fresh_name}/b{number}", None, headers, b"x")
                assert answer.status in (201, 404), (answer.status, answer.body)
                query = {"comp": "block", "blockid": "QUFB"}
                answer = client.ask("PUT", "blob", f"{fresh_name}/c{number}", query, None, b"x")
                assert answer.status in (201, 404), (answer.status, answer.body)

    together(clients, work)
    clients[0].ask("DELETE", "blob", fresh_name, {"restype": "container"})
    home = server.root / server.account
    with sqlite3.connect(home / ".meta" / "side.db") as side:
        assert side.execute("SELECT path FROM item WHERE container = ?", (fresh_name,)).fetchall() == []
        assert side.execute("SELECT name FROM container WHERE name = ?", (fresh_name,)).fetchall() == []
    side.close()
    assert not (home / ".staging" / "blocks" / fresh_name).exists()
    settings = {"x-ms-meta-v": "last"}
    assert clients[0].ask("PUT", "blob", fresh_name, {"restype": "container"}, settings).status == 201
    found = clients[0].ask("GET", "blob", fresh_name, {"restype": "container"})
    assert found.headers["x-ms-meta-v"] == "last"


def test_one_of_many_creations_of_a_container_wins(clients, fresh_name):
    for turn in range(5):
        name = f"{fresh_name}{turn}"

        def create(client, number, name=name):
            headers = {"x-ms-meta-v": str(number)}
            return client.ask("PUT", "blob", name, {"restype": "container"}, headers).status

        statuses = together(clients, create)
        assert sorted(statuses) == [201] + [409] * (THREADS - 1)
        found = clients[0].ask("GET", "blob", name, {"restype": "container"})
        assert found.headers["x-ms-meta-v"] == str(statuses.index(201))


def test_ranges_of_one_file_written_in_parallel_are_all_there(clients, share):
    name, size = f"{share}/f", 64 * 4096
    headers = {"x-ms-type": "file", "x-ms-content-length": str(size)}
    assert clients[0].ask("PUT", "file", name, None, headers).status == 201

    def write(client, number):
        for start in range(number * 4096, size, THREADS * 4096):
            headers = {"x-ms-write": "update", "x-ms-range": f"bytes={start}-{start + 4095}"}
            body = bytes([start // 4096]) * 4096
            assert client.ask("PUT", "file", name, {"comp": "range"}, headers, body).status == 201

    together(clients, write)
    assert clients[0].ask("GET", "file", name).body == b"".join(bytes([n]) * 4096 for n in range(64))


def test_renames_lose_no_file(clients, share):
    names = [f"n{number}" for number in range(6)]
    for name in names[:4]:
        headers = {"x-ms-type": "file", "x-ms-content-length": "2", "x-ms-meta-v": name}
        assert clients[0].ask("PUT", "file", f"{share}/{name}", None, headers).status == 201
        headers = {"x-ms-write": "update", "x-ms-range": "bytes=0-1"}
        body = name.encode()
        assert (
            clients[0].ask("PUT", "file", f"{share}/{name}", {"comp": "range"}, headers, body).status == 201
        )

    def rename(client, number):
        chance = random.Random(number)
        for _ in range(25):
            source, target = chance.sample(names, 2)
            headers = {"x-ms-file-rename-source": client.url("file", f"{share}/{source}")}
            answer = client.ask("PUT", "file", f"{share}/{target}", {"comp": "rename"}, headers)
            assert answer.status in (200, 404, 409), (answer.status, answer.body)

    together(clients, rename)
    found = [clients[0].ask("GET", "file", f"{share}/{name}") for name in names]
    contents = sorted((a.body.decode(), a.headers["x-ms-meta-v"]) for a in found if a.status == 200)
    assert contents == [(name, name) for name in names[:4]]
