"""One api-version as a table of differences from the canonical model, and the functions that apply it.

The defaults of `Version` are 2018-05-01 itself. `dropped` paths are those the version does not know: they are
left out of answers and ignored in requests. What only the version has travels in the `legacy` map, so that
old -> canonical -> old loses nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openbatchai.domain import ids
from openbatchai.domain.clusters import count_states
from openbatchai.domain.errors import Code, ServiceError, invalid_property
from openbatchai.domain.jobs import PRIORITIES
from openbatchai.domain.model import (
    ClusterResource,
    Experiment,
    FileServerResource,
    JobResource,
    OutputFile,
    Submission,
    Workspace,
)
from openbatchai.domain.outputs import STANDARD_LAYOUT
from openbatchai.domain.toolkits import TOOL_TYPES, settings_of
from openbatchai.wire.arm import instant, without_none

from .properties import ClusterProperties, ClusterUpdateProperties, FileServerProperties, JobProperties
from .validation import split_secrets, to_canonical, validate

# The version whose properties are stored as they are.
CANONICAL = "2018-05-01"
Json = dict[str, Any]
Convert = Callable[[Json], Json]


def _nothing(properties: Json) -> Json:
    return {}


def _file_entry(file: OutputFile) -> Json | None:
    entry: Json = {"name": file.name, "fileType": "directory" if file.is_directory else "file"}
    return entry if file.is_directory else entry | _file_properties(file)


def _file_properties(file: OutputFile) -> Json:
    return {
        "downloadUrl": file.url,
        "properties": {
            "lastModified": instant(file.last_modified.replace(microsecond=0)),
            "contentLength": file.size,
        },
    }


@dataclass(frozen=True)
class Version:
    """`*_legacy` take what only this version has out of request properties; `*_shown` turn canonical
    properties plus legacy into this version's, in place. Both get plain JSON."""

    name: str
    flat: bool = False
    has_usages: bool = True
    layout: str = STANDARD_LAYOUT
    types: Mapping[str, str] = field(
        default_factory=lambda: {
            "cluster": "Microsoft.BatchAI/workspaces/clusters",
            "job": "Microsoft.BatchAI/workspaces/experiments/jobs",
            "fileServer": "Microsoft.BatchAI/workspaces/fileservers",
        }
    )
    dropped_of_cluster: tuple[str, ...] = ()
    dropped_of_job: tuple[str, ...] = ()
    cluster_legacy: Convert = _nothing
    job_legacy: Convert = _nothing
    cluster_shown: Callable[[Json, Json], None] = lambda properties, legacy: None
    job_shown: Callable[[Json, Json], None] = lambda properties, legacy: None
    file_server_shown: Callable[[Json], None] = lambda properties: None
    enum_word: Callable[[str], str] = str
    fault_codes: Mapping[str, str] = field(default_factory=dict)
    file_entry: Callable[[OutputFile], Json | None] = _file_entry

    # --- requests --------------------------------------------------------------------------------

    def cluster_request(self, body: Any) -> Submission:
        """Raises InvalidPropertyValue naming the property."""
        body, properties = _properties(body)
        location, tags = self._place(body, "cluster")
        legacy = self.cluster_legacy(properties)
        for path in self.dropped_of_cluster:
            _drop(properties, path)
        spec = to_canonical(validate(ClusterProperties, properties, "properties"))
        spec, secrets = split_secrets(spec)
        return Submission(spec, legacy, location, tags, secrets)

    def file_server_request(self, body: Any) -> Submission:
        """Raises InvalidPropertyValue naming the property."""
        body, properties = _properties(body)
        location, tags = self._place(body, "fileServer")
        spec = to_canonical(validate(FileServerProperties, properties, "properties"))
        spec, secrets = split_secrets(spec)
        return Submission(spec, {}, location, tags, secrets)

    def cluster_update(self, body: Any) -> tuple[Json | None, Json | None]:
        """New `scaleSettings` and tags of a PATCH; None for what it does not mention."""
        body, properties = _properties(body)
        update = to_canonical(validate(ClusterUpdateProperties, properties, "properties"))
        tags = _tags(body) if self.flat and body.get("tags") is not None else None
        return update.get("scaleSettings"), tags

    def job_request(self, body: Any) -> Submission:
        """Raises InvalidPropertyValue naming the property."""
        body, properties = _properties(body)
        location, tags = self._place(body, "job")
        legacy = self.job_legacy(properties)
        for path in self.dropped_of_job:
            _drop(properties, path)
        spec = to_canonical(validate(JobProperties, properties, "properties"))
        spec, secrets = split_secrets(spec)
        for kind in ("inputDirectories", "outputDirectories"):
            names = [directory["id"] for directory in spec.get(kind) or ()]
            if len(set(names)) != len(names):
                raise invalid_property(f"properties.{kind}", "Two directories have the same id.")
        return Submission(spec, legacy, location, tags, secrets)

    def priority(self, submission: Submission) -> int:
        """Scheduling reads an integer: the older versions' own, or one of three steps."""
        return int(submission.legacy.get("priority", PRIORITIES[submission.spec["schedulingPriority"]]))

    def _place(self, body: Json, kind: str) -> tuple[str, Json]:
        if not self.flat:
            return "", {}
        return ids.check_location(body.get("location"), self.types[kind]), _tags(body)

    # --- answers ---------------------------------------------------------------------------------

    def cluster(self, resource: ClusterResource, subscription: str) -> Json:
        cluster, workspace = resource.cluster, resource.workspace
        properties = _copy(cluster.spec)
        if setup := (properties.get("nodeSetup") or {}).get("setupTask"):
            setup["stdOutErrPathSuffix"] = cluster.setup_suffix
        properties |= without_none(
            {
                "creationTime": instant(cluster.created),
                "provisioningState": "deleting" if cluster.deleting else "succeeded",
                "provisioningStateTransitionTime": instant(cluster.changed),
                "allocationState": str(cluster.allocation_state),
                "allocationStateTransitionTime": instant(cluster.allocation_changed),
                "errors": cluster.errors or None,
                "currentNodeCount": len(resource.states),
                "nodeStateCounts": count_states(resource.states),
            }
        )
        for path in self.dropped_of_cluster:
            _drop(properties, path)
        self.cluster_shown(properties, cluster.legacy)
        _recase(properties, self.enum_word)
        if self.flat:
            _flatten_file_servers((properties.get("nodeSetup") or {}).get("mountVolumes"))
            place = {"location": cluster.location, "tags": cluster.tags or None}
            id_ = ids.flat_id(subscription, workspace.group_name, "clusters", cluster.name)
        else:
            place = {}
            id_ = ids.cluster_id(subscription, workspace.group_name, workspace.name, cluster.name)
        return _resource(id_, cluster.name, self.types["cluster"], properties, place)

    def file_server(self, resource: FileServerResource, subscription: str) -> Json:
        server, workspace = resource.server, resource.workspace
        made = "succeeded" if server.facts else "creating"
        properties = _copy(server.spec) | {
            "provisioningState": "deleting" if server.deleting else made,
            "provisioningStateTransitionTime": instant(server.changed),
            "creationTime": instant(server.created),
        }
        if server.facts:
            properties["mountSettings"] = {
                "mountPoint": server.facts["mountPoint"],
                "fileServerPublicIP": server.facts["address"],
                "fileServerInternalIP": server.facts["address"],
            }
        self.file_server_shown(properties)
        _recase(properties, self.enum_word)
        if self.flat:
            place = {"location": server.location, "tags": server.tags or None}
            id_ = ids.flat_id(subscription, workspace.group_name, "fileservers", server.name)
        else:
            place = {}
            id_ = ids.file_server_id(subscription, workspace.group_name, workspace.name, server.name)
        return _resource(id_, server.name, self.types["fileServer"], properties, place)

    def job(self, resource: JobResource, subscription: str) -> Json:
        job, experiment, workspace = resource.job, resource.experiment, resource.workspace
        # What no older version changes within may stay the record's own: a page has a thousand of them.
        properties = dict(job.spec) if self.name == CANONICAL else _copy(job.spec)
        properties |= without_none(
            {
                "experimentName": experiment.name,
                "toolType": TOOL_TYPES[settings_of(job.spec)[0]],
                "jobOutputDirectoryPathSegment": job.segment,
                "creationTime": instant(job.created),
                "provisioningState": "deleting" if job.deleting else "succeeded",
                "provisioningStateTransitionTime": instant(job.changed),
                "executionState": str(job.execution_state),
                "executionStateTransitionTime": instant(job.execution_changed),
                "executionInfo": self._execution_info(resource),
            }
        )
        for path in self.dropped_of_job:
            _drop(properties, path)
        self.job_shown(properties, {"priority": job.priority} | job.legacy)
        _recase(properties, self.enum_word)
        if self.flat:
            _flatten_file_servers(properties.get("mountVolumes"))
            properties["cluster"] = {"id": _flat_cluster_id(job.spec["cluster"]["id"])}
            id_ = ids.flat_id(subscription, workspace.group_name, "jobs", job.name)
        else:
            id_ = (
                f"{ids.workspace_id(subscription, workspace.group_name, workspace.name)}"
                f"/experiments/{experiment.name}/jobs/{job.name}"
            )
        return _resource(id_, job.name, self.types["job"], properties, {})

    def _execution_info(self, resource: JobResource) -> Json | None:
        job = resource.job
        if job.started is None:
            return None
        return without_none(
            {
                "startTime": instant(job.started),
                "endTime": instant(job.ended) if job.ended else None,
                "exitCode": job.exit_code,
                "errors": [e | {"code": self.fault_codes.get(e["code"], e["code"])} for e in job.errors]
                or None,
            }
        )

    def files(self, files: list[OutputFile]) -> list[Json]:
        return [entry for file in files if (entry := self.file_entry(file)) is not None]

    # --- errors ----------------------------------------------------------------------------------

    def not_found(self, kind: str, group: str, name: str) -> ServiceError:
        """`kind`: "cluster", "job" or "fileServer" (section 6: the flat versions gave ARM's own text)."""
        if self.flat:
            what = f"'Microsoft.BatchAI/{kind}s/{name}' under resource group '{group}'"
            return ServiceError(404, Code.RESOURCE_NOT_FOUND, f"The Resource {what} was not found.")
        code, words = {
            "cluster": (Code.CLUSTER_NOT_FOUND, "cluster"),
            "job": (Code.JOB_NOT_FOUND, "job"),
            "fileServer": (Code.FILE_SERVER_NOT_FOUND, "file server"),
        }[kind]
        return ServiceError(404, code, f"The specified {words} {name} is not found")


