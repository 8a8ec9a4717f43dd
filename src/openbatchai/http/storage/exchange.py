"""One request of a storage client and its answer, over plain ASGI.

Raw ASGI rather than a framework's request objects: contents of many GiB pass here, read and written in
worker threads in pieces of 1 MiB.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from openbatchai.dataplane import cors
from openbatchai.dataplane.cors import CorsRule
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.grants import Grant
from openbatchai.dataplane.ranges import Span
from openbatchai.dataplane.uploads import Upload
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.http.storage.sources import Sources
from openbatchai.http.storage.target import Target

PIECE = 1 << 20
# While several long answers go out: what is sent at once keeps the loop from every other request for as long.
_SHARED_PIECE = PIECE >> 2
# Pieces that the disk is asked for before they are read, while one answer goes out alone.
_AHEAD = 4
_SERVERS = {
    StorageService.BLOB: "Windows-Azure-Blob/1.0 OpenBatchAI",
    StorageService.FILE: "Windows-Azure-File/1.0 OpenBatchAI",
}
_WATCHED_ABOVE = 8 * PIECE

Message = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Envelope:
    """What an answer's bytes are sent in: `length` of it all, `wrap` for each piece in order."""

    length: int
    wrap: Callable[[bytes], bytes]


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class Exchange:
    """`grant` is set once the request is authorised; handlers see only such exchanges."""

    # How many long answers are going out, of whatever app: all are sent by the one event loop.
    _streams: ClassVar[int] = 0

    def __init__(self, target: Target, grant: Grant, request_id: str, version: str, pool: Executor) -> None:
        self.target = target
        self.grant = grant
        self.request_id = request_id
        self.version = version
        self.client_ip = ""
        self.operation = "Unknown"
        self.cors_rules: Sequence[CorsRule] = ()
        self.started = False
        self.sources: Sources
        self._pool = pool
        self._receive: Receive
        self._send: Send

    def connect(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send

    @property
    def ref(self) -> ItemRef:
        return self.target.ref

    @property
    def method(self) -> str:
        return self.target.signed.method

    @property
    def query(self) -> Mapping[str, str]:
        return self.target.query

    @property
    def headers(self) -> Mapping[str, str]:
        return self.target.signed.headers

    async def run(self, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Call a blocking function in a worker thread."""
        return await self._begin(function, *arguments)

    def _begin(self, function: Callable[..., ResultT], *arguments: Any) -> "asyncio.Future[ResultT]":
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    # --- the request's body

    async def read_body(self, limit: int) -> bytes:
        self._check_length(limit)
        pieces, size = [], 0
        async for piece in self._pieces():
            size += len(piece)
            if size > limit:
                raise StorageError(StorageCode.BODY_TOO_LARGE)
            pieces.append(piece)
        return b"".join(pieces)

    async def receive_upload(
        self, limit: int, start: Callable[[], Upload], finish: Callable[[Upload], ResultT]
    ) -> ResultT:
        """Stream the body into an upload; `finish` takes it, in a worker thread.

        One piece arrives while the one before is written. A body of one piece costs one trip to a thread.
        """
        self._check_length(limit)
        upload: Upload | None = None
        writing: asyncio.Future[None] | None = None
        pieces, held, total = [], 0, 0

        def complete(rest: list[bytes]) -> ResultT:
            final = upload or start()
            try:
                final.write(*rest)
                return finish(final)
            finally:
                final.discard()

        try:
            async for piece in self._pieces():
                pieces.append(piece)
                held += len(piece)
                total += len(piece)
                if total > limit:
                    raise StorageError(StorageCode.BODY_TOO_LARGE)
                if held >= PIECE:
                    if upload is None:
                        upload = await self.run(start)
                    if writing is not None:
                        await writing
                    writing = self._begin(upload.write, *pieces)
                    pieces, held = [], 0
            if writing is not None:
                await writing
        except BaseException:
            await _done(writing)
            if upload is not None:
                upload.discard()
            raise
        return await self.run(complete, pieces)

    def _check_length(self, limit: int) -> None:
        length = self.headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            raise StorageError(StorageCode.BODY_TOO_LARGE)

    async def _pieces(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGoneError
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    # --- the answer

    async def reply(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        await self._start(status, headers or {}, None if status in (204, 304) else len(body))
        await self._send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def reply_xml(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        await self.reply(200, {"Content-Type": "application/xml", **(headers or {})}, body)

    async def reply_head(self, headers: Mapping[str, str], length: int) -> None:
        """The answer to HEAD: the length of a body that is not sent."""
        await self._start(200, headers, length)
        await self._send({"type": "http.response.body", "body": b""})

    async def stream(
        self,
        status: int,
        headers: Mapping[str, str],
        fd: int,
        span: Span,
        first: bytes,
        envelope: Envelope | None = None,
    ) -> bool:
        """Send `span` of an open file, whose first bytes are at hand; whether all of it went out."""
        await self._start(status, headers, envelope.length if envelope else span.length)
        if len(first) >= span.length:
            await self._send_piece(await self._wrapped(first, envelope), last=True)
            return True
        Exchange._streams += 1
        try:
            return await self._send_long(fd, span, first, envelope)
        finally:
            Exchange._streams -= 1

    async def _send_long(self, fd: int, span: Span, first: bytes, envelope: Envelope | None) -> bool:
        """One piece is read while the one before goes out."""
        position = span.start + len(first)
        gone = asyncio.ensure_future(self.gone()) if span.length > _WATCHED_ABOVE else None
        coming: asyncio.Future[bytes] | None = None
        try:
            piece = first
            while True:
                if position < span.end:
                    is_alone = Exchange._streams == 1
                    read, most = (_read_ahead, PIECE) if is_alone else (os.pread, _SHARED_PIECE)
                    coming = self._begin(read, fd, min(most, span.end - position), position)
                await self._send_piece(await self._wrapped(piece, envelope), last=coming is None)
                if coming is None:
                    return True
                piece, coming = await coming, None
                if not piece or (gone is not None and gone.done()):
                    # The file became shorter, or nobody listens: an answer cut short is all that is left.
                    return False
                position += len(piece)
        finally:
            await _done(coming)
            if gone is not None:
                gone.cancel()

    async def _wrapped(self, piece: bytes, envelope: Envelope | None) -> bytes:
        return piece if envelope is None else await self.run(envelope.wrap, piece)

    async def gone(self) -> None:
        """Returns when the client has left; for calls that read no body, or have read it."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _send_piece(self, piece: bytes, *, last: bool) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": not last})

    async def _start(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        every = {
            "x-ms-request-id": self.request_id,
            "x-ms-version": self.version,
            "Server": _SERVERS[self.ref.service],
        }
        client_id = self.headers.get("x-ms-client-request-id")
        if client_id is not None:
            every["x-ms-client-request-id"] = client_id
        if length is not None:
            every["Content-Length"] = str(length)
        every = {**headers, **every}
        if self.cors_rules:
            every |= cors.actual(self.cors_rules, self.headers.get("origin", ""), self.method, every)
        pairs = [(_name(name), _value(value)) for name, value in every.items()]
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})


async def _done(work: "asyncio.Future[Any] | None") -> None:
    """Whatever a worker thread still does with a file ends before the file is closed."""
    if work is not None:
        await asyncio.gather(work, return_exceptions=True)


def read_in_steps(fd: int) -> None:
    """For a file that `Exchange.stream` will send: the kernel shall not choose itself how far to read ahead.

    Of a file that is not in memory it may read many MiB in one call, which keeps every other thread from that
    processor: 20 ms for 8 MiB of holes.
    """
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)


def _read_ahead(fd: int, count: int, position: int) -> bytes:
    os.posix_fadvise(fd, position + _AHEAD * count, count, os.POSIX_FADV_WILLNEED)
    return os.pread(fd, count, position)


class _AsSpelled(bytes):
    """The name of a metadata header, sent in its own letters where uvicorn would send lower-case ones."""

    def lower(self) -> bytes:
        return self


@lru_cache(maxsize=1024)
def _name(text: str) -> bytes:
    name = text.encode("latin-1")
    return _AsSpelled(name) if text.startswith("x-ms-meta-") else name


def _value(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")
