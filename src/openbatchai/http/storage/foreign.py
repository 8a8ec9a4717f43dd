"""Sources of copies that lie on other servers, fetched because the request asks for it (storage.md 5.3).

A request could make the service a messenger into networks that the client cannot reach itself. So by
default only public addresses are asked: the name is resolved once, each address is looked at, and the
connection goes to the address that was looked at; redirects are followed only by the same rule.
"""

import asyncio
import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from openbatchai.dataplane.copies import Original, source_code
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.ranges import RangeHeader, Span
from openbatchai.dataplane.records import ContentHeaders
from openbatchai.dataplane.uploads import Upload

if TYPE_CHECKING:
    import httpx

    from openbatchai.http.storage.exchange import Exchange

_PIECE = 1 << 20
_MOST_REDIRECTS = 5
_CONNECT_S = 10.0
_SILENCE_S = 60.0
_REDIRECTS = (301, 302, 303, 307, 308)
_META = "x-ms-meta-"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Global by their number, but a gateway or a tunnel makes IPv4 addresses of anywhere of them, or they once
# were a site's own: IPv4-compatible, IPv4-translated, NAT64 of a network's own, 6to4, Teredo, site-local.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10"),
    )
)
_BLOB_TYPES = ("BlockBlob", "AppendBlob", "PageBlob")


class Reach(StrEnum):
    """Which other servers may be sources: none, those with public addresses, or any."""

    NONE = "none"
    PUBLIC = "public"
    ANY = "any"