def workspace(record: Workspace, subscription: str) -> Json:
    return _resource(
        ids.workspace_id(subscription, record.group_name, record.name),
        record.name,
        "Microsoft.BatchAI/workspaces",
        _lifetime(record),
        {"location": record.location, "tags": record.tags or None},
    )


def experiment(record: Experiment, parent: Workspace, subscription: str) -> Json:
    return _resource(
        f"{ids.workspace_id(subscription, parent.group_name, parent.name)}/experiments/{record.name}",
        record.name,
        "Microsoft.BatchAI/workspaces/experiments",
        _lifetime(record),
        {},
    )


def _lifetime(record: Workspace | Experiment) -> Json:
    return {
        "creationTime": instant(record.created),
        "provisioningState": "deleting" if record.deleting else "succeeded",
        "provisioningStateTransitionTime": instant(record.changed),
    }


def _resource(id_: str, name: str, type_: str, properties: Json, place: Json) -> Json:
    return without_none({"id": id_, "name": name, "type": type_, **place, "properties": properties})


def _properties(body: Any) -> tuple[Json, Json]:
    """The body and a copy of its `properties`, both as objects."""
    if not isinstance(body, dict):
        raise ServiceError(400, Code.INVALID_REQUEST_CONTENT, "The request content must be a JSON object.")
    properties = body.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise invalid_property("properties", "The value of property 'properties' must be an object.")
    return body, _copy(properties or {})


