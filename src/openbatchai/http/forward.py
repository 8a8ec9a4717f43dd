"""Requests for hosts that are not ours, passed on as a proxy must (RFC 9110 7.6)."""

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from openbatchai.http.connections import ABSOLUTE_FORM

if TYPE_CHECKING:
    import httpx

# RFC 9110 7.6.1: these speak of one connection only. Expect is answered by our own server.
_HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}


async def answer_text(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    """Answer with plain text; for refusals of the proxy itself."""
    body = text.encode()
    start = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


class Forwarder:
    """An ASGI app that sends each request on to the host it names: by the scheme of its absolute form, and by
    TLS when it has none. `context`, asked for at the first request, checks certificates; without one the
    public authorities do.

    It uses httpx's transport, not its client: no redirects, cookies, default headers or environment.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext] | None = None) -> None:
        self._context = context
        self._transport: httpx.AsyncHTTPTransport | None = None

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Rare next to CONNECT: a service that never forwards never pays for the import.
        import httpx

        try:
            if self._transport is None:
                verify = True if self._context is None else self._context()
                self._transport = httpx.AsyncHTTPTransport(verify=verify)
            request = _outgoing(Request(scope, receive))
            response = await self._transport.handle_async_request(request)
        except ClientDisconnect:
            return
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = str(error) or type(error).__name__
            await answer_text(send, 502, f"OpenBatchAI's proxy cannot forward this request: {reason}\n")
            return
        try:
            await _incoming(response)(scope, receive, send)
        finally:
            await response.aclose()


def _outgoing(request: Request) -> "httpx.Request":
    import httpx

    scope = request.scope
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    target: bytes = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    return httpx.Request(
        request.method,
        f"{scope.get(ABSOLUTE_FORM) or 'https'}://{request.headers['host']}/",
        headers=_end_to_end(scope["headers"]),
        content=request.stream() if has_body else None,
        # The path exactly as the client wrote it; httpx would normalise it.
        extensions={"target": target},
    )


def _incoming(response: "httpx.Response") -> StreamingResponse:
    answer = StreamingResponse(response.aiter_raw(), response.status_code)
    # Our server writes Date itself, and counts a body that 204 and 304 announce but do not have.
    dropped = {b"date", b"content-length"} if response.status_code in (204, 304) else {b"date"}
    headers = _end_to_end(response.headers.raw)
    answer.raw_headers = [(name, value) for name, value in headers if name.lower() not in dropped]
    return answer


def _end_to_end(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers that are passed on: not those of one hop, nor those that Connection names."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP | named]
