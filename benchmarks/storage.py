"""The Blob service under load, beside Azurite 3.35 and nginx started in the same run.

    python benchmarks/storage.py [PART …] [--rounds 3] [--blobs 10000] [--entries 1000000]

Parts, all by default: transfer, small, list, flat, raw, memory. CPU is what the server's process
used, the client's not counted. Azurite is installed by npm into ~/.cache/openbatchai-bench. A run in which
ours is measured beside a busy machine says little: the load is printed with each part.
"""

import argparse
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from measuring import at_least, heading, line, median, new_home, service
from storage_peers import CONTAINER, Server, azurite, ceiling, ours, trusting

MIB = 2**20
TRANSFER = 256 * MIB
SMALL = os.urandom(4096)
METADATA = {"project": "benchmark", "epoch": "17"}
SMALL_CALLS = 2000
RAW_BYTES = 1024 * MIB
UPLOADS = 16


class Bench:
    """One part's run: our service, Azurite beside it where it can be had, and the options."""

    def __init__(self, options: argparse.Namespace, home: Path, endpoint: dict[str, Any]) -> None:
        self.options = options
        self.home = home
        self.endpoint = endpoint
        self.ours = ours(endpoint)
        self.rounds: int = options.rounds

    @property
    def directory(self) -> Path:
        """Where our container's blobs lie as files."""
        return self.home / "storage" / self.ours.account / "blob" / CONTAINER


# --- transfer: big blobs through the SDK


def transfer(bench: Bench, peer: Server | None) -> None:
    heading(f"256 MiB through azure-storage-blob, median of {bench.rounds}, the two in turn")
    data = os.urandom(TRANSFER)
    servers = [server for server in (bench.ours, peer) if server]
    up: dict[str, list[float]] = {server.name: [] for server in servers}
    down: dict[str, list[float]] = {server.name: [] for server in servers}
    for _ in range(bench.rounds):
        for server in servers:
            with server.container() as container:
                up[server.name].append(rate(lambda: container.upload_blob("big", data, overwrite=True)))
                down[server.name].append(rate(lambda: container.download_blob("big").readall()))
    for what, rates in (("up", up), ("down", down)):
        figures = {name: median(found) for name, found in rates.items()}
        peers = [(peer.name, figures[peer.name])] if peer else []
        bar = 2 * figures[peer.name] if peer else None
        at_least(f"{what}", figures[bench.ours.name], "MiB/s", bar, *peers)


def rate(call: Callable[[], object], size: int = TRANSFER) -> float:
    begun = time.perf_counter()
    call()
    return size / MIB / (time.perf_counter() - begun)


# --- small: what a request costs


def small(bench: Bench, peer: Server | None) -> None:
    heading(f"4 KiB blobs through the SDK, SharedKey, metadata: server CPU over {SMALL_CALLS} calls")
    puts, gets = {}, {}
    for server in (bench.ours, peer):
        if server is None:
            continue
        with server.container() as container:

            def put(number: int, container: Any = container) -> None:
                container.upload_blob(f"small-{number}", SMALL, metadata=METADATA, overwrite=True)

            def get(number: int, container: Any = container) -> None:
                container.download_blob(f"small-{number}").readall()

            for call in (put, get):
                cpu_each(server, call, 50)
            puts[server.name] = cpu_each(server, put, SMALL_CALLS) * 1e3
            gets[server.name] = cpu_each(server, get, SMALL_CALLS) * 1e3
    for what, figures, bar in (("put", puts, 0.6), ("get", gets, 0.5)):
        peers = [(peer.name, figures[peer.name])] if peer else []
        line(f"server CPU per {what}", figures[bench.ours.name], "ms", bar, *peers)


def cpu_each(server: Server, call: Callable[[int], None], count: int) -> float:
    """Seconds of the server's processor time per call."""
    begun = server.cpu()
    for number in range(count):
        call(number)
    return (server.cpu() - begun) / count


# --- list: pages of blobs that clients have put


