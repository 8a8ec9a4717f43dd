"""Azure Resource Manager as an ASGI app: authentication, then the route, then the answer or the error.

Checks come in ARM's order: authentication, subscription, api-version, authorisation, body
(batchai-service.md section 6).
"""

import logging
import re
import uuid
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from openbatchai.dataplane import Storage
from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.services.context import Context
from openbatchai.services.groups import LOCATIONS
from openbatchai.services.identity import Claims, Identity, www_authenticate
from openbatchai.wire import arm
from openbatchai.wire.batchai.versions import VERSIONS

from . import batchai_routes, platform_routes
from .batchai_routes import StorageUrls
from .calls import Answer, Call, Handler, Routes

log = logging.getLogger(__name__)

# The host that clients use which were never told of us.
AZURE_HOST = "management.azure.com"

_BODY_LIMIT = 4 * 1024 * 1024
_BATCHAI = re.compile(
    r"(?:/subscriptions/[^/]+)?(?:/resourceGroups/[^/]+)?/providers/Microsoft\.BatchAI/(?P<type>.+)",
    re.IGNORECASE,
)
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(?:-[A-Za-z]+)?")


def create_app(context: Context, identity: Identity, storage: Storage, storage_urls: StorageUrls) -> ASGIApp:
    return _Arm(context, identity, storage, storage_urls)


