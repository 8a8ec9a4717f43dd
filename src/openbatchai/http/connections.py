"""What the listeners and the proxy share: accepted sockets on their way to uvicorn's HTTP protocol.

We accept sockets ourselves because each port speaks http and TLS: the first byte decides (0x16 opens a
TLS handshake, RFC 8446 5.1), and it must be looked at without being consumed. Peeking at the socket also
lets the proxy consume exactly the head of a CONNECT request, so whatever a client sends right behind it
meets the TLS layer untouched.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import time
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from operator import itemgetter
from typing import Any, cast

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

log = logging.getLogger(__name__)

HEAD_DEADLINE_S = 60.0
KEEP_ALIVE_S = 75
TLS_FIRST_BYTE = b"\x16"
# In the scope of a request that came in absolute form (`GET http://host/path`), which only proxies get: the
# scheme of its target. `scope["scheme"]` stays how the request itself came, on which access depends.
ABSOLUTE_FORM = "openbatchai.absolute_form"
# In the scope of a request whose storage metadata has capitals in its names: lower-case header name -> as
# sent. Header names have no case, so ASGI knows them lowered; metadata is given back as it came.
SPELLED_NAMES = "openbatchai.spelled_names"
_METADATA = b"x-ms-meta-"

_BACKLOG = 1024
# The parser has no limit of its own. The work on a head before its sender is known grows with its length.
_HEAD_LIMIT = 64 * 1024
_ACCEPT_RETRY_S = 0.5
_ACCEPTS_PER_WAKE = 64
# A client that ignores close_notify would otherwise hold a stop until TLS gives up on it.
_LINGER_S = 0.5


class PortInUseError(OSError):
    """Another process holds the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is in use by another process")
        self.host = host
        self.port = port


class AddressError(OSError):
    """The address is none of this machine's."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"cannot listen on {host}: {reason}")


def bind(host: str, port: int) -> socket.socket:
    """A listening, non-blocking socket; port 0 picks a free one. Raises PortInUseError, AddressError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(host, port) from error
        raise AddressError(host, error.strerror or str(error)) from error
    listening.setblocking(False)
    return listening


async def peek(sock: socket.socket, size: int) -> bytes:
    """Up to `size` bytes at the front of what has arrived, left in place; b"" at the end of the stream."""
    while True:
        try:
            return sock.recv(size, socket.MSG_PEEK)
        except BlockingIOError:
            await _readable(sock)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


@dataclass(frozen=True)
class Limits:
    """What clients may take of a port.

    `connections`: with so many of them open, the one that has been idle longest gives way to a new one; where
    none is idle, or as many requests are in flight, a request is answered 503.
    `stalled_s`: a connection on which nothing has moved for that long, though it is the client's turn to send
    a body or to take an answer, is cut, at the latest after twice that time.
    """

    connections: int = 400
    stalled_s: float = 60.0


DEFAULT_LIMITS = Limits()


