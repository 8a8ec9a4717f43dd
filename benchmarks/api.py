"""The control plane: a GET, a PUT and a page of jobs, with few and with very many jobs, and beside transfers.

    python benchmarks/api.py [PART …] [--jobs 1000 1000000]

Parts, both by default: requests, busy. Each request checks the token, each PUT is on disk when it is
answered; bare HTTPS clients on connections that are kept. Beside ours, in the same run, is a prototype that
only verifies the token, reads or commits one row and renders it (api_prototype.py).
"""

import argparse
import contextlib
import dataclasses
import http.client
import itertools
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
import psutil
from batchai import EXPERIMENT, GROUP, WORKSPACE, Client
from measuring import at_least, heading, line, median, new_home, percentile, service
from sqlalchemy import insert
from storage_peers import CONTAINER, certificate, ours, running, scratch, trusting

from openbatchai.config import Home
from openbatchai.domain.jobs import ExecutionState
from openbatchai.store import tables
from openbatchai.store.secrets import SecretBox
from openbatchai.store.unit import Store, Unit, open_engine

REQUESTS = 400
RATE_S = 5.0
CLIENTS = 4
PAGES = 10
TRANSFERS = 4
TRANSFERRED = 512 << 20
PIECE = 1 << 20
BATCH = 10_000
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Target:
    """A server under test: where a job is, and what a new one's body is. `bundle` is its CA, "" for any."""

    name: str
    pid: int
    port: int
    bundle: str
    token: str
    jobs: str
    query: str
    body: str

    def connect(self) -> "Session":
        return Session(self)

    def path(self, name: str) -> str:
        return f"{self.jobs}/{name}{self.query}"


class Session:
    """One kept connection."""

    def __init__(self, target: Target) -> None:
        self._target = target
        context = trusting(target.bundle or None)
        self._connection = http.client.HTTPSConnection("127.0.0.1", target.port, context=context)
        self._headers = {"Authorization": f"Bearer {target.token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: str | None = None) -> bytes:
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self._target.name} answers {answer.status}: {content[:500]!r}")
        return content

    def timed(self, method: str, path: str, body: str | None = None) -> float:
        """Milliseconds."""
        begun = time.perf_counter()
        self.call(method, path, body)
        return (time.perf_counter() - begun) * 1e3


# --- requests: few and very many jobs


def requests(options: argparse.Namespace) -> None:
    for count in options.jobs:
        with new_home() as home:
            with service(home) as endpoint:
                cluster = Client(endpoint).cluster
                server = target(endpoint, cluster)
                template = server.connect().call("PUT", server.path("template"), server.body)
            begun = time.perf_counter()
            fill(home, count)
            filled = time.perf_counter() - begun
            begun = time.perf_counter()
            with service(home) as endpoint:
                started = time.perf_counter() - begun
                with prototype(template, count) as peer:
                    heading(f"{count:,} jobs in one experiment, filled in {filled:.0f} s")
                    line("the service starts over them", started, "s", None)
                    measure(target(endpoint, cluster), peer)


def measure(server: Target, peer: Target) -> None:
    both = (server, peer)
    sessions = {each.name: each.connect() for each in both}
    gets: dict[str, list[float]] = {each.name: [] for each in both}
    puts: dict[str, list[float]] = {each.name: [] for each in both}
    pages: dict[str, list[float]] = {each.name: [] for each in both}
    for each in both:
        # The first requests of a process load what the others find.
        for _ in range(50):
            sessions[each.name].call("GET", each.path("filled0"))
        sessions[each.name].call("PUT", each.path("first"), each.body)
    for number, each in itertools.product(range(REQUESTS), both):
        gets[each.name].append(sessions[each.name].timed("GET", each.path(f"filled{number}")))
    for number, each in itertools.product(range(REQUESTS), both):
        puts[each.name].append(sessions[each.name].timed("PUT", each.path(f"new{number}"), each.body))
    for _, each in itertools.product(range(PAGES), both):
        pages[each.name].append(sessions[each.name].timed("GET", f"{each.jobs}{each.query}"))
    second = [following(sessions[server.name], server) for _ in range(PAGES)]
    ours_name, peer_name = server.name, peer.name

    def show(what: str, values: dict[str, list[float]], share: float, bar: float | None) -> None:
        line(
            what,
            percentile(values[ours_name], share),
            "ms",
            bar,
            (peer_name, percentile(values[peer_name], share)),
        )

    show("GET of a job, p50", gets, 0.5, 2)
    show("GET of a job, p99", gets, 0.99, None)
    show("PUT of a job, p50", puts, 0.5, 5)
    show("PUT of a job, p99", puts, 0.99, 25)
    show("page of up to 1,000 jobs, p50", pages, 0.5, 60)
    line("the page after it, p50", median(second), "ms", 60)
    found = {each.name: rate(each) for each in both}
    at_least(
        f"GETs of {CLIENTS} clients, the server on one core",
        found[ours_name],
        "/s",
        800,
        (peer_name, found[peer_name]),
    )


