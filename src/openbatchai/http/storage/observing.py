"""What is told about each request after its answer: the access log's line and the metrics.

Neither ever holds a path, a query or a credential: names of accounts and containers are all that is told of
what was asked for.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from openbatchai.http.storage.exchange import Message, Receive, Send

# What clients write into x-ms-client-request-id is theirs; the real service keeps as much of it.
_CLIENT_ID_LENGTH = 1024
_CUT = ',"cut":true'
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Served:
    """One request and how it ended.

    `status` is 0 when the client went away before an answer; `complete` tells that the whole answer was
    handed over. `code` is the error code, "" on success; `seconds` run from the head of the request to the
    end of the answer. Bytes are those of bodies.
    """

    service: str
    operation: str
    status: int
    code: str
    bytes_in: int
    bytes_out: int
    seconds: float
    complete: bool
    request_id: str
    client_request_id: str
    account: str
    container: str
    means: str
    version: str


Observe = Callable[[Served], None]


class Meter:
    """Stands between an app and its server, and sees what goes through."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._began = time.perf_counter()
        self.bytes_in = 0
        self.bytes_out = 0
        self.status = 0
        self.complete = False

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    async def receive(self) -> Message:
        message: Message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)


class AccessLog:
    """Appends one JSON object a line to a file of mode 0600; at `max_bytes` it becomes `.1`, that `.2`, up
    to `keep`.

    No handler of `logging`: making and handing on a record costs three times what the line itself does.
    """

    def __init__(self, path: Path, *, max_bytes: int = 10 << 20, keep: int = 3) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor, self._size = self._open()

    def record(self, served: Served) -> None:
        self.write(access_line(served))

    def write(self, text: str) -> None:
        line = f"{text}\n".encode()
        try:
            if self._size + len(line) > self._max_bytes:
                self._rotate()
            # One write of a whole line: a kill leaves no half of one behind another.
            os.write(self._descriptor, line)
            self._size += len(line)
        except OSError:
            # A full disk must not stop the service: the line is lost, and the next one would be too.
            return

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> tuple[int, int]:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return descriptor, os.fstat(descriptor).st_size

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        # Somebody may have taken it away meanwhile.
        with suppress(FileNotFoundError):
            self._path.replace(self._numbered(1))
        os.close(self._descriptor)
        self._descriptor, self._size = self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def access_line(served: Served) -> str:
    """By hand: what of it could need escaping in JSON is little, and this is on every request's way."""
    now = time.time()
    quoted = encode_basestring_ascii
    return (
        f'{{"time":"{_second(int(now))}.{int(now % 1 * 1000):03d}Z","service":"{served.service}",'
        f'"operation":"{served.operation}","status":{served.status},"code":"{served.code}",'
        f'"ms":{served.seconds * 1000:.2f},"bytesIn":{served.bytes_in},"bytesOut":{served.bytes_out},'
        f'"requestId":"{served.request_id}",'
        f'"clientRequestId":{quoted(served.client_request_id[:_CLIENT_ID_LENGTH])},'
        f'"account":{quoted(served.account)},"container":{quoted(served.container)},'
        f'"auth":"{served.means}","version":"{served.version}"{"" if served.complete else _CUT}}}'
    )


@lru_cache(maxsize=1)
def _second(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))


class StorageMetrics:
    """Counters and histograms of both services in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "batchai_storage_requests",
            "Requests by operation, status and error code",
            ["service", "operation", "status", "code"],
            registry=self._registry,
        )
        by_operation = ["service", "operation"]
        self._received = Counter(
            "batchai_storage_received_bytes", "Bytes of request bodies", by_operation, registry=self._registry
        )
        self._sent = Counter(
            "batchai_storage_sent_bytes", "Bytes of answers' bodies", by_operation, registry=self._registry
        )
        self._seconds = Histogram(
            "batchai_storage_request_seconds",
            "Time from the head of the request to the end of the answer",
            by_operation,
            buckets=_BUCKETS,
            registry=self._registry,
        )
        # labels() looks children up under a lock; this is on the way of every request.
        self._outcomes: dict[tuple[str, str, int, str], Counter] = {}
        self._flows: dict[tuple[str, str], tuple[Counter, Counter, Histogram]] = {}

    def record(self, served: Served) -> None:
        outcome = (served.service, served.operation, served.status, served.code)
        requests = self._outcomes.get(outcome)
        if requests is None:
            requests = self._outcomes[outcome] = self._requests.labels(*outcome)
        requests.inc()
        operation = outcome[:2]
        flow = self._flows.get(operation)
        if flow is None:
            flow = self._flows[operation] = (
                self._received.labels(*operation),
                self._sent.labels(*operation),
                self._seconds.labels(*operation),
            )
        received, sent, seconds = flow
        if served.bytes_in:
            received.inc(served.bytes_in)
        if served.bytes_out:
            sent.inc(served.bytes_out)
        seconds.observe(served.seconds)

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def observe_all(*observers: Observe) -> Observe:
    def observe(served: Served) -> None:
        for observer in observers:
            observer(served)

    return observe