class Connections(ServerState):
    """The open HTTP connections of one listener or proxy, and the state uvicorn shares between them."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.config = _config(limits.connections)
        self.changed = asyncio.Event()
        self._second = 0

    def refresh_date(self) -> None:
        """Keep the Date header current without a timer that wakes an idle process every second."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.default_headers = [(b"date", formatdate(second, usegmt=True).encode())]

    def make_room(self) -> None:
        """Clients keep connections for later, some of them hundreds; those must not keep others out."""
        if len(self.connections) < self.limits.connections:
            return
        kept = [
            (connection.timeout_keep_alive_task.when(), connection)
            for connection in cast("set[HttpToolsProtocol]", self.connections)
            if connection.timeout_keep_alive_task
        ]
        if kept:
            _, oldest = min(kept, key=itemgetter(0))
            # At once, not when the loop has come to know: the request at hand is counted against it before.
            self.connections.discard(oldest)
            # Without TLS's farewell, for which a client that does not look would keep it open.
            oldest.transport.abort()

    async def drain(self, grace_s: float) -> None:
        """Let requests in flight finish for `grace_s`, then cut what is left."""
        for connection in list(self.connections):
            connection.shutdown()
        deadline = time.monotonic() + grace_s
        while self.tasks and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(set(self.tasks), timeout=left)
        if not self.tasks:
            await self._wait_closed(_LINGER_S)
        for connection in list(self.connections):
            cast(HttpToolsProtocol, connection).transport.abort()
        if self.tasks:
            # Apps learn of the disconnect and mostly end by themselves, without a traceback in the log.
            await asyncio.wait(set(self.tasks), timeout=_LINGER_S)
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._wait_closed(_LINGER_S)

    async def _wait_closed(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.connections:
                    self.changed.clear()
                    await self.changed.wait()


def _config(connections: int) -> Config:
    """uvicorn's settings. No X-Forwarded-* trust: nothing stands in front of us."""

    async def unused(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    config = Config(
        unused,
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=connections,
    )
    config.load()
    return config


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a deadline for request heads, an end to bodies that stall, and
    absolute-form targets.

    uvicorn arms its keep-alive timer only after an answer and drops it at the next byte, so a client that
    sends half a head and then nothing would stay for ever; `head_deadline_s` ends that.
    """

    def __init__(self, app: ASGIApp, shared: Connections, head_deadline_s: float) -> None:
        super().__init__(shared.config, shared, {}, asyncio.get_running_loop())
        self.app = cast(Any, app)
        self._shared = shared
        self._head_deadline_s = head_deadline_s
        self._head_timer: TimerHandle | None = None
        self._in_head = False
        self._unread = 0
        self._stall_timer: TimerHandle | None = None
        self._received = 0
        self._seen = (0, 0)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._shared.make_room()
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        # uvicorn drops its own timer only when the connection ended without an error.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._shared.changed.set()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        self._unread += len(data)
        super().data_received(data)
        is_sending = self.cycle is not None and self.cycle.more_body
        if is_sending:
            self._watch()
        if (self._in_head or is_sending) and self._unread > _HEAD_LIMIT:
            # A head, or between pieces of a body extensions of a chunk, or trailers.
            self.transport.abort()
        elif not self._in_head and self.cycle is not None and self.cycle.response_complete:
            # Line breaks, or the rest of a body that nobody wanted.
            self._disarm()
            self._arm()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._unread = 0
        self._shared.refresh_date()
        self._arm()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            # A trailer: nobody wants them, and as a header it might count or not, depending on its speed.
            return
        lowered = name.lower()
        if lowered != name and lowered.startswith(_METADATA):
            spelled = cast(dict[str, Any], self.scope).setdefault(SPELLED_NAMES, {})
            spelled[lowered.decode("latin-1")] = name.decode("latin-1")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unread = 0
        self._disarm()
        if self.url[:8].lower().startswith((b"http://", b"https://")):
            self._to_origin_form()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def _to_origin_form(self) -> None:
        """RFC 9112 3.2.2: the authority of an absolute-form target wins over the Host header."""
        parsed = httptools.parse_url(self.url)
        scheme, _, rest = self.url.partition(b"://")
        authority = rest.partition(b"/")[0].partition(b"?")[0].rpartition(b"@")[2]
        self.url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        # In place: the scope already holds this list.
        self.headers[:] = [(b"host", authority), *((n, v) for n, v in self.headers if n != b"host")]
        cast(dict[str, Any], self.scope)[ABSOLUTE_FORM] = scheme.lower().decode()

    def _arm(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._head_deadline_s, self._head_overdue)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _watch(self) -> None:
        """Look after a while whether the client goes on. Cancelling that when it does would cost more."""
        if self._stall_timer is None:
            self._seen = self._position()
            self._stall_timer = self.loop.call_later(self._shared.limits.stalled_s, self._look)

    def _look(self) -> None:
        self._stall_timer = None
        if self.cycle is None or self.cycle.response_complete:
            return
        if self._position() == self._seen and self._is_up_to_client(self.cycle):
            self.transport.abort()
        else:
            self._watch()

    def _position(self) -> tuple[int, int]:
        return self._received, self.transport.get_write_buffer_size()

    def _is_up_to_client(self, cycle: RequestResponseCycle) -> bool:
        sends = cycle.more_body and not self.flow.read_paused and not cycle.waiting_for_100_continue
        return sends or self.flow.write_paused

    def _head_overdue(self) -> None:
        self._head_timer = None
        # A pipelined head that is late must not cut the answer in front of it.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


async def serve_socket(
    sock: socket.socket,
    app: ASGIApp,
    shared: Connections,
    context: Callable[[], ssl.SSLContext],
    head_deadline_s: float,
) -> None:
    """Hand an accepted socket to HTTP, through TLS when its first byte opens a handshake."""
    try:
        async with asyncio.timeout(head_deadline_s):
            first = await peek(sock, 1)
        tls = context() if first == TLS_FIRST_BYTE else None
    except BaseException:
        sock.close()
        raise
    if not first:
        sock.close()
        return
    await adopt(sock, lambda: Connection(app, shared, head_deadline_s), tls, head_deadline_s)


async def adopt(
    sock: socket.socket,
    protocol: Callable[[], asyncio.BaseProtocol],
    tls: ssl.SSLContext | None,
    handshake_s: float,
) -> None:
    """Give the socket to a transport of the running loop, which owns it from then on.

    A cancelled opening is ended by cutting the connection, not by cancelling it: uvloop then closes the
    transport without telling a protocol that has already seen connection_made.
    """
    loop = asyncio.get_running_loop()
    handshake = None if tls is None else handshake_s
    opening = loop.create_task(
        loop.connect_accepted_socket(protocol, sock, ssl=tls, ssl_handshake_timeout=handshake)
    )
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(opening, return_exceptions=True)
        raise


class Acceptor:
    """Accepts connections on a bound socket and runs `serve(sock)` for each in a task of its own."""

    def __init__(self, listening: socket.socket, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._listening = listening
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._retry: TimerHandle | None = None
        self._listen()

    async def close(self) -> None:
        """Stop accepting and drop connections that have not yet said what they want."""
        self._loop.remove_reader(self._listening)
        if self._retry is not None:
            self._retry.cancel()
        self._listening.close()
        # Let new tasks take their first step: from there on each closes its own socket when cancelled.
        await asyncio.sleep(0)
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _listen(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_WAKE):
            try:
                sock, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors: the port must live on, without spinning meanwhile.
                log.warning("cannot accept a connection: %s", error)
                self._loop.remove_reader(self._listening)
                self._retry = self._loop.call_later(_ACCEPT_RETRY_S, self._listen)
                return
            sock.setblocking(False)
            # asyncio does this only for sockets made with an explicit protocol number; without it each
            # answer of head and body waits 40 ms for a delayed ACK.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(sock)

    def _start(self, sock: socket.socket) -> None:
        task = self._loop.create_task(self._open(sock))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, sock: socket.socket) -> None:
        try:
            await self._serve(sock)
        except OSError as error:  # includes ssl.SSLError and TimeoutError
            # Scans, health checks and clients that do not trust our CA end here; none is our failure.
            log.debug("connection dropped before its first request: %r", error)
        except Exception:
            log.exception("connection dropped before its first request")