def following(session: Session, server: Target) -> float:
    """Milliseconds of the second page."""
    link = json.loads(session.call("GET", f"{server.jobs}{server.query}"))["nextLink"]
    parts = urlsplit(link)
    return session.timed("GET", f"{parts.path}?{parts.query}")


def rate(server: Target) -> float:
    """GETs a second of several clients, while the server has one processor and they have the others."""
    mine = os.sched_getaffinity(0)
    own, *others = sorted(mine)
    pin(server.pid, {own})
    try:
        with ProcessPoolExecutor(CLIENTS, mp_context=_spawn) as pool:
            # Once to have them there.
            list(pool.map(gets_for, [server] * CLIENTS, [0.2] * CLIENTS, [set(others)] * CLIENTS))
            return sum(pool.map(gets_for, [server] * CLIENTS, [RATE_S] * CLIENTS, [set(others)] * CLIENTS))
    finally:
        pin(server.pid, mine)


def gets_for(server: Target, seconds: float, processors: set[int]) -> float:
    if processors:
        os.sched_setaffinity(0, processors)
    session = server.connect()
    begun = time.perf_counter()
    for number in itertools.count():
        if (took := time.perf_counter() - begun) > seconds:
            return number / took
        session.call("GET", server.path(f"filled{number % 1000}"))
    raise AssertionError


def pin(pid: int, processors: set[int]) -> None:
    for thread in psutil.Process(pid).threads():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread.id, processors)


def target(endpoint: dict[str, Any], cluster: str) -> Target:
    form = {
        "grant_type": "client_credentials",
        "client_id": endpoint["client_id"],
        "client_secret": endpoint["client_secret"],
        "resource": "https://management.azure.com/",
    }
    port = urlsplit(endpoint["arm"]).port or 0
    login = http.client.HTTPSConnection("127.0.0.1", port, context=trusting(endpoint["ca_bundle"]))
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    login.request("POST", f"/{endpoint['tenant']}/oauth2/token", urlencode(form), kind)
    token = json.loads(login.getresponse().read())["access_token"]
    place = f"/subscriptions/{endpoint['subscription_id']}/resourceGroups/{GROUP}/providers"
    place += f"/Microsoft.BatchAI/workspaces/{WORKSPACE}/experiments/{EXPERIMENT}/jobs"
    # More nodes than there are: the jobs stay queued, and only the requests are timed.
    properties = {
        "cluster": {"id": cluster},
        "nodeCount": 100,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/share",
        "environmentVariables": [{"name": f"NAME{number}", "value": "x" * 20} for number in range(4)],
        "customToolkitSettings": {"commandLine": "python train.py --epochs 10"},
    }
    body = json.dumps({"properties": properties})
    bundle, query = endpoint["ca_bundle"], "?api-version=2018-05-01"
    return Target("ours", endpoint["pid"], port, bundle, token, place, query, body)


def fill(home: Path, count: int) -> None:
    """Finished jobs like the one that is there, put into the store while no service runs."""
    place = Home(home)
    store = Store(open_engine(place.database), SecretBox(place.secret_key))
    try:
        for first in range(0, count, BATCH):
            numbers = range(first, min(first + BATCH, count))
            store.write(partial(add, numbers=numbers))
    finally:
        store.close()


def add(unit: Unit, numbers: range) -> None:
    template = unit.jobs.get(key="template")
    if template is None:
        raise LookupError("no job to make others like")
    values = {field.name: getattr(template, field.name) for field in dataclasses.fields(template)}
    values |= {
        "secrets": "",
        "execution_state": ExecutionState.SUCCEEDED,
        "started": template.created,
        "ended": template.created,
        "exit_code": 0,
    }
    del values["id"]
    sealed = unit.connection.execute(tables.jobs.select()).first()
    if sealed is None:
        raise LookupError("no job to make others like")
    values["secrets"] = sealed.secrets
    rows = [values | {"key": f"filled{number}", "name": f"filled{number}"} for number in numbers]
    unit.connection.execute(insert(tables.jobs), rows)


