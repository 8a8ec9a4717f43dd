"""What an access control list may hold."""

from collections.abc import Sequence

from openbatchai.dataplane import sas
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.domain.ports import StorageService

_ID_LENGTH = 64
_PERMISSIONS = {
    StorageService.BLOB: frozenset("racwdxyltfmeopi"),
    StorageService.FILE: frozenset("rcwdl"),
}


def check_policies(policies: Sequence[sas.StoredPolicy], service: StorageService) -> None:
    """400 for an entry without a name of its own, or with a time or permission that is none."""
    seen: set[str] = set()
    for policy in policies:
        if not policy.id or len(policy.id) > _ID_LENGTH or policy.id in seen:
            raise _invalid("Id", policy.id)
        seen.add(policy.id)
        for name, value in (("Start", policy.start), ("Expiry", policy.expiry)):
            if value and sas.parse_time(value) is None:
                raise _invalid(name, value)
        if not set(policy.permission) <= _PERMISSIONS[service]:
            raise _invalid("Permission", policy.permission)


def _invalid(name: str, value: str) -> StorageError:
    detail = {"XmlNodeName": name, "XmlNodeValue": value}
    return StorageError(StorageCode.INVALID_XML_VALUE, detail=detail)
