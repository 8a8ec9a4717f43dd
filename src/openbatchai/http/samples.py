"""The two files that the documents of 2018 fetch by URL, answered by the proxy once the user asked for it.

Both URLs are dead or lead to others' files. `batchai samples enable` puts a data set and a training script of
ours into a directory; a URL is answered while its file is there. Everything else of the script's host comes
from the real host, whose certificate is checked as ever; all else of the sample account is as in any account.
"""

import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from openbatchai.http.forward import Forwarder, answer_text


@dataclass(frozen=True)
class Sample:
    """One URL without its query, and the name of the file that answers it."""

    host: str
    path: str
    file: str
    media_type: str

    @property
    def url(self) -> str:
        return f"https://{self.host}{self.path}"


DATA = Sample(
    "batchaisamples.blob.core.windows.net",
    "/samples/mnist_dataset.zip",
    "mnist_dataset.zip",
    "application/zip",
)
SCRIPT = Sample(
    "raw.githubusercontent.com",
    "/Azure/BatchAI/master/recipes/CNTK/CNTK-GPU-Python/ConvNet_MNIST.py",
    "ConvNet_MNIST.py",
    "text/plain; charset=utf-8",
)
SAMPLES = (DATA, SCRIPT)


class SampleApp:
    """ASGI app for the host of one sample: its file, and `others` for every other path."""

    def __init__(self, sample: Sample, directory: Path, others: ASGIApp) -> None:
        self._sample = sample
        self._file = directory / sample.file
        self._others = others

    def is_enabled(self) -> bool:
        return self._file.is_file()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] in ("GET", "HEAD")
            and scope["path"] == self._sample.path
        ):
            found = await run_in_threadpool(_stat, self._file)
            if found is not None:
                answer = FileResponse(self._file, media_type=self._sample.media_type, stat_result=found)
                await answer(scope, receive, send)
                return
        await self._others(scope, receive, send)


class RealHost:
    """ASGI app: requests for one host, passed on to it over TLS unless they came in the form for http.

    `context` makes what its certificate is checked by; it is asked for at the first request.
    """

    def __init__(self, host: str, context: Callable[[], ssl.SSLContext]) -> None:
        # Nothing else: what stands before an @ would be a user name, and the host what follows.
        self._authority = re.compile(re.escape(host.encode()) + rb"\.?(?::[0-9]{1,5})?", re.IGNORECASE)
        self._forwarder = Forwarder(context)

    async def close(self) -> None:
        await self._forwarder.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == b"host"), b"")
        if self._authority.fullmatch(given) is None:
            # Nobody is led elsewhere under this host's certificate.
            await answer_text(send, 421, "This connection is for another host.\n")
            return
        await self._forwarder(scope, receive, send)


def trusting(further: str | None) -> ssl.SSLContext:
    """For clients: the public authorities, and those of the PEM file `further`. Raises OSError."""
    import certifi

    context = ssl.create_default_context(cafile=certifi.where())
    if further is not None:
        context.load_verify_locations(cafile=further)
    return context


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
