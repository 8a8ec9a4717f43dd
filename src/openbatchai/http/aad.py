"""The token authority as an ASGI app; it can share a port with ARM (`is_aad_path`)."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from openbatchai.services.identity import GrantRefusal, GrantRefusedError, Identity
from openbatchai.wire import aad as wire

_BODY_LIMIT = 64 * 1024
_AAD_SEGMENTS = {"oauth2", "v2.0", ".well-known", "discovery"}
# The first segments of ARM's own paths, which might hold a subscription or provider of any name.
_ARM_SEGMENTS = {"subscriptions", "providers", "metadata", "tenants"}
_NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}

Endpoint = Callable[[Request], Awaitable[Response]]


def is_aad_path(path: str) -> bool:
    """Whether a path on a port shared with ARM is the authority's: `/<tenant>/oauth2/token` and so on."""
    first, _, rest = path.lstrip("/").partition("/")
    return first.lower() not in _ARM_SEGMENTS and rest.partition("/")[0].lower() in _AAD_SEGMENTS


def create_app(identity: Identity) -> Starlette:
    return Starlette(routes=routes(identity))


def routes(identity: Identity) -> list[BaseRoute]:
    authority = _Authority(identity)
    any_method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

    def route(path: str, endpoint: Endpoint, methods: list[str] | None = None) -> Route:
        return Route(path, authority.guard(endpoint), methods=methods)

    return [
        route("/{tenant}/oauth2/token", authority.token_v1, any_method),
        route("/{tenant}/oauth2/v2.0/token", authority.token_v2, any_method),
        route("/{tenant}/.well-known/openid-configuration", authority.configuration_v1),
        route("/{tenant}/v2.0/.well-known/openid-configuration", authority.configuration_v2),
        route("/{tenant}/discovery/keys", authority.keys),
        route("/{tenant}/discovery/v2.0/keys", authority.keys),
        route("/{tenant}/discovery/instance", authority.instance),
    ]


class _Authority:
    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def guard(self, endpoint: Endpoint) -> Endpoint:
        """Render refusals as AAD does and say nothing about the path of a foreign tenant."""

        async def guarded(request: Request) -> Response:
            try:
                self._identity.check_tenant(request.path_params["tenant"])
                response = await endpoint(request)
            except GrantRefusedError as refusal:
                response = self._refuse(request, _wire_error(refusal, self._identity.tenant_id))
            except wire.AuthorityError as error:
                response = self._refuse(request, error)
            _echo_request_id(request, response)
            return response

        return guarded

    async def token_v1(self, request: Request) -> Response:
        return await self._token(request, v2=False)

    async def token_v2(self, request: Request) -> Response:
        return await self._token(request, v2=True)

    async def configuration_v1(self, request: Request) -> Response:
        return self._configuration(request, v2=False)

    async def configuration_v2(self, request: Request) -> Response:
        return self._configuration(request, v2=True)

    async def keys(self, request: Request) -> Response:
        key = self._identity.public_key
        return JSONResponse(wire.key_set(key.key_id, key.modulus, key.exponent))

    async def instance(self, request: Request) -> Response:
        """The tenant is the first segment of the authority asked about; its host arrives without port."""
        try:
            asked = urlsplit(request.query_params.get("authorization_endpoint", "")).path.split("/")
        except ValueError:
            raise wire.no_address("authorization_endpoint") from None
        tenant = asked[1] if len(asked) > 1 and asked[1] else "common"
        self._identity.check_tenant(tenant)
        return JSONResponse(wire.instance_discovery(_base(request), tenant))

    async def _token(self, request: Request, *, v2: bool) -> Response:
        if request.method != "POST":
            raise wire.post_only(request.method)
        body = await _read_body(request)
        wanted = wire.parse_token_request(body, request.headers.get("authorization"), v2=v2)
        tenant: str = request.path_params["tenant"]
        # The principal comes from the store, which may wait for its disk.
        token = await run_in_threadpool(
            self._identity.issue, tenant, wanted.client_id, wanted.client_secret, wanted.audience
        )
        reply = wire.token_reply(
            token.text,
            wanted.audience,
            issued=token.issued,
            expires=token.expires,
            now=self._identity.clock.now(),
            v2=v2,
        )
        return JSONResponse(reply, headers=_NO_STORE)

    def _configuration(self, request: Request, *, v2: bool) -> Response:
        tenant: str = request.path_params["tenant"]
        home = self._identity.tenant_id
        return JSONResponse(wire.openid_configuration(_base(request), tenant, home, v2=v2))

    def _refuse(self, request: Request, error: wire.AuthorityError) -> Response:
        correlation_id = _request_id(request) or str(uuid.uuid4())
        now = self._identity.clock.now()
        reply: dict[str, Any] = wire.error_reply(error, now, str(uuid.uuid4()), correlation_id)
        return JSONResponse(reply, status_code=error.status, headers=_NO_STORE)


def _wire_error(refusal: GrantRefusedError, tenant_id: str) -> wire.AuthorityError:
    match refusal.reason:
        case GrantRefusal.UNKNOWN_TENANT:
            return wire.unknown_tenant(refusal.subject)
        case GrantRefusal.UNKNOWN_APPLICATION:
            return wire.unknown_application(refusal.subject, tenant_id)
        case GrantRefusal.WRONG_SECRET:
            return wire.wrong_secret(refusal.subject)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_LIMIT:
            raise wire.request_too_large()
    return bytes(body)


def _base(request: Request) -> str:
    """Where the client reached us: each of our ports and hosts describes itself."""
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


def _request_id(request: Request) -> str | None:
    """The client's own request id, only if it is a guid: it goes into headers and texts."""
    try:
        return str(uuid.UUID(request.headers.get("client-request-id", "")))
    except ValueError:
        return None


def _echo_request_id(request: Request, response: Response) -> None:
    response.headers["x-ms-request-id"] = str(uuid.uuid4())
    wanted = request.headers.get("return-client-request-id", "").lower() == "true"
    if wanted and (request_id := _request_id(request)):
        response.headers["client-request-id"] = request_id
