"""What both storage services do with a request before and after its own handler: find the account, check
the credentials, look up the call, and put every failure into the services' error form."""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from openbatchai.dataplane import Storage, cors
from openbatchai.dataplane.authority import Authority, ContainerRules, Credentials, VerifyBearer
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.grants import Grant, Means
from openbatchai.dataplane.names import is_account_name, is_container_name
from openbatchai.dataplane.service_settings import ServiceSettings
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.http.storage.disk import of_file_system
from openbatchai.http.storage.exchange import ClientGoneError, Exchange, Receive, Send
from openbatchai.http.storage.observing import Meter, Observe, Served
from openbatchai.http.storage.request import (
    DEFAULT_VERSION,
    NEWEST_VERSION,
    check_snapshot,
    refuse_unsupported,
    requested_version,
)
from openbatchai.http.storage.sources import Ports, Sources
from openbatchai.http.storage.target import Target, check_target_path, parse_target, unread_target
from openbatchai.wire.storage_xml import MalformedXmlError, error_document

_log = logging.getLogger(__name__)
_THREADS = 32


class Level(Enum):
    """What the path names."""

    ACCOUNT = auto()
    CONTAINER = auto()
    ITEM = auto()


Handler = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """A handler and what a SAS needs for it: one of `scope` and one of `permissions` (none: owners only).

    `name` is the operation's name in logs and metrics.
    """

    name: str
    handler: Handler
    scope: str
    permissions: str


# In the scope of a part of a batch: the version of the batch, of which no header tells that was signed.
BATCH_VERSION = "openbatchai.batch_version"
# At the end of a `comp`: the call when the request names a source to take the bytes from.
FROM_SOURCE = "<x-ms-copy-source"
# By level, method, restype and comp.
Calls = Mapping[tuple[Level, str, str, str], Call]
FindLevel = Callable[[Target], Level]


class StorageApp:
    """The ASGI app of one storage service."""

    def __init__(
        self,
        service: StorageService,
        storage: Storage,
        calls: Calls,
        find_level: FindLevel,
        *,
        verify_bearer: VerifyBearer,
        tenant: str,
        delegation_secret: bytes = b"",
        ports: Ports = dict,
        observe: Observe | None = None,
        pool: Executor | None = None,
    ) -> None:
        self._service = service
        self._storage = storage
        self._calls = calls
        self._find_level = find_level
        self._pool = pool or ThreadPoolExecutor(_THREADS, thread_name_prefix=f"{service.value}-data")
        self._authority = Authority(
            verify_bearer, self._rules, tenant, delegation_secret, account_rules=storage.rules
        )
        self._observe = observe
        self._sources = Sources(self._authority, storage, ports)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        exchange = _unauthorised_exchange(scope, self._service, self._pool)
        meter = Meter(receive, send)
        exchange.connect(meter.receive, meter.send)
        code = ""
        try:
            code = await self._respond(exchange, scope)
        finally:
            if self._observe is not None:
                self._observe(_served(exchange, meter, code))

    async def _respond(self, exchange: Exchange, scope: Mapping[str, Any]) -> str:
        """Answer the request; gives the error code of a refusal."""
        try:
            exchange.target = parse_target(scope, self._service, exchange.headers)
            default = scope.get(BATCH_VERSION, DEFAULT_VERSION)
            exchange.version = requested_version(exchange.headers, exchange.query, default)
            await self._answer(exchange, scope)
        except ClientGoneError:
            return "ClientClosedRequest"
        except Exception as error:
            if exchange.started:
                # Too late for a status: the server closes the connection, so the client sees a cut answer.
                _log.warning("storage answer cut short: %s", error, extra={"request_id": exchange.request_id})
                return "AnswerCut"
            refusal = _as_storage_error(error, exchange.request_id)
            await self._refuse(exchange, refusal)
            return refusal.code.code
        return ""

    async def _answer(self, exchange: Exchange, scope: Mapping[str, Any]) -> None:
        target = exchange.target
        keys = self._storage.keys.keys(target.ref.account) if is_account_name(target.ref.account) else None
        if keys is None:
            raise StorageError(
                StorageCode.RESOURCE_NOT_FOUND, f"There is no storage account '{target.ref.account}' here."
            )
        settings = await self._settings(exchange)
        if exchange.method == "OPTIONS":
            await _preflight(exchange, settings)
            return
        exchange.cors_rules = settings.cors_rules
        named = "x-ms-version" in exchange.headers or "sv" in exchange.query or BATCH_VERSION in scope
        if settings.default_version and not named:
            exchange.version = min(settings.default_version, NEWEST_VERSION)
        call, unknown = self._find(target)
        exchange.operation = call.name if call else "Unknown"
        client = scope.get("client")
        credentials = Credentials(
            target.signed, target.ref, target.query, client[0] if client else "", scope["scheme"]
        )
        now = self._storage.clock.now()
        exchange.sources = self._sources
        exchange.client_ip = credentials.client_ip
        if self._authority.reads_rules(credentials):
            exchange.grant = await exchange.run(self._authority.authorise, credentials, keys, now)
        else:
            exchange.grant = self._authority.authorise(credentials, keys, now)
        if target.is_secondary and exchange.method not in ("GET", "HEAD"):
            raise StorageError(StorageCode.WRITE_TO_SECONDARY)
        if call is None:
            raise unknown
        exchange.grant.demand(call.scope, call.permissions)
        exchange.grant.check_pinned(exchange.method, target.query.get("comp", "").lower())
        refuse_unsupported(self._service, exchange.headers, exchange.query)
        if "x-ms-if-tags" in exchange.headers:
            # Whoever may ask about tags can find them out.
            exchange.grant.demand("o", "t")
        check_snapshot(target.ref, exchange.method, target.query.get("comp", "").lower())
        check_target_path(target.ref)
        await call.handler(exchange)

    async def _settings(self, exchange: Exchange) -> ServiceSettings:
        account = exchange.ref.account
        known = self._storage.settings.known(account, self._service)
        if known is not None:
            return known
        return await exchange.run(self._storage.settings.get, account, self._service)

    def _find(self, target: Target) -> tuple[Call | None, StorageError]:
        """The call, and what to refuse the request with when there is none."""
        method, query = target.signed.method, target.query
        level = self._find_level(target)
        restype, comp = query.get("restype", "").lower(), query.get("comp", "").lower()
        call = self._calls.get((level, method, restype, comp))
        if "x-ms-copy-source" in target.signed.headers:
            # The same request with a source in place of a body is another call.
            call = self._calls.get((level, method, restype, comp + FROM_SOURCE), call)
        # The table is only searched when it does not have the call.
        if (
            call is not None
            or not (comp or restype)
            or any(key[0] is level and key[2:] == (restype, comp) for key in self._calls)
        ):
            return call, StorageError(StorageCode.UNSUPPORTED_VERB)
        name = "comp" if comp else "restype"
        return None, StorageError(StorageCode.UNSUPPORTED_QUERY, detail={"QueryParameterName": name})

    def _rules(self, ref: ItemRef) -> ContainerRules:
        try:
            settings = self._storage.containers.get(ref).settings
        except StorageError:
            return ContainerRules()
        return ContainerRules(settings.public_access, settings.policies)

    async def _refuse(self, exchange: Exchange, error: StorageError) -> None:
        headers = {"x-ms-error-code": error.code.code, **error.headers}
        if "expect" in exchange.headers:
            # The body was never asked for; the next bytes on this connection must not pass for it.
            headers["Connection"] = "close"
        if error.code.status == 304:
            await exchange.reply(304, headers)
            return
        body = error_document(
            error.code.code, error.message, exchange.request_id, self._storage.clock.now(), error.detail
        )
        await exchange.reply(error.code.status, {"Content-Type": "application/xml", **headers}, body)


