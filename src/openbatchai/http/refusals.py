"""Paths that lead to no operation of ours, and what ARM says to them."""

import re

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.services import registrations

# Templates and moves: parts of ARM itself that are not offered.
_NOT_SUPPORTED = re.compile(
    r"(?:/subscriptions/[^/]+)?(?:/resourceGroups/[^/]+)?"
    r"(?:/providers/Microsoft\.Resources/(?P<type>deployment\w*)(?:/.*)?|/(?P<action>exportTemplate|moveResources"
    r"|validateMoveResources))",
    re.IGNORECASE,
)
_NAMESPACE = re.compile(r".*?/providers/(?P<namespace>[^/]+)(?P<rest>/.*)?", re.IGNORECASE)


def not_served(path: str, version: str) -> ServiceError:
    if match := _NOT_SUPPORTED.fullmatch(path):
        what = match["type"] or match["action"]
        return ServiceError(
            400,
            Code.OPERATION_NOT_SUPPORTED,
            f"The operation '{what}' is not supported: this service deploys no templates and moves no "
            "resources.",
        )
    match = _NAMESPACE.fullmatch(path)
    if match is None:
        return ServiceError(
            404, Code.INVALID_RESOURCE_TYPE, f"The resource type of '{path}' could not be found."
        )
    namespace = registrations.known(match["namespace"])
    if namespace is None:
        return ServiceError(
            404, Code.INVALID_RESOURCE_NAMESPACE, f"The resource namespace '{match['namespace']}' is invalid."
        )
    kind = "/".join((match["rest"] or "").strip("/").split("/")[::2])
    return ServiceError(
        404,
        Code.INVALID_RESOURCE_TYPE,
        f"The resource type '{kind}' could not be found in the namespace '{namespace}' for api version "
        f"'{version}'.",
    )
