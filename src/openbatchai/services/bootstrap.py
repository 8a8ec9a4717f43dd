"""What the first start creates: tenant, subscription, service principal, storage account."""

import uuid
from dataclasses import dataclass
from typing import Any

from openbatchai.domain import model
from openbatchai.domain.ports import Clock
from openbatchai.store.unit import Store, Unit

from .accounts import new_generation, new_key
from .identity import Principal, hash_secret, new_secret, verify_secret


@dataclass(frozen=True)
class Credentials:
    """What clients need; kept in credentials.json of the home, readable by its owner only."""

    tenant: str
    subscription_id: str
    client_id: str
    client_secret: str
    storage_account: str
    storage_key: str
    location: str


class StoredPrincipals:
    """Service principals as the token authority looks them up."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    def find(self, client_id: str) -> Principal | None:
        with self._store.read() as unit:
            found = unit.principals.get(client_id=client_id.lower())
        if found is None:
            return None
        return Principal(found.client_id, found.object_id, self._tenant, found.secret_hash)


def ensure(
    store: Store, clock: Clock, kept: dict[str, Any] | None, account: str, group: str, location: str
) -> Credentials:
    """The credentials of this installation, created where something is missing.

    `kept` is the content of the credentials file. When that file is lost the principal gets a new secret,
    because only the hash of the old one is known.
    """
    secret = str(kept["client_secret"]) if kept else new_secret()

    def work(unit: Unit) -> Credentials:
        tenant = _setting(unit, "tenant", kept)
        subscription = _setting(unit, "subscription_id", kept)
        client = _setting(unit, "client_id", kept)
        _ensure_principal(unit, client, secret)
        found = unit.accounts.get(key=account)
        if found is None:
            found = _add_account(unit, clock, account, group, location)
        return Credentials(tenant, subscription, client, secret, account, found.secrets["key1"], location)

    return store.write(work)


def _setting(unit: Unit, name: str, kept: dict[str, Any] | None) -> str:
    value = unit.setting(name)
    if value is None:
        value = str(kept[name]) if kept else str(uuid.uuid4())
        unit.put_setting(name, value)
    return value


def _ensure_principal(unit: Unit, client: str, secret: str) -> None:
    found = unit.principals.get(client_id=client)
    if found is None:
        unit.principals.add(model.Principal(client, str(uuid.uuid4()), hash_secret(secret)))
    elif not verify_secret(secret, found.secret_hash):
        found.secret_hash = hash_secret(secret)
        unit.principals.save(found)


def _add_account(unit: Unit, clock: Clock, account: str, group: str, location: str) -> model.StorageAccount:
    now = clock.now()
    if unit.groups.get(key=group) is None:
        unit.groups.add(model.ResourceGroup(group, group, location, {}, False, now))
    keys = {"key1": new_key(), "key2": new_key()}
    created = model.StorageAccount(
        account,
        account,
        group,
        group,
        location,
        "StorageV2",
        "Standard_LRS",
        {},
        now,
        secrets=keys,
        properties=new_generation(),
    )
    return unit.accounts.add(created)