def _tags(body: Json) -> Json:
    tags = body.get("tags") or {}
    if not isinstance(tags, dict) or not all(isinstance(v, str) for v in tags.values()):
        raise invalid_property("tags", "The value of property 'tags' must be an object of strings.")
    return tags


def _copy(value: Any) -> Any:
    """Plain JSON of its own; copy.deepcopy, which also knows everything else, takes six times as long."""
    if isinstance(value, dict):
        return {name: _copy(item) if isinstance(item, (dict, list)) else item for name, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _drop(properties: Any, path: str) -> None:
    """Remove `a.b` or `a[].b`."""
    head, _, rest = path.partition(".")
    if head.endswith("[]"):
        for item in properties.get(head[:-2]) or () if isinstance(properties, dict) else ():
            _drop(item, rest)
    elif isinstance(properties, dict):
        if not rest:
            properties.pop(head, None)
        elif head in properties:
            _drop(properties[head], rest)


_ENUMS = frozenset(
    {
        "provisioningState",
        "allocationState",
        "executionState",
        "vmPriority",
        "nodeDeallocationOption",
        "toolType",
        "cachingType",
        "fileServerType",
    }
)


def _recase(value: Any, word: Callable[[str], str]) -> None:
    """Apply the version's spelling to every enum value (section 3: Pascal case in 2017)."""
    if word is str:
        return
    if isinstance(value, list):
        for item in value:
            _recase(item, word)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in _ENUMS and isinstance(item, str):
                value[name] = word(item)
            else:
                _recase(item, word)


def _flat_cluster_id(canonical: str) -> str:
    ref = ids.parse_cluster_id(canonical)
    if ref is None or not ids.is_migrated_workspace(ref.workspace):
        return canonical
    return ids.flat_id(ref.subscription, ref.group, "clusters", ref.name)


def _flatten_file_servers(volumes: Json | None) -> None:
    """Ids of mounted file servers as the flat versions write them."""
    for reference in (volumes or {}).get("fileServers") or ():
        ref = ids.parse_file_server_id(reference["fileServer"]["id"])
        if ref is not None and ids.is_migrated_workspace(ref.workspace):
            reference["fileServer"]["id"] = ids.flat_id(ref.subscription, ref.group, "fileservers", ref.name)