def listing(bench: Bench, peer: Server | None) -> None:
    count: int = bench.options.blobs
    heading(f"{count} blobs with metadata, listed in pages of 5,000: server CPU, median of {bench.rounds}")
    figures: dict[str, float] = {}
    for server in (bench.ours, peer):
        if server is None:
            continue
        fill(server, count)
        found = []
        for _ in range(bench.rounds):
            begun = server.cpu()
            with server.container() as container:
                names = sum(1 for _ in container.list_blobs(name_starts_with="listed/", include=["metadata"]))
            found.append(server.cpu() - begun)
            if names != count:
                raise RuntimeError(f"{server.name} lists {names} of {count} blobs")
        figures[server.name] = median(found)
    peers = [(peer.name, figures[peer.name])] if peer else []
    line("server CPU for all", figures[bench.ours.name], "s", 0.3 * count / 10_000, *peers)


def fill(server: Server, count: int) -> None:
    """Put small blobs over plain connections, which takes a client much less than the SDK does."""
    token = server.token()
    path = urlsplit(server.url).path

    def put(numbers: range) -> None:
        connection = connect(server.url)
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-08-06", "x-ms-meta-epoch": "17"}
        for number in numbers:
            target = f"{path}/{CONTAINER}/listed/{number:07d}?{token}"
            connection.request("PUT", target, b"x", headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 201:
                raise RuntimeError(f"{server.name} answers {answer.status}")
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, [range(first, count, 4) for first in range(4)]))


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port)


# --- flat: a directory with very many files, which a job has made


