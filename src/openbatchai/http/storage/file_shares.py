"""What the Files service has at shares beside the calls it shares with Blob."""

from collections.abc import Mapping
from typing import Any

from openbatchai.dataplane import Storage
from openbatchai.dataplane.containers import Container, WithSnapshots
from openbatchai.domain.ports import Clock, StorageService
from openbatchai.http.storage.answers import version_headers
from openbatchai.http.storage.app import Call, Calls, Level
from openbatchai.http.storage.containers import ContainerCalls, ContainerForm
from openbatchai.http.storage.exchange import Exchange
from openbatchai.http.storage.file_smb import flag, invalid_header
from openbatchai.http.storage.request import conditions_of, metadata_of, size_header
from openbatchai.wire import files as wire
from openbatchai.wire import storage_xml

_MOST_QUOTA_GIB = 102_400
DEFAULT_TIER = "TransactionOptimized"
_TIERS = {tier.lower(): tier for tier in (DEFAULT_TIER, "Hot", "Cool", "Premium")}
_TIER = "x-ms-access-tier"
_DELETE_SNAPSHOTS = "x-ms-delete-snapshots"
# What clients may ask of provisioned accounts: kept and given back. Header and element of a listing.
_NUMBERS = {
    "x-ms-share-provisioned-iops": "ProvisionedIops",
    "x-ms-share-provisioned-bandwidth-mibps": "ProvisionedBandwidthMiBps",
    "x-ms-share-paid-bursting-max-iops": "PaidBurstingMaxIops",
    "x-ms-share-paid-bursting-max-bandwidth-mibps": "PaidBurstingMaxBandwidthMibps",
}
_FLAGS = {
    "x-ms-share-paid-bursting-enabled": "PaidBurstingEnabled",
    "x-ms-enable-snapshot-virtual-directory-access": "EnableSnapshotVirtualDirectoryAccess",
    "x-ms-enable-smb-directory-lease": "EnableSmbDirectoryLease",
}


# The protocol is told, and so is what goes with it; a share is the same directory whatever it says.
_PROTOCOLS = "x-ms-enabled-protocols"
_ROOT_SQUASH = "x-ms-root-squash"
_WORDS = {
    _PROTOCOLS: {"smb": "SMB", "nfs": "NFS"},
    _ROOT_SQUASH: {word.lower(): word for word in ("NoRootSquash", "RootSquash", "AllSquash")},
}


def share_form(clock: Clock) -> ContainerForm:
    return ContainerForm(
        service=StorageService.FILE,
        noun="Share",
        settings=lambda exchange: share_settings(exchange.headers, clock),
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
            (share, "PUT", "share", "properties"): Call("SetShareProperties", self.set_properties, "c", "w"),
            (share, "GET", "share", "stats"): Call("GetShareStats", self.stats, "c", "r"),
            (share, "PUT", "share", "snapshot"): Call("SnapshotShare", self.snapshot, "c", "cw"),
            (share, "DELETE", "share", ""): Call("DeleteShare", self.delete, "c", "d"),
        }

    async def set_properties(self, exchange: Exchange) -> None:
        conditions, wanted = (
            conditions_of(exchange.headers),
            dict(share_settings(exchange.headers, self._storage.clock)),
        )
        options = wanted.pop("options", {})

        def change() -> Container:
            containers = self._storage.containers
            together = {**containers.get(exchange.ref).settings.options, **options}
            return containers.update(exchange.ref, conditions, options=together, **wanted)

        found = await exchange.run(change)
        quota = {"x-ms-share-quota": str(found.settings.quota_gib)}
        await exchange.reply(200, version_headers(found) | quota | dict(options_told(found.settings.options)))

    async def stats(self, exchange: Exchange) -> None:
        def read() -> tuple[Container, int]:
            found = self._storage.containers.get(exchange.ref, conditions_of(exchange.headers))
            return found, self._storage.usage.used_bytes(exchange.ref)

        found, used = await exchange.run(read)
        await exchange.reply_xml(wire.share_stats_document(used), version_headers(found))

    async def snapshot(self, exchange: Exchange) -> None:
        metadata = metadata_of(exchange.headers) or None
        taken = await exchange.run(self._storage.share_snapshots.create, exchange.ref, metadata)
        await exchange.reply(201, version_headers(taken) | {"x-ms-snapshot": taken.snapshot})

    async def delete(self, exchange: Exchange) -> None:
        conditions = conditions_of(exchange.headers)
        text = exchange.headers.get(_DELETE_SNAPSHOTS, "").lower()
        try:
            snapshots = WithSnapshots(text)
        except ValueError:
            raise invalid_header(_DELETE_SNAPSHOTS, text) from None
        if exchange.ref.snapshot:
            if text:
                raise invalid_header(_DELETE_SNAPSHOTS, text)
            await exchange.run(self._storage.share_snapshots.delete, exchange.ref, conditions)
        else:
            await exchange.run(self._storage.containers.delete, exchange.ref, conditions, snapshots)
        await exchange.reply(202)


