"""Azure Resource Manager as an ASGI app: authentication, then the route, then the answer or the error.

Checks come in ARM's order: authentication, subscription, api-version, authorisation, body
(batchai-service.md section 6).
"""

import logging
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from openbatchai.dataplane import Storage
from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.regions import REGIONS
from openbatchai.services import registrations
from openbatchai.services.context import Context
from openbatchai.services.identity import Claims, Identity, www_authenticate
from openbatchai.wire import arm
from openbatchai.wire.batchai.versions import VERSIONS

from . import batchai_routes, metadata, platform_routes, preconditions, tracking
from .batchai_routes import StorageUrls
from .calls import Answer, Call, Handler, Routes
from .refusals import not_served

log = logging.getLogger(__name__)

# The host that clients use which were never told of us.
AZURE_HOST = "management.azure.com"

_BODY_LIMIT = 4 * 1024 * 1024
_BATCHAI = re.compile(
    r"(?:/subscriptions/[^/]+)?(?:/resourceGroups/[^/]+)?/providers/Microsoft\.BatchAI"
    r"/(?P<type>(?!(?:un)?register/?$).+)",
    re.IGNORECASE,
)
_OF_PROVIDER = re.compile(
    r"/subscriptions/[^/]+(?:/resourceGroups/[^/]+)?/providers/(?P<namespace>[^/]+)/(?!(?:un)?register/?$).+",
    re.IGNORECASE,
)
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(?:-[A-Za-z]+)?", re.ASCII)


# What ARM itself refuses, before a provider hears of it.
_OF_THE_GATEWAY = frozenset(
    {
        Code.RESOURCE_NOT_FOUND,
        Code.SUBSCRIPTION_NOT_FOUND,
        Code.RESOURCE_GROUP_NOT_FOUND,
        Code.RESOURCE_GROUP_BEING_DELETED,
        Code.MISSING_API_VERSION,
        Code.INVALID_API_VERSION,
        Code.NO_REGISTERED_PROVIDER,
        Code.MISSING_REGISTRATION,
        Code.INVALID_RESOURCE_NAMESPACE,
        Code.INVALID_RESOURCE_TYPE,
        Code.LOCATION_OF_GROUP,
        Code.LOCATION_OF_RESOURCE,
        Code.INVALID_GROUP_LOCATION,
        Code.INVALID_RESOURCE_LOCATION,
    }
)


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
            # Of who is not let in nothing more is taken.
            claims = self._authenticated(request)
            content = await _read(request)
        except ClientDisconnect:
            return
        except ServiceError as error:
            await self._render(request, self._error_answer(error))(scope, receive, send)
            return
        # Rendered there, too: a page of a thousand jobs takes some of the loop's time that others need.
        response = await run_in_threadpool(self._respond, request, content, claims)
        await response(scope, receive, send)

    def _authenticated(self, request: Request) -> Claims | None:
        """None for what everybody may ask. Raises 401."""
        if _is_metadata(_path_of(request)):
            return None
        return self._identity.authenticate(request.headers.get("authorization"))

    def _respond(self, request: Request, content: bytes, claims: Claims | None) -> Response:
        return self._render(request, self._answer(request, content, claims))

    def _answer(self, request: Request, content: bytes, claims: Claims | None) -> Answer:
        try:
            return self._dispatch(request, content, claims)
        except ServiceError as error:
            return self._error_answer(error)
        except Exception:
            log.exception("%s %s failed", request.method, request.scope["path"])
            message = "The service could not carry out the request; its log says why."
            return self._error_answer(ServiceError(500, Code.INTERNAL_ERROR, message))

    def _error_answer(self, error: ServiceError) -> Answer:
        headers = {"x-ms-failure-cause": "gateway"} if error.code in _OF_THE_GATEWAY else {}
        if error.status == 401:
            headers["WWW-Authenticate"] = www_authenticate(self._context.tenant)
        return Answer(error.status, arm.error_body(error), headers)

    def _dispatch(self, request: Request, content: bytes, claims: Claims | None) -> Answer:
        path = _path_of(request)
        base_url = f"{request.scope['scheme']}://{request.headers.get('host', AZURE_HOST)}"
        text = request.scope["query_string"].decode("utf-8", "replace")
        query = {name.lower(): value for name, value in parse_qsl(text, keep_blank_values=True)}
        if claims is None:
            return Answer(200, metadata.clouds(base_url, query))
        self._check_subscription(path)
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
            actor=claims.client_id,
            api_version=version,
            headers=request.headers,
        )
        self._check_registration(request.method, path)
        if _BATCHAI.fullmatch(path):
            call = preconditions.applied(call, names)
        answer = handler(call, **names)
        if preconditions.unchanged(call, answer):
            return Answer(304, None, answer.headers)
        if request.method == "HEAD" and answer.status == 200:
            return Answer(204, None, answer.headers)
        return answer

    def _check_registration(self, method: str, path: str) -> None:
        """Nothing is created or done with a provider that the subscription is not registered for."""
        if method not in ("PUT", "PATCH", "POST"):
            return
        match = _OF_PROVIDER.fullmatch(path)
        if match and registrations.known(match["namespace"]):
            registrations.check(self._context, match["namespace"])

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
                raise not_served(path, version)
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
            return not_served(path, version)
        return ServiceError(
            400,
            Code.NO_REGISTERED_PROVIDER,
            f"No registered resource provider found for API version '{version}' for type '{kind}'. The "
            f"supported api-versions are '{', '.join(supported)}'. The supported locations are "
            f"'{', '.join(REGIONS)}'.",
        )

    def _render(self, request: Request, answer: Answer) -> Response:
        headers = {**arm.COMMON_HEADERS, **tracking.headers(request), **answer.headers}
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


def _path_of(request: Request) -> str:
    path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1").partition("?")[0]
    return re.sub("/{2,}", "/", path)


def _is_metadata(path: str) -> bool:
    return path.lower().rstrip("/") == "/metadata/endpoints"
