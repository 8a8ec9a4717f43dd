"""Storage services that are not here: queues, tables and Data Lake. Each call is refused by name."""

import uuid
from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from openbatchai.dataplane.errors import StorageCode
from openbatchai.wire.storage_xml import error_document


class Unserved:
    """ASGI app; `now` is the clock of the error documents."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Request(scope).headers.get("host", "")
        code, request_id = StorageCode.RESOURCE_NOT_FOUND, str(uuid.uuid4())
        message = f"This service has Blob and Files only; there is nothing at {host}."
        body = error_document(code.code, message, request_id, self._now(), {})
        headers = {"x-ms-request-id": request_id, "x-ms-error-code": code.code}
        await Response(body, code.status, headers, "application/xml")(scope, receive, send)
