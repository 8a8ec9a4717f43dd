"""Bytes both ways between two sockets, with back-pressure and half-close."""

import asyncio
from typing import cast


class Pipe(asyncio.Protocol):
    """One end of a tunnel: what it reads is written to its peer.

    The two ends are connected one after the other, so an end that has no transport yet keeps what it is
    given until then.
    """

    def __init__(self, open_pipes: "set[Pipe]") -> None:
        self._open = open_pipes
        self._peer: Pipe
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._ended = False
        self._end_early = False
        self._lost = False

    @classmethod
    def pair(cls, open_pipes: "set[Pipe]") -> "tuple[Pipe, Pipe]":
        """Two ends of one tunnel; each is in `open_pipes` while its transport is open."""
        one, other = cls(open_pipes), cls(open_pipes)
        one._peer, other._peer = other, one
        return one, other

    def abort(self) -> None:
        """Cut both ends; either may have no transport, or one whose opening was cancelled."""
        for pipe in (self, self._peer):
            self._open.discard(pipe)
            if pipe._transport is not None:
                pipe._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)
        for data in self._early:
            self._transport.write(data)
        self._early.clear()
        if self._peer._lost:
            self._transport.close()
        elif self._end_early:
            self._write_end()

    def data_received(self, data: bytes) -> None:
        self._peer._write(data)

    def eof_received(self) -> bool:
        self._ended = True
        self._peer._write_end()
        # Keep our writing side open: the other direction may still have a long answer to carry.
        # TLS has no half-close, and asyncio warns of an attempt.
        half_close = self._transport is not None and self._transport.can_write_eof()
        return half_close and not self._peer._ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._open.discard(self)
        if self._peer._transport is not None:
            # close() still writes what is buffered.
            self._peer._transport.close()

    def pause_writing(self) -> None:
        if self._peer._transport is not None and not self._peer._transport.is_closing():
            self._peer._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._peer._transport is not None and not self._peer._transport.is_closing():
            self._peer._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            self._early.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def _write_end(self) -> None:
        if self._transport is None:
            self._end_early = True
        elif self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
