"""What the calls that take their bytes from a source share: opening it, wherever it lies."""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import unquote

from openbatchai.dataplane import Storage, crc64
from openbatchai.dataplane.copies import Original
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.integrity import Checks
from openbatchai.dataplane.ranges import Span, parse_range
from openbatchai.dataplane.uploads import Upload
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.foreign import Foreign
from openbatchai.http.storage.request import conditions_of, md5_header
from openbatchai.http.storage.sources import ElsewhereError, reads_at_once, source_error, source_of

ResultT = TypeVar("ResultT")
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_SOURCE = "x-ms-source-"


class SourceReader:
    """Opens the sources that requests name."""

    def __init__(self, storage: Storage, foreign: Foreign) -> None:
        self._storage = storage
        self._foreign = foreign

    async def read(
        self, exchange: Exchange, limit: int, make: Callable[[Original, Span], ResultT]
    ) -> ResultT:
        """What `make` makes, in a worker thread, of the source that the request names and the bytes of it
        that it wants, of which there are at most `limit`.

        Raises CannotVerifyCopySource, SourceConditionNotMet, InvalidRange, RequestBodyTooLarge. For a
        blob a condition on what is read at once is a part of reading it: CannotVerifyCopySource tells of it.
        """
        try:
            return await self._read(exchange, limit, make)
        except StorageError as error:
            at_once = exchange.ref.service is StorageService.BLOB and reads_at_once(exchange)
            if error.code is StorageCode.SOURCE_CONDITION_NOT_MET and at_once:
                raise source_error(error) from None
            raise

    async def _read(
        self, exchange: Exchange, limit: int, make: Callable[[Original, Span], ResultT]
    ) -> ResultT:
        headers = exchange.headers
        conditions = conditions_of(_source_conditions(headers))
        wanted = parse_range(headers.get("x-ms-source-range"))
        try:
            source = await source_of(exchange)
        except ElsewhereError as elsewhere:
            url = elsewhere.url
        else:
            ref = source.ref

            def ours() -> ResultT:
                original = self._storage.copies.open(ref)
                try:
                    original.check(conditions)
                    span = Span(0, original.size) if wanted is None else wanted.within(original.size)
                    if span.length > limit:
                        raise StorageError(StorageCode.BODY_TOO_LARGE)
                    return make(original, span)
                finally:
                    original.close()

            return await exchange.run(ours)

        def start() -> Upload:
            return self._storage.blobs.new_upload(exchange.ref.account, hashing=False)

        original, span = await self._foreign.fetch(
            exchange, url, _foreign_headers(headers), wanted, limit, start
        )

        def theirs() -> ResultT:
            try:
                return make(original, span)
            finally:
                original.close()

        return await exchange.run(theirs)


def source_checks(headers: Mapping[str, str]) -> Checks:
    """The sums that a request says the source's bytes have."""
    md5, crc = md5_header(headers, f"{_SOURCE}content-md5"), headers.get(f"{_SOURCE}content-crc64", "")
    if md5 and crc:
        raise StorageError(StorageCode.BOTH_HASHES)
    if crc and not crc64.is_base64(crc):
        raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": f"{_SOURCE}content-crc64"})
    return Checks(md5, crc)


def without_signature(url: str) -> str:
    """Whoever reads the copy is told its source, but not how to read that."""
    place, _, query = url.partition("?")
    kept = [part for part in query.split("&") if unquote(part.partition("=")[0]).lower() != "sig"]
    return f"{place}?{'&'.join(kept)}".rstrip("?&")


def _source_conditions(headers: Mapping[str, str]) -> dict[str, str]:
    found = {name: headers[f"{_SOURCE}{name}"] for name in _CONDITIONS if f"{_SOURCE}{name}" in headers}
    if f"{_SOURCE}if-tags" in headers:
        found["x-ms-if-tags"] = headers[f"{_SOURCE}if-tags"]
    return found


def _foreign_headers(headers: Mapping[str, str]) -> dict[str, str]:
    sent = {name: headers[f"{_SOURCE}{name}"] for name in _CONDITIONS if f"{_SOURCE}{name}" in headers}
    if authorization := headers.get("x-ms-copy-source-authorization"):
        # A token is only good with a version.
        sent |= {"Authorization": authorization, "x-ms-version": "2020-10-02"}
    return sent
