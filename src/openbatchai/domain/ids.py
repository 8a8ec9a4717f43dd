"""Names and ids of resources: how they are written, compared and checked.

Names are compared without regard to case and kept as the client wrote them (batchai-service.md section 5).
"""

import hashlib
import re
from dataclasses import dataclass

from .errors import Code, ServiceError, invalid_property
from .regions import REGIONS

PROVIDER = "Microsoft.BatchAI"
MIGRATED_EXPERIMENT = "migrated"
_MIGRATED_WORKSPACE_PREFIX = "migrated-"

# Section 2.3: 2018-05-01 forbids the dots that the older versions allow.
STRICT_NAME = re.compile(r"[-\w]{1,64}")
DOTTED_NAME = re.compile(r"[-\w.]{1,64}")
GROUP_NAME = re.compile(r"[-\w.()]{0,89}[-\w()]")


def fold(name: str) -> str:
    """The form by which names are matched."""
    return name.lower()


def check_name(kind: str, name: str, pattern: re.Pattern[str]) -> None:
    """Raise 400 InvalidResourceName unless the whole name matches."""
    if not pattern.fullmatch(name):
        allowed = "letters, digits, '-', '_'" + (" and '.'" if pattern.fullmatch("a.b") else "")
        raise ServiceError(
            400,
            Code.INVALID_RESOURCE_NAME,
            f"The {kind} name '{name}' is not valid: it must be 1 to 64 of {allowed}.",
            target=f"{kind}Name",
        )


def check_group_name(name: str) -> None:
    """Raise 400 InvalidResourceName unless it can be a resource group's: it becomes part of paths."""
    if not GROUP_NAME.fullmatch(name):
        raise ServiceError(
            400,
            Code.INVALID_RESOURCE_NAME,
            f"The resource group name '{name}' is not valid: it must be 1 to 90 of letters, digits, '-', "
            "'_', '.', '(' and ')', and not end with '.'.",
            target="resourceGroupName",
        )


def region(location: str) -> str:
    """The one name of a location: clients write `eastus` or `East US`."""
    return fold(location).replace(" ", "")


def check_location(location: object, resource_type: str = "") -> str:
    """The location as the client wrote it. Raises 400 unless it is one of Azure's regions; without
    `resource_type` it is a resource group's."""
    if not isinstance(location, str) or not location.strip():
        raise invalid_property("location", "The required property 'location' is missing.")
    if region(location) not in REGIONS:
        code = Code.LOCATION_OF_RESOURCE if resource_type else Code.LOCATION_OF_GROUP
        what = f"resource type '{resource_type}'" if resource_type else "resource group"
        raise ServiceError(
            400,
            code,
            f"The provided location '{location[:200]}' is not available for {what}. List of available "
            f"regions is '{','.join(REGIONS)}'.",
            target="location",
        )
    return location


def migrated_workspace(location: str) -> str:
    """Where resources of the two flat api-versions live, as the real service moved them."""
    return _MIGRATED_WORKSPACE_PREFIX + region(location)


def is_migrated_workspace(name: str) -> bool:
    return fold(name).startswith(_MIGRATED_WORKSPACE_PREFIX)


@dataclass(frozen=True)
class ChildRef:
    """A parsed id of a cluster or file server; `workspace` is empty in ids of the flat api-versions."""

    subscription: str
    group: str
    workspace: str
    name: str


_CHILD_ID = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.BatchAI"
    r"(?:/workspaces/([^/]+))?/(clusters|fileservers)/([^/]+)/?",
    re.IGNORECASE,
)


def parse_cluster_id(text: str) -> ChildRef | None:
    return _parse_child("clusters", text)


def parse_file_server_id(text: str) -> ChildRef | None:
    return _parse_child("fileservers", text)


def _parse_child(kind: str, text: str) -> ChildRef | None:
    match = _CHILD_ID.fullmatch(text)
    if match is None or fold(match[4]) != kind:
        return None
    subscription, group, workspace, _, name = match.groups()
    return ChildRef(subscription, group, workspace or "", name)


def group_id(subscription: str, group: str) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


def workspace_id(subscription: str, group: str, workspace: str) -> str:
    return f"{group_id(subscription, group)}/providers/{PROVIDER}/workspaces/{workspace}"


def cluster_id(subscription: str, group: str, workspace: str, cluster: str) -> str:
    return f"{workspace_id(subscription, group, workspace)}/clusters/{cluster}"


def file_server_id(subscription: str, group: str, workspace: str, name: str) -> str:
    """Written in lower case, as recorded."""
    return f"{workspace_id(subscription, group, workspace)}/fileservers/{name}"


def file_server_key(ref: ChildRef) -> str:
    """By this an engine knows a file server: the same for every spelling of its (2018-05-01) id."""
    return hashlib.sha256("$".join(map(fold, (ref.group, ref.workspace, ref.name))).encode()).hexdigest()[:32]


def flat_id(subscription: str, group: str, kind: str, name: str) -> str:
    """Id of a cluster or job as the flat api-versions write it."""
    return f"{group_id(subscription, group)}/providers/{PROVIDER}/{kind}/{name}"


def storage_account_id(subscription: str, group: str, name: str) -> str:
    return f"{group_id(subscription, group)}/providers/Microsoft.Storage/storageAccounts/{name}"