def _unauthorised_exchange(scope: Mapping[str, Any], service: StorageService, pool: Executor) -> Exchange:
    """An exchange that can carry an error before anything of the request is understood."""
    nothing = Grant(frozenset(), means=Means.NOTHING)
    return Exchange(unread_target(scope, service), nothing, str(uuid.uuid4()), DEFAULT_VERSION, pool)


def _as_storage_error(error: Exception, request_id: str) -> StorageError:
    if isinstance(error, StorageError):
        return error
    if isinstance(error, MalformedXmlError):
        return StorageError(StorageCode.INVALID_XML, detail={"Reason": str(error)})
    if isinstance(error, OSError) and (refusal := of_file_system(error)) is not None:
        _log.info("storage request refused by the file system: %s", error, extra={"request_id": request_id})
        return refusal
    _log.error("storage request failed", exc_info=error, extra={"request_id": request_id})
    return StorageError(StorageCode.INTERNAL)


async def _preflight(exchange: Exchange, settings: ServiceSettings) -> None:
    """Whether a page of another origin may send the request that the browser announces."""
    exchange.operation = "Preflight"
    headers = exchange.headers
    origin, method = headers.get("origin"), headers.get("access-control-request-method")
    if not origin or not method:
        raise StorageError(StorageCode.INVALID_HEADER, "A required CORS header is not present.")
    names = [name.strip() for name in headers.get("access-control-request-headers", "").split(",")]
    allowed = cors.preflight(settings.cors_rules, origin, method, [name for name in names if name])
    if allowed is None:
        raise StorageError(StorageCode.CORS_PREFLIGHT)
    await exchange.reply(200, allowed)


def _served(exchange: Exchange, meter: Meter, code: str) -> Served:
    ref = exchange.ref
    return Served(
        service=ref.service.value,
        operation=exchange.operation,
        status=meter.status,
        code=code,
        bytes_in=meter.bytes_in,
        bytes_out=meter.bytes_out,
        seconds=meter.seconds,
        complete=meter.complete,
        request_id=exchange.request_id,
        client_request_id=exchange.headers.get("x-ms-client-request-id", ""),
        # What is no name may be anything that a client mistook for one, a signature too.
        account=ref.account if is_account_name(ref.account) else "",
        container=ref.container if is_container_name(ref.container) else "",
        means=exchange.grant.means.value,
        version=exchange.version,
    )


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
