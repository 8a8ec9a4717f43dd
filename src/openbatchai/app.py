"""Bootstrap: the only place that knows every other. Builds one service from a home, runs it, stops it."""

import asyncio
import json
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import uvloop
from starlette.types import ASGIApp

from openbatchai import __version__, config
from openbatchai.config import Home, Settings
from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.domain.errors import ServiceError
from openbatchai.domain.ports import Engine, StorageService
from openbatchai.engines import interpreters, user
from openbatchai.engines.user import JobUser
from openbatchai.http import aad, arm
from openbatchai.http.connections import Limits
from openbatchai.http.front import Front, TlsOnly
from openbatchai.http.hosts import azure_host_kind, normal_host
from openbatchai.http.listeners import AddressError, Listener, PortInUseError
from openbatchai.http.names import own_host_name
from openbatchai.http.proxy import Proxy
from openbatchai.http.samples import DATA, SCRIPT, RealHost, SampleApp, trusting
from openbatchai.http.storage import blob, files
from openbatchai.http.storage.account_info import AccountFacts
from openbatchai.http.storage.foreign import Reach
from openbatchai.http.storage.observing import AccessLog, StorageMetrics, observe_all
from openbatchai.http.storage.unserved import Unserved
from openbatchai.http.tls import CertificateAuthority, write_file
from openbatchai.http.variables import proxy_variables
from openbatchai.loops.reconciler import Reconciler
from openbatchai.services import accounts, bootstrap, metrics
from openbatchai.services.accounts import StoredKeys
from openbatchai.services.bootstrap import Credentials, StoredPrincipals
from openbatchai.services.context import Context, Retention
from openbatchai.services.identity import Identity, new_secret
from openbatchai.store import schema
from openbatchai.store.secrets import SecretBox
from openbatchai.store.unit import Store, open_engine