def flat(bench: Bench, peer: Server | None) -> None:
    count: int = bench.options.entries
    heading(f"a flat directory of {count} files made by a job, listed in pages of 5,000")
    directory = bench.directory / "flat"
    directory.mkdir()
    at = os.open(directory, os.O_RDONLY)
    for number in range(count):
        os.close(os.open(f"{number:08d}.bin", os.O_WRONLY | os.O_CREAT, 0o664, dir_fd=at))
    os.close(at)
    first = page(bench.ours)
    later = []
    last = first
    for _ in range(min(10, count // 5000 - 1)):
        last = page(bench.ours, last.marker)
        later.append(last)
    (directory / "00000000.new").touch()
    again = page(bench.ours)
    if again.names[1] != "flat/00000000.new":
        raise RuntimeError("a file that a job made is not listed")
    line("first page", first.seconds, "s", 2.0)
    line("first page, server CPU", first.cpu, "s", None)
    if later:
        line("each of the next ten pages", median([each.seconds for each in later]), "s", None)
        line("each of the next ten pages, server CPU", median([each.cpu for each in later]), "s", None)
    line("first page after a job added a file", again.seconds, "s", 2.0)
    line("memory of the service (PSS) after it", bench.ours.pss_mib(), "MiB", None)


@dataclass(frozen=True)
class Page:
    """Seconds until it was there, seconds of the server's processor, names, and the next marker."""

    seconds: float
    cpu: float
    names: list[str]
    marker: str


def page(server: Server, marker: str = "") -> Page:
    """By a bare client: the SDK takes longer to parse a page than the server to make it."""
    query = f"restype=container&comp=list&prefix=flat/&marker={quote(marker)}&{server.token()}"
    connection = connect(server.url)
    begun, cpu = time.perf_counter(), server.cpu()
    connection.request("GET", f"{urlsplit(server.url).path}/{CONTAINER}?{query}")
    answer = connection.getresponse()
    text = answer.read().decode()
    seconds, cpu = time.perf_counter() - begun, server.cpu() - cpu
    connection.close()
    if answer.status != 200:
        raise RuntimeError(text)
    found = re.search("<NextMarker>(.*?)</NextMarker>", text)
    names = re.findall("<Name>(.*?)</Name>", text)
    return Page(seconds, cpu, names, found.group(1) if found else "")


# --- raw: what one connection carries


def raw(bench: Bench, peer: Server | None) -> None:
    heading(f"ranged GET of {RAW_BYTES // MIB} MiB by a bare client, median of {bench.rounds}")
    made = bench.directory / "raw"
    with made.open("wb") as file:
        for _ in range(RAW_BYTES // (16 * MIB)):
            file.write(os.urandom(16 * MIB))
    ready = ceiling(bench.directory)
    account, token = bench.ours.account, bench.ours.token()
    address = urlsplit(bench.ours.url)
    host = f"{account}.blob.core.windows.net"
    proxy = urlsplit(bench.endpoint["proxy"])
    context, careless = trusting(bench.endpoint["ca_bundle"]), trusting(None)
    with ready as top:
        plain, plain_top, tls, tls_top = [], [], [], []
        for _ in range(bench.rounds):
            target = f"/{account}/{CONTAINER}/raw?{token}"
            plain.append(get(dial(address.port), address.netloc, target))
            plain_top.append(get(dial(top.port), "localhost", "/raw"))
            target = f"/{CONTAINER}/raw?{token}"
            tls.append(get(tunnel(proxy.port, host, context), host, target))
            if top.tls_port:
                secure = careless.wrap_socket(dial(top.tls_port), server_hostname="localhost")
                tls_top.append(get(secure, "localhost", "/raw"))
    made.unlink()
    at_least("plain", median(plain), "GiB/s", 1.5, (top.name, median(plain_top)))
    peers = [(top.name, median(tls_top))] if tls_top else []
    at_least("TLS through the CONNECT proxy", median(tls), "GiB/s", 0.8, *peers)


def dial(port: int | None) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port or 0))


def tunnel(port: int | None, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    connection = dial(port)
    connection.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    return context.wrap_socket(connection, server_hostname=host)


def get(connection: socket.socket, host: str, target: str) -> float:
    """GiB/s of the body; the connection is closed after it."""
    with connection:
        words = f"Host: {host}\r\nRange: bytes=0-{RAW_BYTES - 1}\r\nx-ms-version: 2021-08-06\r\n"
        begun = time.perf_counter()
        connection.sendall(f"GET {target} HTTP/1.1\r\n{words}Connection: close\r\n\r\n".encode())
        buffer = memoryview(bytearray(MIB))
        got = connection.recv_into(buffer)
        if not bytes(buffer[:16]).startswith((b"HTTP/1.1 206", b"HTTP/1.1 200")):
            raise RuntimeError(bytes(buffer[:got]).decode("latin-1"))
        total = got
        while got := connection.recv_into(buffer):
            total += got
        if total < RAW_BYTES:
            raise RuntimeError(f"the answer ended after {total} bytes")
        return RAW_BYTES / 2**30 / (time.perf_counter() - begun)


# --- memory: many uploads at a time


def memory(bench: Bench, peer: Server | None) -> None:
    heading(f"peak memory (PSS) under {UPLOADS} parallel uploads of 256 MiB")
    before = bench.ours.pss_mib()
    line("before", before, "MiB", None)
    data = os.urandom(TRANSFER)
    # As the SDK does by itself, in blocks; and each as one request.
    for what, single in (("in blocks of 4 MiB", 64 * MIB), ("each in one request", TRANSFER)):

        def upload(number: int, single: int = single) -> None:
            with bench.ours.container() as container:
                client = container.get_blob_client(f"parallel-{number}")
                client._config.max_single_put_size = single
                client.upload_blob(data, overwrite=True)

        with peak(bench.ours) as found, ThreadPoolExecutor(UPLOADS) as pool:
            begun = time.perf_counter()
            list(pool.map(upload, range(UPLOADS)))
            seconds = time.perf_counter() - begun
        line(f"{what} ({UPLOADS * TRANSFER / MIB / seconds:.0f} MiB/s)", found[0], "MiB", 150)
    with bench.ours.container() as container:
        for number in range(UPLOADS):
            container.delete_blob(f"parallel-{number}")


@contextmanager
def peak(server: Server) -> Iterator[list[float]]:
    """A list whose only entry is the most memory that was seen, in MiB."""
    found, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            found[0] = max(found[0], server.pss_mib())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield found
    finally:
        done.set()
        watching.join()


PARTS = {
    "transfer": transfer,
    "small": small,
    "list": listing,
    "flat": flat,
    "raw": raw,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blobs", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    options = parser.parse_args()
    os.environ["NO_PROXY"] = "*"
    for name in options.parts or PARTS:
        # A service of its own for each: what a part leaves in memory or on disk is not the next one's.
        with new_home() as home, service(home) as endpoint, azurite() as peer:
            bench = Bench(options, home, endpoint)
            for server in (bench.ours, peer):
                if server is not None:
                    with server.container() as container:
                        container.create_container()
            PARTS[name](bench, peer)


if __name__ == "__main__":
    main()
