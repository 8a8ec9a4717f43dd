"""One ARM request as handlers see it, their answers, and the table that finds the handler.

All of ARM's path is matched without regard to case (clients.md section 5); names keep the client's case.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import Operation
from openbatchai.services.context import Context
from openbatchai.wire import arm

Json = dict[str, Any]

# The deepest property of any request has a depth of 8.
_DEPTH_LIMIT = 100


@dataclass(frozen=True)
class Call:
    """`base_url` is how the client reached us; `zero_edit` tells that it believes to talk to Azure itself.

    `query` and `headers` have lower-case names, in which clients differ.
    """

    context: Context
    method: str
    path: str
    query: Mapping[str, str]
    content: bytes
    base_url: str
    zero_edit: bool
    actor: str
    api_version: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def subscription(self) -> str:
        return self.context.subscription

    def json(self) -> Any:
        """The body. Raises 400 InvalidRequestContent when it is no JSON, 415 when it says that it is none."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type and "json" not in media_type:
            raise ServiceError(
                415,
                Code.UNSUPPORTED_MEDIA_TYPE,
                f"The content media type '{media_type[:100]}' is not supported. Only 'application/json' is "
                "supported.",
            )
        try:
            value = json.loads(self.content, parse_constant=_refuse_constant)
            _check_json(value)
        except (ValueError, RecursionError) as error:
            raise ServiceError(
                400,
                Code.INVALID_REQUEST_CONTENT,
                f"The request content was invalid and could not be deserialized: '{error}'.",
            ) from None
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number of the query. Raises 400 naming the parameter and its range."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ServiceError(
                400,
                Code.INVALID_PROPERTY_VALUE,
                f"The value '{text}' of query parameter '{name}' must be a number from {low} to {high}.",
                target=name,
            )
        return int(text)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _check_json(value: Any) -> None:
    """Raise ValueError for what is JSON but can be no property of ours: it could not be answered, stored or
    handed to a process later on."""
    waiting = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str):
            item.encode()  # half of a surrogate pair is no text
            if "\0" in item:
                raise ValueError("A text holds a null character")
        elif isinstance(item, (dict, list)):
            if depth > _DEPTH_LIMIT:
                raise ValueError(f"The content is nested more than {_DEPTH_LIMIT} deep")
            parts = [*item, *item.values()] if isinstance(item, dict) else item
            waiting += [(part, depth + 1) for part in parts]


@dataclass(frozen=True)
class Answer:
    status: int
    body: Json | list[Json] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[..., Answer]


@dataclass(frozen=True)
class Route:
    """`path` holds names in braces, e.g. `/subscriptions/{subscription}/locations`; each fits one segment."""

    method: str
    path: str
    handler: Handler


class Routes:
    """The handlers of one set of paths."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_length: dict[int, list[tuple[re.Pattern[str], dict[str, Handler]]]] = {}
        found: dict[str, dict[str, Handler]] = {}
        for route in routes:
            found.setdefault(route.path, {})[route.method] = route.handler
        for path, handlers in found.items():
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
            entry = (re.compile(pattern, re.IGNORECASE), handlers)
            self._by_length.setdefault(path.count("/"), []).append(entry)

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        """The handler and the names in the path; None for an unknown path. Raises 405 for a wrong method."""
        path = path.rstrip("/")
        for pattern, handlers in self._by_length.get(path.count("/"), ()):
            if match := pattern.fullmatch(path):
                # What can be got can be asked for its existence.
                handler = handlers.get(method) or (handlers.get("GET") if method == "HEAD" else None)
                if handler is None:
                    raise ServiceError(
                        405,
                        Code.METHOD_NOT_ALLOWED,
                        f"The method {method} is not allowed on '{path}'; allowed are "
                        f"{', '.join(sorted(handlers))}.",
                    )
                return handler, {name: unquote(value) for name, value in match.groupdict().items()}
        return None


def page(call: Call, items: Sequence[Json], size: int) -> Answer:
    """`size` items a page; `nextLink` only when there are more (batchai-service.md section 2.4)."""
    start = skipped(call)
    end = start + size
    return part(call, items[start:end], end if len(items) > end else None)


def skipped(call: Call) -> int:
    """Behind what the page begins: what `part` was given for the page before; 0 at the first."""
    return call.number("$skiptoken", 0, 0, 10**9)


def part(call: Call, items: Sequence[Json], following: int | None) -> Answer:
    """One page; the next begins behind `following`, of None there is none."""
    link = None
    if following is not None:
        link = f"{call.base_url}{call.path}?{urlencode({**call.query, '$skiptoken': str(following)})}"
    return Answer(200, arm.list_body(items, link))


def accepted(call: Call, operation: Operation | None, provider_path: str) -> Answer:
    """202 with both polling URLs; 204 when there was nothing to delete."""
    if operation is None:
        return Answer(204)
    return Answer(202, None, arm.operation_headers(call.base_url, provider_path, operation, call.api_version))