log = logging.getLogger(__name__)


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Service:
    """One running service. `host`, `first_port` and `fsync` override what the home's configuration holds.

    Construction opens the home (and raises NewerSchemaError for one that a newer version wrote), `start`
    binds the ports (PortInUseError) and writes endpoint.json, `stop` lets running jobs run on.
    """

    def __init__(
        self,
        home: Home,
        host: str = config.DEFAULT_HOST,
        first_port: int | None = None,
        fsync: str | None = None,
        access_log: AccessLog | None = None,
    ) -> None:
        self.home = home
        self._access_log = access_log
        self._host = host
        self._settings = Settings.load(home.configuration)
        if fsync is not None:
            self._settings = replace(self._settings, fsync=fsync)
        self._ports_chosen = first_port is not None
        self._wanted = _wanted_ports(self._settings, first_port)
        clock = SystemClock()
        database = open_engine(home.database)
        schema.upgrade(database)
        self._secrets = SecretBox(home.secret_key)
        self._store = Store(database, self._secrets)
        self.credentials = self._ensure_credentials(clock)
        keys = StoredKeys(self._store)
        self._storage = Storage(home.storage, keys, clock, FsyncPolicy(self._settings.fsync), keys.rules)
        self._storage.create_account(self.credentials.storage_account)
        self._storage_metrics = StorageMetrics()
        self._ca = CertificateAuthority.load_or_create(home.ca)
        self._job_user = _choose_job_user(home, self._settings.job_user)
        principals = StoredPrincipals(self._store, self.credentials.tenant)
        self._identity = Identity(self.credentials.tenant, home.keys, principals, clock)
        self.engine = _create_engine(
            home, self._storage, self._settings, self._job_environment, clock, self._job_user.user
        )
        self.context = Context(
            store=self._store,
            storage=self._storage,
            engine=self.engine,
            clock=clock,
            tenant=self.credentials.tenant,
            subscription=self.credentials.subscription_id,
            forget_keys=keys.forget,
            idle_timeout=timedelta(seconds=self._settings.idle_timeout_s),
            retention=Retention(**self._settings.retention),
            preemptions_per_node_hour=self._settings.preemptions_per_node_hour,
            quotas=self._settings.quotas,
            recorded_creates=self._settings.recorded_creates,
        )
        self._metrics = metrics.Metrics(self.context)
        self._metrics.start()
        self.reconciler = Reconciler(self.context)
        self._storage.on_read(lambda _: self.reconciler.wake())
        trusted = self._settings.trusted_certificates
        self._script_host = RealHost(SCRIPT.host, lambda: trusting(trusted))
        self._listeners: dict[str, Listener | Proxy] = {}
        self._urls: dict[str, str] = {}

    async def start(self) -> None:
        apps = self._apps()
        try:
            for name in config.LISTENERS:
                listener = self._listener(name, apps)
                await _bind(listener, fixed=self._ports_chosen or name in self._settings.ports)
                self._listeners[name] = listener
        except (PortInUseError, AddressError):
            await self.stop()
            raise
        ports = {name: listener.port for name, listener in self._listeners.items()}
        replace(self._settings, ports=ports).save(self.home.configuration)
        shown = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host
        # Management clients insist on TLS; the others take it only where the network is not this machine.
        plain = "http" if self._proxy_credentials() is None else "https"
        scheme = {"arm": "https", "proxy": "http", "blob": plain, "file": plain}
        self._urls = {name: f"{scheme[name]}://{shown}:{port}" for name, port in ports.items()}
        if credentials := self._proxy_credentials():
            self._urls["proxy"] = "http://{}:{}@{}:{}".format(*credentials, shown, ports["proxy"])
        self.reconciler.start()
        config.write_private(self.home.endpoint, self.endpoint())

    async def stop(self) -> None:
        """Finish the requests in flight, then close everything. Running jobs go on."""
        await asyncio.gather(*(listener.stop() for listener in self._listeners.values()))
        await self._script_host.close()
        if self._urls:
            self.home.endpoint.unlink(missing_ok=True)
            await asyncio.to_thread(self.reconciler.stop)
        self.engine.close()
        self._storage.close()
        self._store.close()

    def endpoint(self) -> dict[str, Any]:
        """The stable contract of endpoint.json (DESIGN section 5)."""
        credentials = asdict(self.credentials)
        return {
            "arm": self._urls["arm"],
            "authority": self._urls["arm"],
            "portal": f"{self._urls['arm'].replace('https:', 'http:')}/portal",
            "proxy": self._urls["proxy"],
            "ca_bundle": str(self._ca.bundle_path),
            "blob": self._urls["blob"],
            "file": self._urls["file"],
            "tenant": credentials["tenant"],
            "subscription_id": credentials["subscription_id"],
            "client_id": credentials["client_id"],
            "client_secret": credentials["client_secret"],
            "token_uri": f"https://login.microsoftonline.com/{credentials['tenant']}/oauth2/token",
            "storage_account": credentials["storage_account"],
            "storage_key": credentials["storage_key"],
            "location": credentials["location"],
            "pid": os.getpid(),
            "version": __version__,
        }

    def notice(self) -> dict[str, Any]:
        """What whoever starts the service is told besides: whom jobs run as, or why as the service's user."""
        found = self._job_user
        return {"jobs_run_as": found.user.name if found.user else "", "jobs_run_as_reason": found.reason}

    def _ensure_credentials(self, clock: SystemClock) -> Credentials:
        path = self.home.credentials
        kept = json.loads(path.read_text()) if path.exists() else None
        found = bootstrap.ensure(
            self._store, clock, kept, config.DEFAULT_ACCOUNT, config.DEFAULT_GROUP, config.DEFAULT_LOCATION
        )
        if kept != asdict(found):
            config.write_private(path, asdict(found))
        return found

    def _apps(self) -> dict[str, ASGIApp]:
        management = Front(
            aad.create_app(self._identity),
            arm.create_app(self.context, self._identity, self._storage, self._storage_url),
            lambda: self._metrics.exposition() + self._storage_metrics.exposition(),
        )
        observers = [self._storage_metrics.record]
        if self._access_log is not None:
            observers.append(self._access_log.record)
        storage: dict[str, Any] = {
            "tenant": self.credentials.tenant,
            "delegation_secret": self._secrets.derived("storage user delegation keys"),
            "ports": self._storage_ports,
            "observe": observe_all(*observers),
        }
        reach = Reach(self._settings.copy_sources)
        return {
            "arm": management,
            "aad": management,
            "blob": blob.create_app(
                self._storage,
                self._verify_storage_token,
                reach=reach,
                describe=self._describe_account,
                **storage,
            ),
            "file": files.create_app(self._storage, self._verify_storage_token, reach=reach, **storage),
            "unserved": Unserved(self._storage.clock.now),
        }

    def _describe_account(self, name: str) -> AccountFacts:
        found = accounts.facts(self.context, name)
        return AccountFacts(found.sku, found.kind) if found else AccountFacts()

    def _storage_url(self, service: str, account: str) -> str:
        """Where clients that take a URL find a service of an account, in a scheme that the account takes."""
        url = self._urls[service]
        return url.replace("http:", "https:", 1) if self._storage.rules(account).https_only else url

    def _storage_ports(self) -> dict[StorageService, int]:
        return {service: self._listeners[service.value].port for service in StorageService}

    def _listener(self, name: str, apps: dict[str, ASGIApp]) -> Listener | Proxy:
        limits = Limits(self._settings.connections, self._settings.stalled_s)
        if name == "proxy":
            samples = {
                sample.host: SampleApp(sample, self.home.samples, others)
                for sample, others in ((DATA, apps["blob"]), (SCRIPT, self._script_host))
            }

            def resolve(host: str) -> ASGIApp | None:
                if (sample := samples.get(normal_host(host))) is not None and sample.is_enabled():
                    return TlsOnly(sample)
                kind = azure_host_kind(host)
                return None if kind is None else TlsOnly(apps[kind])

            return Proxy(
                resolve,
                self._ca,
                host=self._host,
                port=self._wanted[name],
                credentials=self._proxy_credentials(),
                names=self._names(),
                limits=limits,
            )
        app, port = TlsOnly(apps[name]), self._wanted[name]
        return Listener(app, self._ca, host=self._host, port=port, names=self._names(), limits=limits)

    def _names(self) -> tuple[str, ...]:
        """By which other machines may know this one; none while only this one is served."""
        return () if self._on_loopback() else (*own_host_name(), *self._settings.names)

    def _on_loopback(self) -> bool:
        return self._host in ("127.0.0.1", "localhost", "::1")

    def _proxy_credentials(self) -> tuple[str, str] | None:
        """Beyond loopback the proxy lets in only who knows its password. That is in the environment of every
        job, so it opens nothing else."""
        if self._on_loopback():
            return None
        path = self.home.keys / "proxy.password"
        if not path.exists():
            write_file(path, new_secret().encode(), 0o600)
        return "openbatchai", path.read_text()

    def _verify_storage_token(self, token: str, audiences: Collection[str]) -> str | None:
        try:
            return self._identity.verify(token, audiences).object_id
        except ServiceError:
            return None

    def _job_environment(self) -> dict[str, str]:
        """What lets Azure SDK calls inside a job reach this service."""
        return proxy_variables(self._urls["proxy"], str(self._ca.bundle_path))


