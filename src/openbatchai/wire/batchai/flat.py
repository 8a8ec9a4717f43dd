"""What the two flat api-versions share as differences from 2018-05-01 (batchai-service.md section 3)."""

from typing import Any

from openbatchai.domain.errors import invalid_property
from openbatchai.domain.jobs import priority_name
from openbatchai.domain.model import OutputFile
from openbatchai.wire.arm import instant

Json = dict[str, Any]

NEWER_OF_JOB = ("containerSettings.shmSize", "horovodSettings", "customMpiSettings")

_DIRECTORY_TYPES = ("model", "logs", "summary", "custom")
_PRIORITY_RANGE = range(-1000, 1001)


def cluster_legacy(properties: Json) -> Json:
    """`runElevated` of the setup task."""
    node_setup = properties.get("nodeSetup")
    setup = node_setup.get("setupTask") if isinstance(node_setup, dict) else None
    return {"runElevated": bool(setup.pop("runElevated", False))} if isinstance(setup, dict) else {}


def cluster_shown(properties: Json, legacy: Json) -> None:
    if setup := (properties.get("nodeSetup") or {}).get("setupTask"):
        setup["runElevated"] = legacy.get("runElevated", False)


def job_legacy(properties: Json) -> Json:
    """Integer `priority`, free-text `experimentName`; `type` and `createNew` per output directory."""
    legacy: Json = {"priority": _take_priority(properties)}
    properties["schedulingPriority"] = priority_name(legacy["priority"])
    if experiment := properties.pop("experimentName", None):
        legacy["experimentName"] = str(experiment)
    directories = properties.get("outputDirectories")
    if isinstance(directories, list):
        legacy["outputDirectories"] = {
            d["id"]: _take_directory(d, i)
            for i, d in enumerate(directories)
            if isinstance(d, dict) and isinstance(d.get("id"), str)
        }
    return legacy


def _take_priority(properties: Json) -> int:
    priority = properties.pop("priority", None)
    priority = 0 if priority is None else priority
    if isinstance(priority, bool) or not isinstance(priority, int) or priority not in _PRIORITY_RANGE:
        raise invalid_property("properties.priority", "The priority must be an integer from -1000 to 1000.")
    return priority


def _take_directory(directory: Json, position: int) -> Json:
    where = f"properties.outputDirectories.{position}"
    kind = directory.pop("type", None) or "custom"
    if not isinstance(kind, str) or kind.lower() not in _DIRECTORY_TYPES:
        raise invalid_property(f"{where}.type", f"The value '{kind}' is not allowed.", *_DIRECTORY_TYPES)
    create = directory.pop("createNew", None)
    if create is not None and not isinstance(create, bool):
        raise invalid_property(f"{where}.createNew", "The value must be true or false.")
    return {"type": kind.lower(), "createNew": create is not False}


def job_shown(properties: Json, legacy: Json) -> None:
    properties.pop("schedulingPriority", None)
    properties.pop("experimentName", None)
    properties["priority"] = legacy["priority"]
    if "experimentName" in legacy:
        properties["experimentName"] = legacy["experimentName"]
    kept = legacy.get("outputDirectories") or {}
    for directory in properties.get("outputDirectories") or ():
        directory |= kept.get(directory["id"], {"type": "custom", "createNew": True})


def file_server_shown(properties: Json) -> None:
    if mount := properties.get("mountSettings"):
        mount["fileServerType"] = "nfs"


def file_properties(file: OutputFile) -> Json:
    modified = instant(file.last_modified.replace(microsecond=0))
    return {
        "name": file.name,
        "downloadUrl": file.url,
        "properties": {"lastModified": modified, "contentLength": file.size},
    }
