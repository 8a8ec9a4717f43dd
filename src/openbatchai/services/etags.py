"""The current ETag of a resource of Batch AI, whichever it is."""

from collections.abc import Mapping

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.store.unit import Unit

from . import clusters, file_servers, jobs, workspaces
from .context import workspace


def current(unit: Unit, kind: str, names: Mapping[str, str]) -> str | None:
    """`kind` is the last type of a resource's path in lower case, `names` are those of the path; None when
    there is no such resource."""
    try:
        return _current(unit, kind, names)
    except ServiceError:
        return None


def _current(unit: Unit, kind: str, names: Mapping[str, str]) -> str:
    group, parent = names["group"], names.get("workspace")
    if kind == "workspaces":
        return workspace(unit, group, names["workspace"]).etag
    if kind == "experiments":
        return workspaces.experiment(unit, group, names["workspace"], names["experiment"])[1].etag
    if kind == "clusters":
        return clusters.find(unit, group, parent, names["name"], _missing)[1].etag
    if kind == "jobs":
        place = (names["workspace"], names["experiment"]) if "experiment" in names else None
        return jobs.find(unit, group, place, names["name"], _missing)[2].etag
    return file_servers.find(unit, group, parent, names["name"], _missing)[1].etag


def _missing(kind: str, group: str, name: str) -> ServiceError:
    return ServiceError(404, Code.RESOURCE_NOT_FOUND, name)
