"""What a client sets for a whole service of an account, read as values (storage.md 5.1, 7.1)."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from openbatchai.dataplane.cors import CorsRule
from openbatchai.dataplane.places import Places
from openbatchai.domain.ports import StorageService

# Elements that are no part of the services' own documents: only ARM sets them.
CONTAINER_RETENTION = ("ContainerDeleteRetentionPolicy", "ShareDeleteRetentionPolicy")


@dataclass(frozen=True)
class DeleteRetention:
    """How long deleted blobs are kept (`days` of what is off is 0)."""

    enabled: bool = False
    days: int = 0
    allow_permanent_delete: bool = False

    @property
    def period(self) -> timedelta:
        return timedelta(days=self.days)


@dataclass(frozen=True)
class ServiceSettings:
    """`properties` holds each top element of the document that was ever set, as wire/service_properties
    reads it."""

    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cors_rules(self) -> tuple[CorsRule, ...]:
        return tuple(
            CorsRule(
                origins=_names(rule["AllowedOrigins"]),
                methods=_names(rule["AllowedMethods"]),
                allowed_headers=_names(rule["AllowedHeaders"].lower()),
                exposed_headers=_names(rule["ExposedHeaders"]),
                max_age_s=int(rule["MaxAgeInSeconds"]),
            )
            for rule in self.properties.get("Cors", ())
        )

    @property
    def default_version(self) -> str:
        """The version of requests that name none; "" when none was set."""
        return str(self.properties.get("DefaultServiceVersion", ""))

    @property
    def container_retention_days(self) -> int:
        """For how many days deleted containers or shares can come back; 0 for not at all."""
        policies = (self.properties.get(name, {}) for name in CONTAINER_RETENTION)
        return max((int(policy["Days"]) for policy in policies if policy.get("Enabled") == "true"), default=0)

    @property
    def delete_retention(self) -> DeleteRetention:
        policy = self.properties.get("DeleteRetentionPolicy", {})
        if policy.get("Enabled") != "true":
            return DeleteRetention()
        permanent = policy.get("AllowPermanentDelete") == "true"
        return DeleteRetention(True, int(policy["Days"]), permanent)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


class Settings:
    """The settings of all services. Each is read once and kept: only this process changes them."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._known: dict[tuple[str, StorageService], ServiceSettings] = {}
        self._lock = threading.Lock()

    def known(self, account: str, service: StorageService) -> ServiceSettings | None:
        """What is in memory; None when the side store has to be asked."""
        return self._known.get((account, service))

    def get(self, account: str, service: StorageService) -> ServiceSettings:
        found = self.known(account, service)
        if found is not None:
            return found
        with self._lock:
            return self._load(account, service)

    def change(self, account: str, service: StorageService, properties: Mapping[str, Any]) -> None:
        """Set the given elements; the others stay as they are."""
        with self._lock:
            merged = {**self._load(account, service).properties, **properties}
            self._places.store(account).put_service_properties(service, json.dumps(merged))
            self._known[account, service] = ServiceSettings(merged)

    def forget(self, account: str) -> None:
        with self._lock:
            for service in StorageService:
                self._known.pop((account, service), None)

    def _load(self, account: str, service: StorageService) -> ServiceSettings:
        document = self._places.store(account).service_properties(service)
        # A home of before 0.2 holds the XML that came: nothing in it had an effect then.
        known = document is not None and document.startswith("{")
        settings = ServiceSettings(json.loads(document) if document is not None and known else {})
        self._known[account, service] = settings
        return settings
