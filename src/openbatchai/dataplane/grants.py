"""What the credentials of a request allow (storage.md section 8)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from openbatchai.dataplane.errors import StorageCode, StorageError

# Besides reading and deleting, a token for one snapshot or version may only call these on it.
_OF_A_SNAPSHOT = frozenset({"tier", "tags", "undelete"})


class Means(StrEnum):
    """How a request showed what it may do; also its name in the access log."""

    SHARED_KEY = "sharedKey"
    BEARER = "bearer"
    ACCOUNT_SAS = "accountSas"
    SERVICE_SAS = "serviceSas"
    DELEGATION_SAS = "userDelegationSas"
    ANONYMOUS = "anonymous"
    NOTHING = "none"


@dataclass(frozen=True)
class Grant:
    """What the credentials allow. `permissions=None` is the owner of the account.

    `scopes` are the resource types of an account SAS: s(ervice), c(ontainer), o(bject); a token for a
    container has l(ist) and o. `overrides` are response headers that a service SAS sets on GET. `principal`
    is the object id behind a bearer token. `pinned` tells that the token is for one snapshot or version.
    `refusal` is raised in place of the codes for tokens.
    """

    permissions: frozenset[str] | None = None
    scopes: frozenset[str] = frozenset("sco")
    means: Means = Means.SHARED_KEY
    overrides: Mapping[str, str] = field(default_factory=dict)
    principal: str = ""
    pinned: bool = False
    refusal: StorageError | None = None

    @property
    def is_sas(self) -> bool:
        return self.means in (Means.ACCOUNT_SAS, Means.SERVICE_SAS, Means.DELEGATION_SAS)

    @property
    def is_owner(self) -> bool:
        return self.permissions is None

    def demand(self, scope: str, any_of: str) -> None:
        """403 unless one of the permissions is given for one of the resource types in `scope`; no
        permission at all (`any_of=""`) leaves it to owners."""
        if self.permissions is None:
            return
        in_scope = bool(self.scopes.intersection(scope))
        if in_scope and self.permissions.intersection(any_of):
            return
        if self.refusal is not None:
            raise self.refusal
        if not any_of or (not in_scope and self.means is not Means.ACCOUNT_SAS):
            raise StorageError(StorageCode.AUTHORIZATION_FAILURE)
        if not in_scope:
            raise StorageError(StorageCode.RESOURCE_TYPE_MISMATCH)
        raise StorageError(StorageCode.PERMISSION_MISMATCH)

    def check_pinned(self, method: str, comp: str) -> None:
        """403 when a token for a snapshot would change what the snapshot was taken of."""
        if self.pinned and method not in ("GET", "HEAD", "DELETE") and comp not in _OF_A_SNAPSHOT:
            raise StorageError(StorageCode.AUTHORIZATION_FAILURE)
