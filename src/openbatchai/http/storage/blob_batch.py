"""Blob batches: many deletes or changes of tier in one request, each with credentials of its own.

Each goes through the service's own app as if it had come alone, so nothing is allowed in a batch that is
not allowed outside of one.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.grants import Means
from openbatchai.http.storage.app import BATCH_VERSION, Call, Calls, Level
from openbatchai.http.storage.exchange import Exchange, Message, Receive, Send
from openbatchai.wire.multipart import (
    MalformedMultipartError,
    PartAnswer,
    PartRequest,
    answers_document,
    parse_requests,
)

_MOST_PARTS = 256
_BODY_BYTES = 4 << 20
_ANY_PERMISSION = "rwdlacuptfxyi"
# What does not go into the answer of a part.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})

Serve = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]


class BlobBatchCalls:
    """`serve` is the app that the parts go through; it is set when the app exists."""

    def __init__(self) -> None:
        self.serve: Serve | None = None

    def calls(self) -> Calls:
        call = Call("SubmitBatch", self.submit, "scol", _ANY_PERMISSION)
        return {
            (Level.ACCOUNT, "POST", "", "batch"): call,
            # The SDK for JavaScript takes the account in the path of a URL for a container.
            (Level.ACCOUNT, "POST", "container", "batch"): call,
            (Level.CONTAINER, "POST", "container", "batch"): call,
        }

    async def submit(self, exchange: Exchange) -> None:
        if exchange.grant.means is Means.ANONYMOUS:
            # What everybody may do with a container are single reads.
            exchange.grant.demand("", "")
        body = await exchange.read_body(_BODY_BYTES)
        try:
            parts = parse_requests(exchange.headers.get("content-type", ""), body)
        except MalformedMultipartError as error:
            raise StorageError(StorageCode.INVALID_INPUT, f"Not a batch: {error}.") from None
        if not parts:
            raise StorageError(StorageCode.INVALID_INPUT, "The batch is empty.")
        if len(parts) > _MOST_PARTS:
            raise StorageError(StorageCode.BATCH_COUNT)
        answers = [await self._answer(exchange, part) for part in parts]
        boundary = f"batchresponse_{uuid.uuid4()}"
        headers = {"Content-Type": f"multipart/mixed; boundary={boundary}"}
        await exchange.reply(202, headers, answers_document(boundary, answers))

    async def _answer(self, exchange: Exchange, part: PartRequest) -> PartAnswer:
        path, _, query = part.target.partition("?")
        if not _is_batchable(part.method, query):
            return _refused(part, StorageCode.INVALID_INPUT)
        path = _within_account(exchange, path)
        if exchange.ref.container and _container(exchange, path) != exchange.ref.container:
            return _refused(part, StorageCode.INVALID_INPUT)
        return await self._served(exchange, part, path, query)

    async def _served(self, exchange: Exchange, part: PartRequest, path: str, query: str) -> PartAnswer:
        if self.serve is None:
            raise RuntimeError("the batch has no app to serve its parts")
        headers = {**part.headers, "host": exchange.headers.get("host", "")}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": part.method,
            "scheme": exchange.target.endpoint.partition(":")[0],
            "path": unquote(path),
            "raw_path": path.encode("utf-8", "surrogateescape"),
            "query_string": query.encode("utf-8", "surrogateescape"),
            "headers": [
                (name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
                for name, value in headers.items()
            ],
            "client": (exchange.client_ip, 0),
            BATCH_VERSION: exchange.version,
        }
        heard = _Heard()
        await self.serve(scope, _no_body, heard.take)
        return PartAnswer(part.content_id, heard.status, heard.headers, bytes(heard.body))


class _Heard:
    """The answer of the app, kept."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"])
            self.headers = {name: value for name, value in pairs if name.lower() not in _HOP}
        else:
            self.body += message.get("body", b"")


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _is_batchable(method: str, query: str) -> bool:
    """Only about blobs: what is about a container names it by its `restype`."""
    found = {name.lower(): ",".join(values).lower() for name, values in parse_qs(query).items()}
    call = (method, found.get("restype", ""), found.get("comp", ""))
    return call in (("DELETE", "", ""), ("PUT", "", "tier"))


def _within_account(exchange: Exchange, path: str) -> str:
    """Some clients leave the account out of the paths of parts though it is in that of the batch."""
    account = exchange.ref.account
    if not exchange.target.signed.path_style or path.split("/", 2)[1] == account:
        return path
    return f"/{account}{path}"


def _container(exchange: Exchange, path: str) -> str:
    segments = path.split("/")
    index = 2 if exchange.target.signed.path_style else 1
    return unquote(segments[index]) if len(segments) > index + 1 else "$root"


def _refused(part: PartRequest, code: StorageCode) -> PartAnswer:
    headers = {"x-ms-error-code": code.code, "Content-Length": "0"}
    return PartAnswer(part.content_id, code.status, headers, b"")