@contextlib.contextmanager
def prototype(template: bytes, count: int) -> Iterator[Target]:
    with scratch() as home:
        certificate(home)
        (home / "job.json").write_bytes(template)
        secret = os.urandom(32)
        (home / "token.key").write_bytes(secret)
        token = jwt.encode({"sub": "benchmark"}, secret, "HS256")
        # While it fills its table others may look for ports where the service looks: not one of those.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        program = str(Path(__file__).with_name("api_prototype.py"))
        with running([sys.executable, program, str(port), str(home), str(count)], port) as pid:
            yield Target("prototype", pid, port, "", token, "/jobs", "", template.decode())


# --- busy: a GET while blobs go in or out


def busy(options: argparse.Namespace) -> None:
    heading(f"GET of a job while {TRANSFERS} transfers of {TRANSFERRED >> 20} MiB run")
    with new_home() as home, service(home) as endpoint:
        server = target(endpoint, Client(endpoint).cluster)
        blobs = ours(endpoint)
        with blobs.container() as container:
            container.create_container()
        with (home / "storage" / blobs.account / "blob" / CONTAINER / "watched").open("wb") as content:
            content.truncate(TRANSFERRED)
        template = server.connect().call("PUT", server.path("filled0"), server.body)
        with prototype(template, 1000) as peer:
            for what, transfer in (("nothing", None), ("downloads", download), ("uploads", upload)):
                beside(what, (server, peer), transfers(blobs.url, blobs.token(), transfer))


def beside(what: str, both: tuple[Target, Target], work: AbstractContextManager[Any]) -> None:
    """GETs while `work` goes on. The prototype has no part in it: its figures are what the machine leaves."""
    sessions = [each.connect() for each in both]
    took: tuple[list[float], list[float]] = ([], [])
    for _, (session, each) in itertools.product(range(50), zip(sessions, both, strict=True)):
        session.call("GET", each.path("filled0"))
    with work as moved:
        begun, before = time.perf_counter(), sum(moved)
        for _, (session, each, times) in itertools.product(
            range(REQUESTS), zip(sessions, both, took, strict=True)
        ):
            times.append(session.timed("GET", each.path("filled0")))
        seconds, count = time.perf_counter() - begun, sum(moved) - before
    for share in (0.5, 0.99):
        bar = 25 if count and share > 0.9 else None
        mine, other = (percentile(times, share) for times in took)
        line(f"GET of a job beside {what}, p{share * 100:.0f}", mine, "ms", bar, (both[1].name, other))
    if count:
        line("which moved meanwhile", count / seconds / 2**20, "MiB/s", None)


@contextlib.contextmanager
def transfers(url: str, token: str, work: Callable[..., None] | None) -> Iterator[Any]:
    """Bytes moved so far by each of the processes that do `work`, once all of them are at it."""
    moved = _spawn.Array("Q", TRANSFERS, lock=False)
    if work is None:
        yield moved
        return
    begun = _spawn.Semaphore(0)
    # Processes: threads would make the client itself slow, not the service.
    started = [
        _spawn.Process(target=work, args=(url, token, number, moved, begun)) for number in range(TRANSFERS)
    ]
    for process in started:
        process.start()
    for _ in started:
        begun.acquire()
    try:
        yield moved
    finally:
        for process in started:
            process.terminate()
            process.join()


def download(url: str, token: str, number: int, moved: Any, begun: Semaphore) -> None:
    """The same blob again and again, until the process is ended; `begun` is told of the first."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    buffer = bytearray(PIECE)
    for turn in itertools.count():
        connection.request("GET", f"{parts.path}/{CONTAINER}/watched?{token}")
        answer = connection.getresponse()
        if not turn:
            begun.release()
        while count := answer.readinto(buffer):
            moved[number] += count


def upload(url: str, token: str, number: int, moved: Any, begun: Semaphore) -> None:
    """The same, each blob in one request."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    piece = os.urandom(PIECE)

    def pieces(turn: int) -> Iterator[bytes]:
        for index in range(TRANSFERRED // PIECE):
            yield piece
            moved[number] += PIECE
            if not turn and not index:
                begun.release()

    headers = {
        "x-ms-blob-type": "BlockBlob",
        "x-ms-version": "2021-08-06",
        "Content-Length": str(TRANSFERRED),
    }
    for turn in itertools.count():
        path = f"{parts.path}/{CONTAINER}/up{number}?{token}"
        connection.request("PUT", path, pieces(turn), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 201:
            raise RuntimeError(text.decode())


PARTS = {"requests": requests, "busy": busy}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 1_000_000])
    options = parser.parse_args()
    os.environ["NO_PROXY"] = "*"
    for name in options.parts or PARTS:
        PARTS[name](options)


if __name__ == "__main__":
    main()