class Foreign:
    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def fetch(
        self,
        exchange: "Exchange",
        url: str,
        headers: Mapping[str, str],
        wanted: RangeHeader | None,
        limit: int,
        start: Callable[[], Upload],
    ) -> tuple[Original, Span]:
        """The source at `url`, or a range of it, of at most `limit` bytes, and where in it the bytes are.

        `headers` go with the request. Raises CannotVerifyCopySource for whatever keeps it from being read.
        """
        if self._reach is Reach.NONE:
            raise StorageError(StorageCode.CANNOT_VERIFY_SOURCE, "Sources elsewhere are not fetched.")
        # Rare: a service that never copies from elsewhere never pays for the import.
        import httpx

        try:
            # The transport, not the client: that writes each URL to the log, with what signs it, and asks
            # the environment for a proxy, which may be this service.
            async with httpx.AsyncHTTPTransport(trust_env=False) as transport:
                response = await self._ask(transport, url, headers, wanted)
                try:
                    _check_status(response)
                    return await _take(exchange, response, wanted, limit, start)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # The text of the error may hold the URL, and that a signature.
            reason = f"The source could not be fetched: {type(error).__name__}."
            raise StorageError(StorageCode.CANNOT_VERIFY_SOURCE, reason) from None

    async def _ask(
        self,
        transport: "httpx.AsyncHTTPTransport",
        url: str,
        headers: Mapping[str, str],
        wanted: RangeHeader | None,
    ) -> "httpx.Response":
        sent = {**headers, "Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "OpenBatchAI"}
        if wanted is not None:
            first, last = (("" if at is None else str(at)) for at in (wanted.first, wanted.last))
            sent["Range"] = f"bytes={first}-{last}"
        for _ in range(_MOST_REDIRECTS + 1):
            response = await transport.handle_async_request(await self._request(url, sent))
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return response
            await response.aclose()
            following = urljoin(url, response.headers["location"])
            if urlsplit(following)[:2] != urlsplit(url)[:2]:
                # Credentials are for whom they were given.
                sent.pop("Authorization", None)
            url = following
        raise StorageError(StorageCode.CANNOT_VERIFY_SOURCE, "The source redirects too often.")

    async def _request(self, url: str, headers: Mapping[str, str]) -> "httpx.Request":
        """A request to an address of the URL's host that may be asked."""
        import httpx

        target = httpx.URL(url)
        if target.scheme not in ("http", "https") or not target.host:
            raise StorageError(StorageCode.CANNOT_VERIFY_SOURCE, "The source is no http or https URL.")
        port = target.port or (443 if target.scheme == "https" else 80)
        address = await self._address(target.host, port)
        pinned = target.copy_with(host=address)
        host = target.netloc.decode("ascii")
        extensions = {
            "timeout": httpx.Timeout(_SILENCE_S, connect=_CONNECT_S).as_dict(),
            **({"sni_hostname": target.host} if target.scheme == "https" else {}),
        }
        return httpx.Request("GET", pinned, headers={**headers, "Host": host}, extensions=extensions)

    async def _address(self, host: str, port: int) -> str:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            found = []
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses:
            raise StorageError(StorageCode.CANNOT_VERIFY_SOURCE, "The host of the source is not known.")
        if self._reach is not Reach.ANY and not all(map(is_public, addresses)):
            raise StorageError(
                StorageCode.CANNOT_VERIFY_SOURCE, "The host of the source is not on a public address."
            )
        return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is one of the internet, not of this machine or a private network."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        elif any(parsed in network for network in _NOT_PUBLIC):
            return False
        elif parsed in _NAT64:
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed.is_global and not parsed.is_multicast


def _check_status(response: "httpx.Response") -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in (304, 412):
        raise StorageError(StorageCode.SOURCE_CONDITION_NOT_MET)
    detail = {"CopySourceStatusCode": str(status)}
    if told := response.headers.get("x-ms-error-code"):
        detail["CopySourceErrorCode"] = told
    raise StorageError(source_code(status), f"The source answered {status}.", detail=detail)


async def _take(
    exchange: "Exchange",
    response: "httpx.Response",
    wanted: RangeHeader | None,
    limit: int,
    start: Callable[[], Upload],
) -> tuple[Original, Span]:
    upload = await exchange.run(start)
    try:
        held = bytearray()
        size = 0
        is_part = wanted is not None and response.status_code == 206
        # A server may ignore the range and send everything.
        skipped = 0 if wanted is None or is_part else wanted.first or 0
        async for piece in response.aiter_raw():
            size += len(piece)
            if size > skipped + limit and (is_part or not _has_all(wanted, size)):
                raise StorageError(StorageCode.BODY_TOO_LARGE)
            held += piece
            if len(held) >= _PIECE:
                await exchange.run(upload.write, bytes(held))
                held.clear()
            if not is_part and _has_all(wanted, size):
                break
        await exchange.run(upload.write, bytes(held))
        span = Span(0, size) if wanted is None or is_part else wanted.within(size)
        if span.length > limit:
            raise StorageError(StorageCode.BODY_TOO_LARGE)
        return _original(os.dup(upload.fd), size, response.headers), span
    finally:
        upload.discard()


def _has_all(wanted: RangeHeader | None, size: int) -> bool:
    """Whether the first `size` bytes hold all that is wanted."""
    return wanted is not None and wanted.first is not None and wanted.last is not None and size > wanted.last


def _original(fd: int, size: int, headers: Mapping[str, str]) -> Original:
    blob_type = headers.get("x-ms-blob-type", "")
    number = headers.get("x-ms-blob-sequence-number", "")
    return Original(
        fd=fd,
        size=size,
        content=ContentHeaders(
            type=headers.get("content-type", ""),
            encoding=headers.get("content-encoding", ""),
            language=headers.get("content-language", ""),
            disposition=headers.get("content-disposition", ""),
            cache_control=headers.get("cache-control", ""),
        ),
        metadata={
            name.lower()[len(_META) :]: value
            for name, value in headers.items()
            if name.lower().startswith(_META)
        },
        md5=headers.get("content-md5", ""),
        blob_type=blob_type if blob_type in _BLOB_TYPES else _BLOB_TYPES[0],
        sequence_number=int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0,
    )