class _Arm:
    def __init__(
        self, context: Context, identity: Identity, storage: Storage, storage_urls: StorageUrls
    ) -> None:
        self._context = context
        self._identity = identity
        self._platform = platform_routes.routes(storage)
        self._batchai = {
            name: batchai_routes.routes_of(version, storage_urls) for name, version in VERSIONS.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            content = await _read(request)
        except ClientDisconnect:
            return
        except ServiceError as error:
            await self._render(request, _error_answer(error))(scope, receive, send)
            return
        # Rendered there, too: a page of a thousand jobs takes some of the loop's time that others need.
        response = await run_in_threadpool(self._respond, request, content)
        await response(scope, receive, send)

    def _respond(self, request: Request, content: bytes) -> Response:
        return self._render(request, self._answer(request, content))

    def _answer(self, request: Request, content: bytes) -> Answer:
        try:
            return self._dispatch(request, content)
        except ServiceError as error:
            answer = _error_answer(error)
            if error.status == 401:
                header = {"WWW-Authenticate": www_authenticate(self._context.tenant)}
                return Answer(answer.status, answer.body, header)
            return answer
        except Exception:
            log.exception("%s %s failed", request.method, request.scope["path"])
            message = "The service could not carry out the request; its log says why."
            return _error_answer(ServiceError(500, Code.INTERNAL_ERROR, message))

    def _dispatch(self, request: Request, content: bytes) -> Answer:
        path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1").partition("?")[0]
        path = re.sub("/{2,}", "/", path)
        base_url = f"{request.scope['scheme']}://{request.headers.get('host', AZURE_HOST)}"
        if path.lower().rstrip("/") == "/metadata/endpoints":
            return Answer(200, arm_metadata(base_url))
        claims = self._identity.authenticate(request.headers.get("authorization"))
        self._check_subscription(path)
        text = request.scope["query_string"].decode("utf-8", "replace")
        query = {name.lower(): value for name, value in parse_qsl(text, keep_blank_values=True)}
        version = _api_version(query)
        handler, names = self._route(request.method, path, version)
        call = Call(
            context=self._context,
            method=request.method,
            path=path,
            query=query,
            content=content,
            base_url=base_url,
            zero_edit=request.headers.get("host", "").partition(":")[0].lower() == AZURE_HOST,
            actor=_actor(claims),
            api_version=version,
            headers=request.headers,
        )
        return handler(call, **names)

    def _check_subscription(self, path: str) -> None:
        match = re.match(r"/subscriptions/([^/]+)", path, re.IGNORECASE)
        if match and ids.fold(match[1]) != ids.fold(self._context.subscription):
            raise ServiceError(
                404, Code.SUBSCRIPTION_NOT_FOUND, f"The subscription '{match[1]}' could not be found."
            )

    def _route(self, method: str, path: str, version: str) -> tuple[Handler, dict[str, str]]:
        batchai = _BATCHAI.fullmatch(path)
        if batchai is None:
            found = self._platform.find(method, path)
            if found is None:
                raise ServiceError(
                    404, Code.INVALID_RESOURCE_TYPE, f"The resource type of '{path}' could not be found."
                )
            return found
        routes = self._batchai.get(version)
        found = routes.find(method, path) if routes else None
        if found is None:
            raise self._not_offered(path, version, batchai["type"])
        return found

    def _not_offered(self, path: str, version: str, type_path: str) -> ServiceError:
        """The path or its api-version is not offered: say which would be."""
        kind = "/".join(type_path.split("/")[::2])
        supported = [name for name, routes in self._batchai.items() if _knows(routes, path)]
        if not supported:
            return ServiceError(
                404,
                Code.INVALID_RESOURCE_TYPE,
                f"The resource type '{kind}' of the namespace 'Microsoft.BatchAI' is not offered by this "
                f"service in api version '{version}'.",
            )
        return ServiceError(
            400,
            Code.NO_REGISTERED_PROVIDER,
            f"No registered resource provider found for API version '{version}' for type '{kind}'. The "
            f"supported api-versions are '{', '.join(supported)}'. The supported locations are "
            f"'{', '.join(LOCATIONS)}'.",
        )

    def _render(self, request: Request, answer: Answer) -> Response:
        headers = {
            **arm.COMMON_HEADERS,
            "x-ms-request-id": (request_id := str(uuid.uuid4())),
            "request-id": request_id,
            "x-ms-correlation-request-id": request.headers.get("x-ms-correlation-request-id", request_id),
            **_rate_limit(request.method),
            **answer.headers,
        }
        if client_id := request.headers.get("x-ms-client-request-id"):
            headers["x-ms-client-request-id"] = client_id
        if answer.body is None or request.method == "HEAD":
            return Response(status_code=answer.status, headers=headers)
        media_type = "application/json; charset=utf-8"
        return JSONResponse(answer.body, answer.status, headers, media_type=media_type)


def _knows(routes: Routes, path: str) -> bool:
    try:
        return routes.find("GET", path) is not None
    except ServiceError:
        return True


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_LIMIT:
            raise ServiceError(
                413, Code.INVALID_REQUEST_CONTENT, f"The request content exceeds {_BODY_LIMIT} bytes."
            )
    return bytes(body)


def _api_version(query: Mapping[str, str]) -> str:
    version = query.get("api-version", "")
    if not version:
        raise ServiceError(
            400,
            Code.MISSING_API_VERSION,
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    if not _API_VERSION.fullmatch(version):
        raise ServiceError(
            400,
            Code.INVALID_API_VERSION,
            f"The api-version '{version}' is invalid. The supported versions are '{', '.join(VERSIONS)}'.",
        )
    return version.lower()


def _actor(claims: Claims) -> str:
    return claims.client_id


def _rate_limit(method: str) -> dict[str, str]:
    """Counters that some clients log; nothing is limited here."""
    kind, left = {"GET": ("reads", 11999), "HEAD": ("reads", 11999), "DELETE": ("deletes", 14999)}.get(
        method, ("writes", 1199)
    )
    return {f"x-ms-ratelimit-remaining-subscription-{kind}": str(left)}


def _error_answer(error: ServiceError) -> Answer:
    gateway = error.code in (Code.RESOURCE_NOT_FOUND, Code.SUBSCRIPTION_NOT_FOUND)
    return Answer(error.status, arm.error_body(error), {"x-ms-failure-cause": "gateway"} if gateway else {})


def arm_metadata(base_url: str) -> dict[str, object]:
    """What `az cloud register` reads (clients.md section 9)."""
    return {
        "name": "OpenBatchAI",
        "portal": base_url,
        "portalEndpoint": base_url,
        "resourceManager": base_url,
        "galleryEndpoint": base_url,
        "graphEndpoint": base_url,
        "graph": base_url,
        "authentication": {
            "loginEndpoint": base_url,
            "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "suffixes": {"storage": "core.windows.net"},
    }
