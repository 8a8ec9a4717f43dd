"""Storage accounts: their records and keys. Their content belongs to the data plane."""

import base64
import re
import secrets as random_secrets
import threading

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.model import StorageAccount
from openbatchai.store.unit import Store, Unit

from .context import Context, group, record, writable_group
from .deletion import DELETE_ACCOUNT
from .transitions import queue_effect

_NAME = re.compile(r"[a-z0-9]{3,24}")


class StoredKeys:
    """The data plane's key ring. It answers from memory; whoever changes keys calls `forget`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[str, ...]] = {}
        self._generation = 0
        self._lock = threading.Lock()

    def keys(self, account: str) -> tuple[str, ...] | None:
        if (known := self._known.get(account)) is not None:
            return known
        generation = self._generation
        with self._store.read() as unit:
            found = unit.accounts.get(key=account)
        if found is None:
            return None
        keys = (found.secrets["key1"], found.secrets["key2"])
        with self._lock:
            # What was forgotten while it was read may be old already.
            if generation == self._generation:
                self._known[account] = keys
        return keys

    def forget(self, account: str) -> None:
        with self._lock:
            self._generation += 1
            self._known.pop(account, None)


def new_key() -> str:
    """64 random bytes in base64, as Azure's account keys."""
    return base64.b64encode(random_secrets.token_bytes(64)).decode()


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


def put(
    context: Context,
    group_name: str,
    name: str,
    location: str,
    kind: str,
    sku: str,
    tags: dict[str, str],
    actor: str,
) -> StorageAccount:
    """Create; an existing account of the same group is returned with its new tags."""
    now = context.clock.now()
    problem = name_problem(context, name)
    if problem is not None and problem[0] is Code.ACCOUNT_NAME_INVALID:
        raise ServiceError(400, *problem, target="accountName")

    def work(unit: Unit) -> StorageAccount:
        owner = writable_group(unit, group_name)
        existing = unit.accounts.get(key=name)
        if existing is None and not _is_vanishing(unit, name):
            keys = {"key1": new_key(), "key2": new_key()}
            created = StorageAccount(
                name, name, owner.key, owner.name, location, kind, sku, tags, now, secrets=keys
            )
            record(unit, now, "storageAccount", name, "", "succeeded", "create", actor=actor)
            return unit.accounts.add(created)
        if existing is None or existing.group_key != owner.key:
            raise ServiceError(
                409,
                Code.STORAGE_ACCOUNT_ALREADY_TAKEN,
                f"The storage account named {name} is already taken.",
            )
        existing.tags = tags
        unit.accounts.save(existing)
        return existing

    account = context.store.write(work)
    context.storage.create_account(account.key)
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


def regenerate_key(context: Context, group_name: str, name: str, key_name: str) -> StorageAccount:
    """Replace key1 or key2; the old value is refused from the next request on."""
    get(context, group_name, name)
    if key_name not in ("key1", "key2"):
        raise ServiceError(
            400, Code.INVALID_PROPERTY_VALUE, f"'{key_name}' is no key name.", target="keyName"
        )

    def work(unit: Unit) -> StorageAccount:
        found = _find(unit, group_name, name)
        found.secrets[key_name] = new_key()
        unit.accounts.save(found)
        return found

    account = context.store.write(work)
    context.forget_keys(account.key)
    return account


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
