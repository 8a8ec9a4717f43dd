"""The proxy that brings unmodified Azure clients to us (shared/reference/clients.md section 1).

`CONNECT management.azure.com:443` is answered by our own app behind a certificate of our CA; any other
host is tunnelled untouched. Plain-http clients send absolute-form requests; ours are dispatched, others
forwarded.

CONNECT heads are read from the bare socket, which only then gets a transport. This replaces
`loop.start_tls` on an existing one: the same code path as a port of our own, no layer in between, and
bytes that follow the head at once are not lost.
"""

import asyncio
import base64
import contextlib
import hmac
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from openbatchai.http.connections import (
    ABSOLUTE_FORM,
    DEFAULT_LIMITS,
    HEAD_DEADLINE_S,
    TLS_FIRST_BYTE,
    Acceptor,
    Connection,
    Connections,
    Limits,
    adopt,
    bind,
    peek,
    serve_socket,
)
from openbatchai.http.forward import Forwarder, answer_text
from openbatchai.http.hosts import azure_host_kind, certificate_name
from openbatchai.http.names import certified_names
from openbatchai.http.tls import CertificateAuthority
from openbatchai.http.tunnel import Pipe

__all__ = ["Proxy", "azure_host_kind", "certificate_name"]

_HEAD_LIMIT = 64 * 1024
_REFUSAL_LINGER_S = 2.0
_CONNECT = b"CONNECT "
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_CHALLENGE = 'Basic realm="OpenBatchAI proxy"'
_WHAT_THIS_IS = (
    "This port is an HTTP proxy of OpenBatchAI, not a web page.\n"
    "Set HTTPS_PROXY and HTTP_PROXY to it (`batchai env` prints them all).\n"
)
_TLS_ONLY = "OpenBatchAI's proxy is reached by TLS from other machines: write its address with https://\n"
_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    407: "Proxy Authentication Required",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
}


