"""What the Files service has at shares beside the calls it shares with Blob."""

from collections.abc import Mapping

from openbatchai.dataplane import Storage
from openbatchai.dataplane.containers import Container
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.containers import ContainerCalls, ContainerForm
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.request import size_header
from openbatchai.wire import files as wire
from openbatchai.wire import storage_xml

_MOST_QUOTA_GIB = 102_400


def share_form() -> ContainerForm:
    return ContainerForm(
        service=StorageService.FILE,
        noun="Share",
        settings=_settings,
        headers=_headers,
        properties=_properties,
        acl_headers=lambda _: {},
    )


class ShareCalls:
    def __init__(self, storage: Storage, common: ContainerCalls) -> None:
        self._storage = storage
        self._common = common

    def calls(self) -> Calls:
        share = Level.CONTAINER
        return {
            (share, "PUT", "share", "properties"): Call(
                "SetShareProperties", self.set_share_properties, "c", "w"
            ),
            (share, "GET", "share", "stats"): Call("GetShareStats", self.share_stats, "c", "r"),
        }

    async def set_share_properties(self, exchange: Exchange) -> None:
        await self._common.update(exchange, **_settings(exchange))

    async def share_stats(self, exchange: Exchange) -> None:
        used = await exchange.run(self._storage.used_bytes, exchange.ref)
        await exchange.reply_xml(wire.share_stats_document(used))


def _settings(exchange: Exchange) -> Mapping[str, int]:
    quota = size_header(exchange.headers, "x-ms-share-quota")
    if quota is None:
        return {}
    if not 1 <= quota <= _MOST_QUOTA_GIB:
        raise StorageError(StorageCode.INVALID_HEADER, detail={"HeaderName": "x-ms-share-quota"})
    return {"quota_gib": quota}


def _headers(found: Container, version: str) -> dict[str, str]:
    return {
        "x-ms-share-quota": str(found.settings.quota_gib),
        "x-ms-access-tier": "TransactionOptimized",
        "x-ms-enabled-protocols": "SMB",
        **wire.lease_headers(found.lease, version),
    }


def _properties(found: Container) -> Mapping[str, str]:
    return {
        "Last-Modified": storage_xml.http_date(found.last_modified),
        "Etag": found.etag,
        "Quota": str(found.settings.quota_gib),
        "AccessTier": "TransactionOptimized",
        **storage_xml.lease_properties(found.lease),
        "EnabledProtocols": "SMB",
    }