def _choose_job_user(home: Home, wanted: str) -> user.Choice:
    """Whom jobs run as, with the ways in the home opened to them. Raises HomeUnusableError."""
    python = interpreters.inspect(Path(sys.executable))
    try:
        found = user.choose(wanted, home.path, [python.executable, python.base, *map(Path, python.packages)])
    except user.NoSuchUserError as error:
        raise config.HomeUnusableError(f"{home.configuration}: jobUser: {error}") from None
    if found.user is not None:
        # What the shell's umask would close, jobs must get through; what is secret has modes of its own.
        os.umask(0o022)
        user.share(home.storage, found.user)
        user.let_pass((home.path, home.engine, home.ca), found.user)
    return found


def _wanted_ports(settings: Settings, first: int | None) -> dict[str, int]:
    start = config.DEFAULT_PORT if first is None else first
    wanted = {name: start + i for i, name in enumerate(config.LISTENERS)}
    return wanted if first is not None else wanted | settings.ports


async def _bind(listener: Listener | Proxy, *, fixed: bool) -> None:
    """At the first start a taken default gives way to a free port; one that was chosen or kept never does."""
    try:
        await listener.start()
    except PortInUseError:
        if fixed:
            raise
        listener.port = _free_port(listener.host)
        await listener.start()


def _free_port(host: str) -> int:
    """A free port that no outgoing connection will take while the service is down: below Linux's own range
    of ports for those (32768 and up)."""
    for port in random.sample(range(20000, 32768), 100):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    return 0


def _create_engine(
    home: Home,
    storage: Storage,
    settings: Settings,
    environment: Callable[[], dict[str, str]],
    clock: SystemClock,
    job_user: JobUser | None,
) -> Engine:
    [found] = entry_points(group="openbatchai.engines", name="local")
    create: Callable[..., Engine] = found.load()
    return create(
        home.engine,
        storage,
        images=settings.images,
        client_environment=environment,
        clock=clock,
        user=job_user,
        limits=settings.limits,
    )


def run(
    home: Home,
    host: str,
    first_port: int | None,
    fsync: str | None,
    ready: Callable[[dict[str, Any]], None],
) -> None:
    """Run a service in the foreground until SIGTERM or SIGINT. `ready` gets the endpoint file's content.

    Raises HomeUnusableError, HomeInUseError, NewerSchemaError, PortInUseError.
    """
    with ExitStack() as stack:
        home.create()
        stack.enter_context(home.locked())
        access_log = stack.enter_context(closing(AccessLog(home.access_log)))
        uvloop.run(_serve(home, host, first_port, fsync, access_log, ready))


async def _serve(
    home: Home,
    host: str,
    first_port: int | None,
    fsync: str | None,
    access_log: AccessLog,
    ready: Callable[[dict[str, Any]], None],
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    service = Service(home, host, first_port, fsync, access_log)
    await service.start()
    log.info("started", extra={"pid": os.getpid(), "home": str(home.path)})
    ready(service.endpoint() | service.notice())
    await stopping.wait()
    await service.stop()
    log.info("stopped", extra={"pid": os.getpid()})
