"""A data plane on real sockets for the storage tests: uvicorn in a thread, one port per service."""

import base64
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvicorn

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.http.storage import blob, files
from openbatchai.http.storage.foreign import Reach
from openbatchai.http.storage.observing import Observe

ACCOUNT = "batchaidata"


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class Ring:
    """Two keys per account, replaceable as regenerateKey would."""

    accounts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def keys(self, account: str) -> tuple[str, ...] | None:
        return self.accounts.get(account)


def new_key() -> str:
    return base64.b64encode(os.urandom(64)).decode()


@dataclass
class Server:
    storage: Storage
    ring: Ring
    root: Path
    ports: dict[str, int]
    account: str = ACCOUNT

    @property
    def key(self) -> str:
        return self.ring.accounts[self.account][0]

    def url(self, service: str, path: str = "") -> str:
        """Path-style URL below the account."""
        return f"http://127.0.0.1:{self.ports[service]}/{self.account}/{path}".removesuffix("/")

    token: ClassVar[str] = "a-token-of-ours"
    principal: ClassVar[str] = "d2b0e3a1-0000-4000-8000-0000000000aa"
    tenant: ClassVar[str] = "b1a2c3d4-0000-4000-8000-0000000000bb"

    # Tokens are taken over TLS only; uvicorn believes a proxy on this machine about that.
    bearer: ClassVar[dict[str, str]] = {"Authorization": f"Bearer {token}", "X-Forwarded-Proto": "https"}

    @staticmethod
    def other_key() -> str:
        return new_key()

    @property
    def connection_string(self) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};"
            f"BlobEndpoint={self.url('blob')};FileEndpoint={self.url('file')};"
        )

    def directory(self, service: str, container: str) -> Path:
        return self.root / self.account / service / container

    def link(self, service: str, container: str, path: str, *, minutes: int = 60) -> str:
        """A download URL as the control plane hands it out."""
        ref = ItemRef(StorageService(service), self.account, container, path)
        token = self.storage.read_sas(ref, datetime.now(UTC) + timedelta(minutes=minutes))
        return f"{self.url(service, f'{container}/{path}')}?{token}"


def _listen() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


@contextmanager
def _serving(apps: dict[str, object]) -> Iterator[dict[str, int]]:
    ports, servers = {}, []
    for name, app in apps.items():
        listener = _listen()
        ports[name] = listener.getsockname()[1]
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, lifespan="on", loop="uvloop"
        )  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        started = threading.Event()
        # uvicorn calls this once its sockets accept; it stands in for polling server.started.
        startup = server.startup

        async def announce(
            sockets: list[socket.socket] | None = None,
            startup: Callable[..., object] = startup,
            started: threading.Event = started,
        ) -> None:
            await startup(sockets)  # type: ignore[misc]
            started.set()

        server.startup = announce  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        assert started.wait(30)
        servers.append((server, thread))
    try:
        yield ports
    finally:
        for server, _ in servers:
            server.should_exit = True
        for _, thread in servers:
            thread.join(30)


@contextmanager
def serve(
    root: Path, ring: Ring, observe: Observe | None = None, reach: Reach = Reach.PUBLIC
) -> Iterator[Server]:
    storage = Storage(root, ring, WallClock(), FsyncPolicy.NEVER)

    def verify(token: str, audiences: Collection[str]) -> str | None:
        return Server.principal if token == Server.token else None

    ports: dict[str, int] = {}
    common: dict[str, Any] = {
        "tenant": Server.tenant,
        "delegation_secret": b"secret of the home",
        "ports": lambda: {StorageService(name): port for name, port in ports.items()},
        "observe": observe,
    }
    apps = {
        "blob": blob.create_app(storage, verify, reach=reach, **common),
        "file": files.create_app(storage, verify, **common),
    }
    with _serving(apps) as found:
        ports.update(found)
        yield Server(storage, ring, root, ports)
    storage.close()


StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start a server of one's own, with more accounts than the usual one if named."""
    with ExitStack() as stack:

        def start(*more: str, reach: Reach = Reach.PUBLIC) -> Server:
            ring = Ring({account: (new_key(), new_key()) for account in (ACCOUNT, *more)})
            running = stack.enter_context(serve(tmp_path_factory.mktemp("storage"), ring, reach=reach))
            for account in ring.accounts:
                running.storage.create_account(account)
            return running

        yield start


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> Server:
    return start_server()


@pytest.fixture
def observed_server(tmp_path: Path) -> Callable[[Observe], AbstractContextManager[Server]]:
    """A server of the test's own: what it tells of requests is complete when the block is left."""

    @contextmanager
    def start(observe: Observe) -> Iterator[Server]:
        with serve(tmp_path / "storage", Ring({ACCOUNT: (new_key(), new_key())}), observe) as running:
            running.storage.create_account(ACCOUNT)
            yield running

    return start


@pytest.fixture
def fresh_name(request: pytest.FixtureRequest) -> str:
    """A share or container name of this test's own."""
    return f"t{os.urandom(6).hex()}"
