"""What the calls that make or change blobs read from a request."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote_plus

from openbatchai.dataplane import Storage
from openbatchai.dataplane.blobtree import BlobProperties
from openbatchai.dataplane.conditions import Conditions
from openbatchai.dataplane.tags import check_tags
from openbatchai.dataplane.tiers import check_tier
from openbatchai.dataplane.uploads import Upload
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import conditions_of, content_of, md5_header, metadata_of


def blob_properties(exchange: Exchange, *, standard: bool) -> BlobProperties:
    headers = exchange.headers
    tier = headers.get("x-ms-access-tier", "")
    return BlobProperties(
        content=content_of(headers, "x-ms-blob-", standard=standard),
        metadata=metadata_of(headers),
        md5=md5_header(headers, "x-ms-blob-content-md5"),
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


def create_conditions(exchange: Exchange) -> Conditions:
    """With permission to create but not to write, an existing blob stays as it is."""
    conditions = conditions_of(exchange.headers)
    permissions = exchange.grant.permissions
    if permissions is not None and "w" not in permissions:
        return replace(conditions, if_none_match="*")
    return conditions


def upload_starter(storage: Storage, exchange: Exchange, *, hashing: bool) -> Callable[[], Upload]:
    return lambda: storage.blobs.new_upload(exchange.ref.account, hashing=hashing)
