"""Storage accounts: their records and keys. Their content belongs to the data plane."""

import base64
import re
import secrets as random_secrets
import threading
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from openbatchai.domain import ids, storage_accounts
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import ResourceGroup, StorageAccount
from openbatchai.domain.ports import AccountRules
from openbatchai.domain.quotas import Usage
from openbatchai.domain.storage_accounts import DELEGATION_GENERATION, KEYS_CREATED, AccountRequest
from openbatchai.store.unit import Store, Unit

from .context import Context, group, record, writable_group
from .deletion import DELETE_ACCOUNT
from .transitions import queue_effect

KEY_NAMES = ("key1", "key2")
_NAME = re.compile(r"[a-z0-9]{3,24}")


class StoredKeys:
    """The data plane's key ring, and what accounts say of access to them. It answers from memory; whoever
    changes either calls `forget`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[tuple[str, ...], AccountRules]] = {}
        self._generation = 0
        self._lock = threading.Lock()

    def keys(self, account: str) -> tuple[str, ...] | None:
        found = self._find(account)
        return None if found is None else found[0]

    def rules(self, account: str) -> AccountRules:
        found = self._find(account)
        return AccountRules() if found is None else found[1]

    def _find(self, account: str) -> tuple[tuple[str, ...], AccountRules] | None:
        if (known := self._known.get(account)) is not None:
            return known
        generation = self._generation
        with self._store.read() as unit:
            found = unit.accounts.get(key=account)
        if found is None:
            return None
        facts = (found.secrets["key1"], found.secrets["key2"]), storage_accounts.rules_of(found)
        with self._lock:
            # What was forgotten while it was read may be old already.
            if generation == self._generation:
                self._known[account] = facts
        return facts

    def forget(self, account: str) -> None:
        with self._lock:
            self._generation += 1
            self._known.pop(account, None)


def new_key() -> str:
    """64 random bytes in base64, as Azure's account keys."""
    return base64.b64encode(random_secrets.token_bytes(64)).decode()


def new_generation() -> dict[str, str]:
    """Of user delegation keys: what an account of this name gave out before opens nothing any more."""
    return {DELEGATION_GENERATION: str(uuid.uuid4())}


def name_problem(context: Context, name: str) -> tuple[Code, str] | None:
    """Why a new account may not have this name; None when it may."""
    if not _NAME.fullmatch(name):
        return (
            Code.ACCOUNT_NAME_INVALID,
            f"{name} is not a valid storage account name. Storage account name must be between 3 and 24 "
            "characters in length and use numbers and lower-case letters only.",
        )
    with context.store.read() as unit:
        if unit.accounts.get(key=name) is not None or _is_vanishing(unit, name):
            return Code.STORAGE_ACCOUNT_ALREADY_TAKEN, f"The storage account named {name} is already taken."
    return None


def _is_vanishing(unit: Unit, name: str) -> bool:
    """Whether content of a deleted account of this name is still to be removed: not that of a new one."""
    return unit.outbox.count(kind=DELETE_ACCOUNT, object_id=name) > 0


def put(context: Context, group_name: str, name: str, wanted: AccountRequest, actor: str) -> StorageAccount:
    """Create, or change an existing account of the same group to what is asked for.

    Raises 400 for what accounts cannot be, 409 for a name that is taken, another location, a hit quota.
    """
    now = context.clock.now()
    problem = name_problem(context, name)
    if problem is not None and problem[0] is Code.ACCOUNT_NAME_INVALID:
        raise ServiceError(400, *problem, target="accountName")
    location = wanted.location or ""

    def work(unit: Unit) -> StorageAccount:
        owner = writable_group(unit, group_name)
        existing = unit.accounts.get(key=name)
        if existing is None:
            _check_room(context, unit, name, location)
            record(unit, now, "storageAccount", name, "", "succeeded", "create", actor=actor)
            return unit.accounts.add(_new(owner, name, wanted, now))
        if existing.group_key != owner.key:
            raise ServiceError(
                409,
                Code.STORAGE_ACCOUNT_ELSEWHERE,
                f"The account {name} is already in another resource group in this subscription.",
            )
        if ids.region(existing.location) != ids.region(location):
            raise ServiceError(
                409,
                Code.INVALID_RESOURCE_LOCATION,
                f"The resource '{name}' already exists in location '{existing.location}' in resource group "
                f"'{owner.name}'. A resource with the same name cannot be created in location '{location}'. "
                "Please select a new resource name.",
            )
        storage_accounts.apply(existing, wanted)
        existing.tags = wanted.tags or {}
        unit.accounts.save(existing)
        record(unit, now, "storageAccount", name, "succeeded", "succeeded", "update", actor=actor)
        return existing

    account = context.store.write(work)
    context.forget_keys(account.key)
    context.storage.create_account(account.key)
    return account


def patch(context: Context, group_name: str, name: str, wanted: AccountRequest, actor: str) -> StorageAccount:
    """Change what is asked for, and nothing else."""
    return _change(context, group_name, name, actor, lambda found: storage_accounts.apply(found, wanted))