class _RefusedError(Exception):
    """A request for a tunnel that is answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True)
class _ConnectHead:
    host: str
    port: int
    authorization: bytes | None


class Proxy:
    """Serves the hosts that `resolve` knows, tunnels and forwards the rest.

    `credentials` demands Basic proxy authentication; a proxy off loopback needs them. Other machines must
    come by TLS, which this port also speaks (with the names that `certified_names` gives).
    """

    def __init__(
        self,
        resolve: Callable[[str], ASGIApp | None],
        ca: CertificateAuthority,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        credentials: tuple[str, str] | None = None,
        names: Sequence[str] = (),
        head_deadline_s: float = HEAD_DEADLINE_S,
        limits: Limits = DEFAULT_LIMITS,
        connect_timeout_s: float = 30.0,
    ) -> None:
        if credentials is None and not _is_loopback(host):
            raise ValueError(f"a proxy on {host}, which is not a loopback address, needs credentials")
        self.host = host
        self.port = port
        self._resolve = resolve
        self._ca = ca
        self._expected = None if credentials is None else _basic(*credentials)
        self._names = tuple(names)
        self._head_deadline_s = head_deadline_s
        self._limits = limits
        self._connect_timeout_s = connect_timeout_s
        self._pipes: set[Pipe] = set()
        self._acceptor: Acceptor | None = None

    async def start(self) -> None:
        """Bind and accept; raises PortInUseError. `port` is the real one from here on."""
        listening = bind(self.host, self.port)
        self.port = listening.getsockname()[1]
        self._connections = Connections(self._limits)
        self._forwarder = Forwarder()
        self._acceptor = Acceptor(listening, self._serve)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Let requests in flight finish for `grace_s`; tunnels have no visible end and are cut after it.

        Does nothing unless started, so that a start which failed half-way can stop everything.
        """
        if self._acceptor is None:
            return
        await self._acceptor.close()
        self._acceptor = None
        await self._connections.drain(grace_s)
        for pipe in list(self._pipes):
            pipe.abort()
        await asyncio.sleep(0)  # aborted transports close their sockets in the next turn of the loop
        await self._forwarder.close()

    async def _serve(self, sock: socket.socket, *, unwrapped: bool = False) -> None:
        """Tell apart TLS to the proxy itself, CONNECT, and plain requests."""
        try:
            async with asyncio.timeout(self._head_deadline_s):
                first = await peek(sock, len(_CONNECT))
                if first and first[:1] != TLS_FIRST_BYTE and not unwrapped and _crosses_a_network(sock):
                    raise _RefusedError(403, _TLS_ONLY)
                connect = await _take_connect_head(sock) if first and _CONNECT.startswith(first) else None
        except _RefusedError as refusal:
            await _refuse(sock, refusal)
            return
        except BaseException:
            sock.close()
            raise
        if not first:
            sock.close()
        elif first[:1] == TLS_FIRST_BYTE:
            await self._unwrap(sock)
        elif connect is None:
            shared, deadline = self._connections, self._head_deadline_s
            await adopt(sock, lambda: Connection(self._dispatch, shared, deadline), None, deadline)
        else:
            await self._connect(sock, connect)

    async def _unwrap(self, sock: socket.socket) -> None:
        """TLS to the proxy: what is inside comes back to `_serve` as a socket of its own."""
        outside, inside = socket.socketpair()
        outside.setblocking(False)
        inside.setblocking(False)
        outer, inner = Pipe.pair(self._pipes)
        try:
            context = self._ca.server_context(*certified_names(self.host, self._names, sock))
            await adopt(sock, lambda: outer, context, self._head_deadline_s)
        except BaseException:
            outside.close()
            inside.close()
            raise
        try:
            await adopt(outside, lambda: inner, None, self._head_deadline_s)
        except BaseException:
            inside.close()
            raise
        await self._serve(inside, unwrapped=True)

    async def _connect(self, sock: socket.socket, connect: _ConnectHead) -> None:
        near: Pipe | None = None
        try:
            self._check(connect.authorization)
            app = self._resolve(connect.host)
            if app is None:
                near = await self._reach(connect)
            await asyncio.get_running_loop().sock_sendall(sock, _ESTABLISHED)
        except _RefusedError as refusal:
            await _refuse(sock, refusal)
            return
        except BaseException:
            sock.close()
            if near is not None:
                near.abort()
            raise
        if app is not None:
            context = partial(self._ca.server_context, certificate_name(connect.host))
            await serve_socket(sock, app, self._connections, context, self._head_deadline_s)
        elif near is not None:
            await adopt(sock, lambda: near, None, self._head_deadline_s)

    async def _reach(self, connect: _ConnectHead) -> Pipe:
        """Connect to a foreign host; the end of the tunnel that is still to be joined to the client."""
        near, far = Pipe.pair(self._pipes)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: far, connect.host, connect.port)
        except (OSError, ValueError) as error:  # ValueError: what is no host name
            reason = str(error) or "timed out"
            where = f"{connect.host}:{connect.port}"
            raise _RefusedError(502, f"OpenBatchAI's proxy cannot reach {where}: {reason}\n") from error
        except BaseException:
            far.abort()
            raise
        return near

    def _check(self, authorization: bytes | None) -> None:
        if self._expected is not None and not hmac.compare_digest(authorization or b"", self._expected):
            raise _RefusedError(407, "OpenBatchAI's proxy wants a user name and password.\n")

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Plain requests. Each is looked at by itself: one connection may ask for several hosts."""
        if not scope.get(ABSOLUTE_FORM):
            await answer_text(send, 400, _WHAT_THIS_IS)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        try:
            self._check(_header(headers, b"proxy-authorization"))
        except _RefusedError as refusal:
            challenge = (b"proxy-authenticate", _CHALLENGE.encode())
            await answer_text(send, refusal.status, refusal.text, challenge)
            return
        scope["headers"] = [(name, value) for name, value in headers if not name.startswith(b"proxy-")]
        app = self._resolve(_host_of(_header(headers, b"host") or b""))
        await (app or self._forwarder)(scope, receive, send)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _crosses_a_network(sock: socket.socket) -> bool:
    """Whether the client is on another machine; one on this machine may use any of its addresses."""
    peer, own = sock.getpeername()[0], sock.getsockname()[0]
    return peer != own and not _is_loopback(peer)


def _basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)


def _host_of(authority: bytes) -> str:
    text = authority.decode("latin-1")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


async def _take_connect_head(sock: socket.socket) -> _ConnectHead:
    """Consume a CONNECT head from the socket, and not one byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if len(head) > _HEAD_LIMIT:
            raise _RefusedError(431, "The head of the request is too long.\n")
        chunk = await peek(sock, _HEAD_LIMIT)
        if not chunk:
            raise ConnectionResetError("the client left in the middle of a request head")
        end = (head + chunk).find(b"\r\n\r\n")
        head += sock.recv(len(chunk) if end < 0 else end + 4 - len(head))
    return _parse_connect(head)


def _parse_connect(head: bytes) -> _ConnectHead:
    """The head may hold no header at all: that is how urllib3 sends it."""
    request, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, _, rest = request.partition(" ")
    target = rest.partition(" ")[0]
    host, colon, port = target.rpartition(":")
    if method != "CONNECT" or not (host and colon and port.isascii() and port.isdigit()):
        raise _RefusedError(400, _WHAT_THIS_IS)
    if not 0 < int(port) < 65536:
        raise _RefusedError(400, f"{port} is not a port.\n")
    authorization = None
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "proxy-authorization":
            authorization = value.strip().encode("latin-1")
    return _ConnectHead(host.removeprefix("[").removesuffix("]"), int(port), authorization)


async def _refuse(sock: socket.socket, refusal: _RefusedError) -> None:
    body = refusal.text.encode()
    lines = [f"HTTP/1.1 {refusal.status} {_REASONS[refusal.status]}"]
    if refusal.status == 407:
        lines.append(f"Proxy-Authenticate: {_CHALLENGE}")
    lines += ["Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(body)}"]
    lines += ["Connection: close", "", ""]
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sock, "\r\n".join(lines).encode() + body)
        sock.shutdown(socket.SHUT_WR)
        # Closing over unread bytes sends a reset, which can overtake the answer (RFC 9112 9.6).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFUSAL_LINGER_S):
                while await loop.sock_recv(sock, _HEAD_LIMIT):
                    pass
    finally:
        sock.close()