def share_settings(headers: Mapping[str, str], clock: Clock) -> Mapping[str, Any]:
    """What headers set of a share beside metadata; StorageError (400) names one that cannot be."""
    settings: dict[str, Any] = {}
    quota = size_header(headers, "x-ms-share-quota")
    if quota is not None:
        if not 1 <= quota <= _MOST_QUOTA_GIB:
            raise invalid_header("x-ms-share-quota", str(quota))
        settings["quota_gib"] = quota
    if _TIER in headers:
        tier = _TIERS.get(headers[_TIER].lower())
        if tier is None:
            raise invalid_header(_TIER, headers[_TIER])
        settings |= {"access_tier": tier, "tier_changed_ns": int(clock.now().timestamp()) * 1_000_000_000}
    options = {name: str(size_header(headers, name)) for name in _NUMBERS if name in headers}
    options |= {name: str(flag(headers, name)).lower() for name in _FLAGS if name in headers}
    for name, words in _WORDS.items():
        if name in headers:
            options[name] = _word(name, headers[name], words)
    if options:
        settings["options"] = options
    return settings


def _word(name: str, text: str, words: Mapping[str, str]) -> str:
    word = words.get(text.lower())
    if word is None:
        raise invalid_header(name, text)
    return word


def options_told(options: Mapping[str, str]) -> Mapping[str, str]:
    """Root squash is taken for any share, but means something for those with NFS only."""
    if options.get(_PROTOCOLS) == "NFS":
        return options
    return {name: value for name, value in options.items() if name != _ROOT_SQUASH}


def _headers(found: Container, version: str) -> dict[str, str]:
    settings = found.settings
    changed = settings.tier_changed_ns
    return {
        "x-ms-share-quota": str(settings.quota_gib),
        _TIER: settings.access_tier or DEFAULT_TIER,
        **({"x-ms-access-tier-change-time": storage_xml.http_date_ns(changed)} if changed else {}),
        _PROTOCOLS: "SMB",
        **options_told(settings.options),
        **wire.lease_headers(found.lease, version),
    }


def _properties(found: Container) -> Mapping[str, str]:
    settings, options = found.settings, options_told(found.settings.options)
    changed = settings.tier_changed_ns
    return {
        "Last-Modified": storage_xml.http_date(found.last_modified),
        "Etag": found.etag,
        "Quota": str(settings.quota_gib),
        "AccessTier": settings.access_tier or DEFAULT_TIER,
        **({"AccessTierChangeTime": storage_xml.http_date_ns(changed)} if changed else {}),
        **storage_xml.lease_properties(found.lease),
        "EnabledProtocols": settings.options.get(_PROTOCOLS, "SMB"),
        **{element: options[name] for name, element in _ELEMENTS if name in options},
    }


_ELEMENTS = (*_NUMBERS.items(), *_FLAGS.items(), (_ROOT_SQUASH, "RootSquash"))
