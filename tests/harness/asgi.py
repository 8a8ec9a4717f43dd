"""A storage service asked without sockets or threads: each request runs to its end in the caller's thread.

For tests that must know exactly what the service does in between, such as those that kill it there.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.http.storage import blob, files

ACCOUNT = "acct"
TOKEN = "a-token"
NEWEST = "2026-10-06"
KEYS = ("a2V5MQ==", "a2V5Mg==")


class Ring:
    def keys(self, account: str) -> tuple[str, ...] | None:
        return KEYS if account == ACCOUNT else None


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class _Inline(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return self.headers.get("x-ms-error-code", "")


class Direct:
    """The data plane below `root`, and both services on it."""

    def __init__(self, root: Path, fsync: FsyncPolicy = FsyncPolicy.NEVER) -> None:
        self.storage = Storage(root, Ring(), WallClock(), fsync)
        self.storage.create_account(ACCOUNT)
        verify = {TOKEN: "principal"}.get
        self._apps = {
            "blob": blob.create_app(self.storage, verify, tenant="t", pool=_Inline()),
            "file": files.create_app(self.storage, verify, tenant="t", pool=_Inline()),
        }
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()
        self.storage.close()

    def ask(
        self,
        service: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """`path` as it is called, not encoded."""
        every = {
            "authorization": f"Bearer {TOKEN}",
            "x-ms-version": NEWEST,
            "x-ms-file-request-intent": "backup",
            "content-length": str(len(body)),
            "host": f"{ACCOUNT}.{service}.core.windows.net",
            **{name.lower(): value for name, value in (headers or {}).items()},
        }
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": f"/{path}",
            "raw_path": quote(f"/{path}").encode(),
            "query_string": urlencode(query or {}).encode(),
            "headers": [(name.encode(), value.encode()) for name, value in every.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 443),
        }
        sent: list[Any] = []
        received = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return received.pop() if received else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        self._loop.run_until_complete(self._apps[service](scope, receive, send))
        start = sent[0]
        answered = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], answered, b"".join(part.get("body", b"") for part in sent[1:]))