def _change(
    context: Context, group_name: str, name: str, actor: str, change: Callable[[StorageAccount], None]
) -> StorageAccount:
    now = context.clock.now()

    def work(unit: Unit) -> StorageAccount:
        writable_group(unit, group_name)
        found = _find(unit, group_name, name)
        change(found)
        unit.accounts.save(found)
        record(unit, now, "storageAccount", found.key, "succeeded", "succeeded", "update", actor=actor)
        return found

    account = context.store.write(work)
    context.forget_keys(account.key)
    return account


def get(context: Context, group_name: str, name: str) -> StorageAccount:
    """Raises 404 ResourceNotFound."""
    with context.store.read() as unit:
        return _find(unit, group_name, name)


def facts(context: Context, name: str) -> StorageAccount | None:
    """The account of this name, whichever group it is in."""
    with context.store.read() as unit:
        return unit.accounts.get(key=ids.fold(name))


def _find(unit: Unit, group_name: str, name: str) -> StorageAccount:
    group(unit, group_name)
    found = unit.accounts.get(key=ids.fold(name), group_key=ids.fold(group_name))
    if found is None:
        raise ServiceError(
            404,
            Code.RESOURCE_NOT_FOUND,
            f"The Resource 'Microsoft.Storage/storageAccounts/{name}' under resource group '{group_name}' "
            "was not found.",
        )
    return found


def listing(context: Context, group_name: str | None = None) -> list[StorageAccount]:
    with context.store.read() as unit:
        where = {} if group_name is None else {"group_key": group(unit, group_name).key}
        return unit.accounts.list(order=unit.accounts.table.c.key, **where)


def regenerate_key(
    context: Context, group_name: str, name: str, key_name: str, actor: str = "service"
) -> StorageAccount:
    """Replace key1 or key2; the old value is refused from the next request on."""
    get(context, group_name, name)
    if key_name not in KEY_NAMES:
        raise storage_accounts.refused("keyName", *KEY_NAMES)
    now = context.clock.now()

    def renew(found: StorageAccount) -> None:
        found.secrets[key_name] = new_key()
        found.properties = {
            **found.properties,
            KEYS_CREATED: {**found.properties.get(KEYS_CREATED, {}), key_name: now.isoformat()},
        }

    return _change(context, group_name, name, actor, renew)


def revoke_delegation_keys(context: Context, group_name: str, name: str, actor: str) -> None:
    """All user delegation keys of the account that were given out so far, and what they signed, are void."""

    def revoke(found: StorageAccount) -> None:
        found.properties = {**found.properties, **new_generation()}

    _change(context, group_name, name, actor, revoke)


def key_created(account: StorageAccount, key_name: str) -> datetime:
    """When the key got its present value."""
    renewed = account.properties.get(KEYS_CREATED, {}).get(key_name)
    return datetime.fromisoformat(renewed) if renewed else account.created


def usage(context: Context, location: str | None = None) -> Usage:
    """How many accounts there are, in one region or in all. Raises 400 for what is no location."""
    region = None if location is None else ids.region(ids.check_location(location))
    with context.store.read() as unit:
        count = _count(unit, region)
    return Usage(storage_accounts.USAGE, count, storage_accounts.limit(context.quotas))


def _count(unit: Unit, region: str | None) -> int:
    # By the few spellings that there are: each account that is made is counted against all others.
    spelled = unit.accounts.table.c.location
    counts = unit.connection.execute(select(spelled, func.count()).group_by(spelled)).all()
    return sum(count for location, count in counts if region is None or ids.region(location) == region)


def _check_room(context: Context, unit: Unit, name: str, location: str) -> None:
    if _is_vanishing(unit, name):
        raise ServiceError(
            409, Code.STORAGE_ACCOUNT_ALREADY_TAKEN, f"The storage account named {name} is already taken."
        )
    most = storage_accounts.limit(context.quotas)
    if _count(unit, ids.region(location)) >= most:
        raise ServiceError(
            409,
            Code.STORAGE_ACCOUNTS_EXCEEDED,
            f"Subscription already contains {most} storage accounts in location {location} and the maximum "
            f"allowed is {most}.",
        )


def _new(owner: ResourceGroup, name: str, wanted: AccountRequest, now: datetime) -> StorageAccount:
    kind, sku = wanted.kind or storage_accounts.DEFAULT_KIND, wanted.sku or ""
    storage_accounts.check_sku(kind, sku)
    properties: dict[str, Any] = storage_accounts.merged(new_generation(), wanted.properties)
    return StorageAccount(
        name,
        name,
        owner.key,
        owner.name,
        wanted.location or "",
        kind,
        sku,
        wanted.tags or {},
        now,
        secrets={key: new_key() for key in KEY_NAMES},
        properties=properties,
    )


def delete(context: Context, group_name: str, name: str, actor: str) -> bool:
    """Delete the account, at once, and all its content, soon; False when there was none."""
    now = context.clock.now()

    def work(unit: Unit) -> bool:
        found = unit.accounts.get(key=ids.fold(name), group_key=ids.fold(group_name))
        if found is None:
            return False
        unit.accounts.remove(key=found.key)
        queue_effect(unit, DELETE_ACCOUNT, found.key)
        record(unit, now, "storageAccount", found.key, "succeeded", "", "delete", actor=actor)
        return True

    deleted = context.store.write(work)
    if deleted:
        context.forget_keys(ids.fold(name))
    return deleted
