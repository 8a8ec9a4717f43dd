"""Real servers on free ports, run by an event loop in a thread of its own."""

import asyncio
import hashlib
import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime

import pytest
import requests
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from openbatchai.cli.environment import client_environment
from openbatchai.http.listeners import Listener
from openbatchai.http.proxy import Proxy, azure_host_kind
from openbatchai.http.tls import CertificateAuthority
from openbatchai.services.identity import Identity, Principal, hash_secret, new_secret


class LoopThread:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._thread = threading.Thread(target=loop.run_forever, name="front-test")
        self._thread.start()

    def run(self, work: Coroutine):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=30)

    def close(self) -> None:
        self.run(self.loop.shutdown_asyncgens())
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request) -> Iterator[LoopThread]:
    """Both loops: uvloop is what we run, asyncio what a platform without it gets."""
    new = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]
    thread = LoopThread(new())
    yield thread
    thread.close()


@pytest.fixture
def serve(loop) -> Iterator[Callable]:
    """Starts a Listener or Proxy and stops it after the test."""
    started = []

    def start(server):
        loop.run(server.start())
        started.append(server)
        return server

    yield start
    for server in reversed(started):
        loop.run(server.stop(grace_s=2))


@pytest.fixture(scope="session")
def ca(tmp_path_factory) -> CertificateAuthority:
    return CertificateAuthority.load_or_create(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def foreign_ca(tmp_path_factory) -> CertificateAuthority:
    """Plays the rest of the internet: an authority that is not ours."""
    return CertificateAuthority.load_or_create(tmp_path_factory.mktemp("foreign-ca"))


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


async def echo(request: Request) -> Response:
    """What the app saw of a request; `name` tells which app it is."""
    digest, size = hashlib.sha256(), 0
    async for chunk in request.stream():
        digest.update(chunk)
        size += len(chunk)
    return JSONResponse(
        {
            "name": request.app.state.name,
            "method": request.method,
            "scheme": request.scope["scheme"],
            "host": request.headers["host"],
            "target": request.scope["raw_path"].decode(),
            "query": request.scope["query_string"].decode(),
            "headers": dict(request.headers),
            "size": size,
            "sha256": digest.hexdigest(),
        }
    )


async def big(request: Request) -> Response:
    """`?mib=N` MiB whose hash the caller knows: each MiB is filled with its own number."""
    count = int(request.query_params["mib"])
    chunks = (bytes([number % 256]) * 2**20 for number in range(count))
    return StreamingResponse(chunks, headers={"content-length": str(count * 2**20)})


async def not_modified(request: Request) -> Response:
    return Response(status_code=304, headers={"content-length": "5"})


def make_app(name: str) -> Starlette:
    methods = ["GET", "HEAD", "PUT", "POST", "DELETE"]
    app = Starlette(
        routes=[
            Route("/big", big),
            Route("/not-modified", not_modified),
            Route("/{path:path}", echo, methods=methods),
        ]
    )
    app.state.name = name
    return app


@pytest.fixture
def app() -> Starlette:
    return make_app("ours")


@pytest.fixture
def proxy(serve, ca) -> Proxy:
    """Answers each kind of Azure host with an app that names the kind."""
    apps = {kind: make_app(kind) for kind in ("arm", "aad", "blob", "file")}
    return serve(Proxy(lambda host: apps.get(azure_host_kind(host)), ca))


@pytest.fixture
def foreign(serve, foreign_ca) -> Listener:
    return serve(Listener(make_app("foreign"), foreign_ca))


@pytest.fixture(scope="session")
def raw_exchange() -> Callable[[int, bytes], bytes]:
    """Sends bytes, and reads until the server closes."""

    def exchange(port: int, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(request)
            received = b""
            while chunk := client.recv(65536):
                received += chunk
        return received

    return exchange


@pytest.fixture
def run_tool(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs a command-line client with nothing but the given environment."""

    def run(command: Sequence[str], env: dict[str, str]) -> subprocess.CompletedProcess:
        clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **env}
        return subprocess.run(command, env=clean, cwd=tmp_path, capture_output=True, text=True, timeout=30)

    return run


@pytest.fixture
def environment(proxy, ca, tmp_path) -> dict[str, str]:
    """What `batchai env` gives for the proxy of this test."""
    endpoint = {"proxy": f"http://127.0.0.1:{proxy.port}", "ca_bundle": str(ca.bundle_path)}
    return client_environment(endpoint, tmp_path, {"HOME": str(tmp_path)})


class SteppedClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC)

    def now(self) -> datetime:
        return self.moment


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def principals() -> dict[str, Principal]:
    """The applications of the tenant, by client id."""
    return {}


@pytest.fixture
def identity(tmp_path, clock, principals) -> Identity:
    lookup = type("Lookup", (), {"find": lambda self, client_id: principals.get(client_id)})()
    return Identity(str(uuid.uuid4()), tmp_path / "keys", lookup, clock)


@pytest.fixture
def application(identity, principals) -> tuple[str, str]:
    """Client id and secret of an application of the tenant."""
    client_id, secret = str(uuid.uuid4()), new_secret()
    principals[client_id] = Principal(client_id, str(uuid.uuid4()), identity.tenant_id, hash_secret(secret))
    return client_id, secret


@pytest.fixture
def outside() -> str:
    """An address of this machine that is not a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return probe.getsockname()[0]
