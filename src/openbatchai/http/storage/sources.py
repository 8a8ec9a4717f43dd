"""Sources of copies: which item of ours a URL in a header means, and whether the request may read it.

A source is read inside the server, never over HTTP, and only items of this server are: nothing here opens
a connection. Its credentials are checked as those of a request to the source would be (storage.md 4.4).
"""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from openbatchai.dataplane import Storage
from openbatchai.dataplane.authority import Authority, Credentials
from openbatchai.dataplane.copies import source_code, told_of_source
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.grants import Grant
from openbatchai.dataplane.names import is_account_name
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.http.storage.target import Target, check_target_path, host_account, parse_target

if TYPE_CHECKING:
    from openbatchai.http.storage.exchange import Exchange


class ElsewhereError(StorageError):
    """The URL is not one of this server; it may be fetched if the user wants that."""

    def __init__(self, url: str) -> None:
        super().__init__(StorageCode.CANNOT_VERIFY_SOURCE, "The source is not on this server.")
        self.url = url


# Where each service listens for path-style URLs. Asked per source: ports are known only after the start.
Ports = Callable[[], Mapping[StorageService, int]]
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Source:
    """An item that may be read as the source of a copy. `ref` holds its snapshot; `query` is decoded."""

    ref: ItemRef
    query: Mapping[str, str]


@dataclass(frozen=True)
class SourceRequest:
    """A source URL and what the request that names it brings along.

    `authorization` is x-ms-copy-source-authorization, `version` the request's x-ms-version header.
    `trusts_owner`: an owner's request is enough for a source in the same account.
    """

    url: str
    grant: Grant
    ref: ItemRef
    authorization: str
    client_ip: str
    version: str
    intent: str = ""
    allow_trailing_dot: str = ""
    trusts_owner: bool = True


class Sources:
    """Authorises sources. `resolve` may wait for the disk: call it in a worker thread."""

    def __init__(self, authority: Authority, storage: Storage, ports: Ports) -> None:
        self._authority = authority
        self._storage = storage
        self._ports = ports

    def resolve(self, request: SourceRequest, any_of: str = "r") -> Source:
        """The source, if the credentials allow one of the permissions `any_of` on it.

        A source in the request's own account needs no credentials beside those of an owner, unless the
        request says so. What is read as part of a call needs them in any case, as in the service.

        Raises InvalidHeaderValue for what is no URL of an item, CannotVerifyCopySource (404) for sources
        elsewhere or not known to exist, (401, 403) for credentials that are missing or do not suffice.
        """
        target = self._target(request)
        ref = target.ref
        keys = self._storage.keys.keys(ref.account) if is_account_name(ref.account) else None
        if keys is None:
            if not target.signed.path_style:
                # Its host is one of Azure's, and so is its account.
                raise ElsewhereError(request.url)
            raise StorageError(StorageCode.CANNOT_VERIFY_SOURCE)
        credentials = Credentials(
            target.signed, ref, target.query, request.client_ip, urlsplit(request.url).scheme.lower()
        )
        if self._needs_credentials(request, target):
            try:
                grant = self._authority.authorise(credentials, keys, self._now())
                grant.demand("o", any_of)
            except StorageError as error:
                raise source_error(error) from None
        check_target_path(ref)
        return Source(ref, target.query)

    def _needs_credentials(self, request: SourceRequest, target: Target) -> bool:
        if request.authorization or "sig" in target.query or not request.trusts_owner:
            return True
        return not (request.grant.is_owner and request.ref.account == target.ref.account)

    def _target(self, request: SourceRequest) -> Target:
        try:
            parts = urlsplit(request.url)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme.lower())
        except ValueError:
            parts, port = urlsplit(""), None
        known = parts.scheme.lower() in _DEFAULT_PORTS
        if not parts.netloc or not known or port is None or "@" in parts.netloc:
            raise _no_item(request.url)
        headers = {"host": parts.netloc, "authorization": request.authorization}
        headers |= {"x-ms-version": request.version, "x-ms-file-request-intent": request.intent}
        headers["x-ms-allow-trailing-dot"] = request.allow_trailing_dot
        scope = {
            "method": "GET",
            "scheme": parts.scheme.lower(),
            "raw_path": _ascii(parts.path or "/"),
            "query_string": _ascii(parts.query),
        }
        service = self._service(parts.netloc, port)
        if service is None:
            raise ElsewhereError(request.url)
        target = parse_target(scope, service, {name: value for name, value in headers.items() if value})
        if not target.ref.container or not target.ref.path:
            raise _no_item(request.url)
        return target

    def _service(self, netloc: str, port: int) -> StorageService | None:
        for service in StorageService:
            if host_account(netloc, service) is not None:
                return service
        for service, listening in self._ports().items():
            if listening == port:
                return service
        return None

    def _now(self) -> datetime:
        return self._storage.clock.now()


async def source_of(exchange: "Exchange", header: str = "x-ms-copy-source", any_of: str = "r") -> Source:
    """The item that a request names as its source, authorised; raises as `Sources.resolve` does."""
    headers = exchange.headers
    url = headers.get(header)
    if not url:
        raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": header})
    request = SourceRequest(
        url,
        exchange.grant,
        exchange.ref,
        headers.get(f"{header}-authorization", ""),
        exchange.client_ip,
        headers.get("x-ms-version", ""),
        headers.get("x-ms-source-file-request-intent", headers.get("x-ms-file-request-intent", "")),
        allow_trailing_dot=headers.get("x-ms-source-allow-trailing-dot", ""),
        trusts_owner=not reads_at_once(exchange),
    )
    return await exchange.run(exchange.sources.resolve, request, any_of)


def reads_at_once(exchange: "Exchange") -> bool:
    """Put … From URL in all its forms and the synchronous Copy Blob."""
    headers, comp = exchange.headers, exchange.query.get("comp", "").lower()
    is_piece = comp in ("block", "appendblock", "page", "range")
    return is_piece or "x-ms-blob-type" in headers or headers.get("x-ms-requires-sync", "").lower() == "true"


def source_error(error: StorageError) -> StorageError:
    """What reading the source was refused with, as the answer to the request that named it."""
    code, status = source_code(error.code.status), str(error.code.status)
    detail = {"CopySourceStatusCode": status, "CopySourceErrorCode": error.code.code}
    return StorageError(code, error.message, headers=told_of_source(error), detail=detail)


def _ascii(text: str) -> bytes:
    """Some clients leave characters beyond ASCII as they are."""
    return quote(text, safe=string.printable).encode("ascii")


def _no_item(url: str) -> StorageError:
    # Without the query, which may hold a signature.
    return StorageError(StorageCode.INVALID_HEADER, detail={"HeaderValue": url.partition("?")[0]})
