"""What the Blob service has at the account and at containers beside the calls it shares with Files."""

from collections.abc import Mapping

from openbatchai.dataplane import Storage
from openbatchai.dataplane.bloblist import PAGE, BlobQuery
from openbatchai.dataplane.containers import Container
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.containers import ContainerForm
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import includes, list_request, page_limit
from openbatchai.wire import blob as wire
from openbatchai.wire import blob_listing, storage_xml


def container_form(storage: Storage) -> ContainerForm:
    def settings(exchange: Exchange) -> dict[str, str]:
        access = _public_access(exchange)
        storage.check_public_access(exchange.ref.account, access)
        return {"public_access": access}

    return ContainerForm(
        service=StorageService.BLOB,
        noun="Container",
        settings=settings,
        headers=_headers,
        properties=_properties,
        acl_headers=_access_header,
    )


class BlobContainerCalls:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def calls(self) -> Calls:
        return {
            (Level.ACCOUNT, "GET", "service", "stats"): Call("GetBlobServiceStats", self.stats, "s", "r"),
            (Level.CONTAINER, "GET", "container", "list"): Call("ListBlobs", self.list_blobs, "cl", "l"),
        }

    async def stats(self, exchange: Exchange) -> None:
        now = storage_xml.http_date(self._storage.clock.now())
        await exchange.reply_xml(wire.stats_document(now))

    async def list_blobs(self, exchange: Exchange) -> None:
        query = exchange.query
        include = includes(query)
        if not include <= blob_listing.INCLUDABLE:
            raise StorageError(StorageCode.INVALID_QUERY, detail={"QueryParameterName": "include"})
        if query.get("showonly"):
            # For accounts with a hierarchical namespace; without one it is no parameter of the call.
            raise StorageError(StorageCode.UNSUPPORTED_QUERY, detail={"QueryParameterName": "showonly"})
        wanted = BlobQuery(
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            marker=query.get("marker", ""),
            limit=page_limit(query, PAGE),
            start_from=query.get("startfrom", ""),
            end_before=query.get("endbefore", ""),
            include=include,
        )

        def read() -> bytes:
            ref = exchange.ref
            page = self._storage.list_blobs(ref.account, ref.container, wanted)
            return blob_listing.blobs_document(
                list_request(exchange),
                ref.container,
                page.entries,
                page.next_marker,
                include=include,
                default_tier=self._storage.rules(ref.account).default_tier,
            )

        await exchange.reply_xml(await exchange.run(read))


def _public_access(exchange: Exchange) -> str:
    access = exchange.headers.get("x-ms-blob-public-access", "").lower()
    if access not in ("", "blob", "container"):
        detail = {"HeaderName": "x-ms-blob-public-access", "HeaderValue": access}
        raise StorageError(StorageCode.INVALID_HEADER, detail=detail)
    return access


def _access_header(found: Container) -> dict[str, str]:
    access = found.settings.public_access
    return {"x-ms-blob-public-access": access} if access else {}


def _headers(found: Container, version: str) -> dict[str, str]:
    return {
        **storage_xml.lease_headers(found.lease),
        "x-ms-has-immutability-policy": "false",
        "x-ms-has-legal-hold": "false",
        "x-ms-immutable-storage-with-versioning-enabled": "false",
        "x-ms-default-encryption-scope": "$account-encryption-key",
        "x-ms-deny-encryption-scope-override": "false",
        **_access_header(found),
    }


def _properties(found: Container) -> Mapping[str, str]:
    return {
        "Last-Modified": storage_xml.http_date(found.last_modified),
        "Etag": found.etag,
        **storage_xml.lease_properties(found.lease),
        "HasImmutabilityPolicy": "false",
        "HasLegalHold": "false",
        "ImmutableStorageWithVersioningEnabled": "false",
        "DefaultEncryptionScope": "$account-encryption-key",
        "DenyEncryptionScopeOverride": "false",
        **({"PublicAccess": found.settings.public_access} if found.settings.public_access else {}),
    }
