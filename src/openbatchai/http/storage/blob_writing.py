"""What the calls that make or change blobs read from a request."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar
from urllib.parse import unquote_plus

from openbatchai.dataplane import Storage
from openbatchai.dataplane.blobtree import BlobProperties
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.tags import check_tags
from openbatchai.dataplane.tiers import check_tier
from openbatchai.dataplane.uploads import Upload
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.integrity import body_limit, checks_of, sum_headers
from openbatchai.http.storage.request import conditions_of, content_of, kept_md5, metadata_of


def blob_properties(exchange: Exchange, *, standard: bool) -> BlobProperties:
    headers = exchange.headers
    tier = headers.get("x-ms-access-tier", "")
    return BlobProperties(
        content=content_of(headers, "x-ms-blob-", standard=standard),
        metadata=metadata_of(headers),
        md5=kept_md5(headers, "x-ms-blob-content-md5"),
        tier=check_tier(tier) if tier else "",
        tags=tags_of(exchange),
    )


def tags_of(exchange: Exchange) -> dict[str, str]:
    """The tags of `x-ms-tags`, which is a query string; to set any is a permission of its own."""
    text = exchange.headers.get("x-ms-tags", "")
    if not text:
        return {}
    exchange.grant.demand("o", "t")
    pairs = (part.partition("=") for part in text.split("&") if part)
    return check_tags([(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs])


_MIB = 1 << 20
# From which version on, up to how much in one request: a whole blob, a block (storage.md 5.3).
_LIMITS = (
    ("2019-12-12", 5000 * _MIB, 4000 * _MIB),
    ("2016-05-31", 256 * _MIB, 100 * _MIB),
    ("", 64 * _MIB, 4 * _MIB),
)


def put_blob_limit(exchange: Exchange) -> int:
    return next(whole for since, whole, _ in _LIMITS if exchange.version >= since)


def put_block_limit(exchange: Exchange) -> int:
    return next(block for since, _, block in _LIMITS if exchange.version >= since)


def create_conditions(exchange: Exchange) -> Conditions:
    """With permission to create but not to write, an existing blob stays as it is."""
    conditions = conditions_of(exchange.headers)
    permissions = exchange.grant.permissions
    if permissions is not None and "w" not in permissions:
        return replace(conditions, only_new=True)
    return conditions


ResultT = TypeVar("ResultT")


async def receive_checked(
    storage: Storage,
    exchange: Exchange,
    limit: int,
    finish: Callable[[Upload], ResultT],
    *,
    hashing: bool = False,
) -> tuple[ResultT, dict[str, str]]:
    """Take the request's body of at most `limit` bytes into an upload and check its sums.

    `finish` then makes something of it, in a worker thread. Gives that, and the headers about the sums.
    """
    checks = checks_of(exchange.headers)

    def start() -> Upload:
        return storage.blobs.new_upload(exchange.ref.account, hashing=hashing, checks=checks)

    def complete(upload: Upload) -> tuple[ResultT, dict[str, str]]:
        upload.verify()
        return finish(upload), sum_headers(checks, upload)

    return await exchange.receive_upload(body_limit(checks, limit), start, complete)
