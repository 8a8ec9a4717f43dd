"""What the provider says of itself: its operations, usages, login information (sections 15 and 16)."""

from collections.abc import Iterable
from typing import Any

from openbatchai.domain.model import LoginInformation
from openbatchai.domain.quotas import ACTIVE_JOBS, Usage

Json = dict[str, Any]

_PROVIDER = "Microsoft.BatchAI"
_KINDS = (
    ("workspaces", "Workspaces", "workspace"),
    ("workspaces/experiments", "Experiments", "experiment"),
    ("workspaces/clusters", "Clusters", "cluster"),
    ("workspaces/experiments/jobs", "Jobs", "job"),
    ("workspaces/fileservers", "Fileservers", "file server"),
)
_ACTIONS = (
    (
        "workspaces/clusters/remoteLoginInformation/action",
        "Clusters",
        "List how to log in to the nodes of a cluster",
    ),
    ("workspaces/experiments/jobs/terminate/action", "Jobs", "Terminate a job"),
    (
        "workspaces/experiments/jobs/remoteLoginInformation/action",
        "Jobs",
        "List how to log in to the nodes of a job",
    ),
    ("workspaces/experiments/jobs/listoutputfiles/action", "Jobs", "List the output files of a job"),
    ("locations/usages/read", "Usages", "List what a region holds against its quotas"),
    ("register/action", "Resource Provider", "Register the provider with the subscription"),
    ("unregister/action", "Resource Provider", "Unregister the provider from the subscription"),
    ("locations/operationresults/read", "Operation Results", "Get the result of an operation"),
    ("locations/operationstatuses/read", "Operation Statuses", "Get the status of an operation"),
)


def operations() -> list[Json]:
    """The names are those of the published example."""
    found = []
    for path, resource, noun in _KINDS:
        found += [
            _operation(f"{path}/read", resource, f"List or get {noun}s"),
            _operation(f"{path}/write", resource, f"Create or update a {noun}"),
            _operation(f"{path}/delete", resource, f"Delete a {noun}"),
        ]
        if path in ("workspaces/clusters", "workspaces/fileservers"):
            flat = path.removeprefix("workspaces/")
            found.append(_operation(f"{flat}/read", resource, f"List or get {noun}s"))
    return found + [_operation(*action) for action in _ACTIONS]


def _operation(path: str, resource: str, text: str) -> Json:
    return {
        "name": f"{_PROVIDER}/{path}",
        "display": {
            "provider": "Microsoft Batch AI",
            "resource": f"Batch AI {resource}",
            "operation": text,
            "description": f"{text}.",
        },
        "origin": "user,system",
    }


def usages(found: Iterable[Usage], version: str) -> list[Json]:
    """2018-03-01 alone counted active jobs."""
    return [
        {
            "unit": "Count",
            "currentValue": usage.current,
            "limit": usage.limit,
            "name": {"value": usage.name, "localizedValue": usage.localized_name},
        }
        for usage in found
        if usage.name != ACTIVE_JOBS or version == "2018-03-01"
    ]


def login(found: LoginInformation) -> Json:
    return {"nodeId": found.node_id, "ipAddress": found.address, "port": found.port}
