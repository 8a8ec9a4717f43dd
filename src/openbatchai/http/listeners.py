"""Ports of our own: an ASGI app on one port that speaks http and TLS."""

import socket
import ssl
from collections.abc import Sequence
from functools import partial

from starlette.types import ASGIApp

from openbatchai.http.connections import (
    DEFAULT_LIMITS,
    HEAD_DEADLINE_S,
    Acceptor,
    AddressError,
    Connections,
    Limits,
    PortInUseError,
    bind,
    serve_socket,
)
from openbatchai.http.names import certified_names
from openbatchai.http.tls import CertificateAuthority

__all__ = ["AddressError", "Listener", "PortInUseError"]


class Listener:
    """Serves `app` on `host:port`. The certificate has the names that `certified_names` gives."""

    def __init__(
        self,
        app: ASGIApp,
        ca: CertificateAuthority,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        names: Sequence[str] = (),
        head_deadline_s: float = HEAD_DEADLINE_S,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.host = host
        self.port = port
        self._app = app
        self._ca = ca
        self._names = tuple(names)
        self._head_deadline_s = head_deadline_s
        self._limits = limits
        self._acceptor: Acceptor | None = None

    async def start(self) -> None:
        """Bind and accept; raises PortInUseError. `port` is the real one from here on."""
        listening = bind(self.host, self.port)
        self.port = listening.getsockname()[1]
        self._connections = Connections(self._limits)
        self._acceptor = Acceptor(listening, self._serve)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Stop accepting, let requests in flight finish for `grace_s`, then close what is left.

        Does nothing unless started, so that a start which failed half-way can stop everything.
        """
        if self._acceptor is None:
            return
        await self._acceptor.close()
        self._acceptor = None
        await self._connections.drain(grace_s)

    async def _serve(self, sock: socket.socket) -> None:
        context = partial(self._context, sock)
        await serve_socket(sock, self._app, self._connections, context, self._head_deadline_s)

    def _context(self, sock: socket.socket) -> ssl.SSLContext:
        return self._ca.server_context(*certified_names(self.host, self._names, sock))
