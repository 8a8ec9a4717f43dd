"""Where a job's files are: as paths on the node, as items in storage (batchai-service.md sections 13, 14)."""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from . import jobenv
from .mounts import mounts_of
from .ports import ItemRef, MountKind, MountLevel, StorageService

STDOUTERR = "stdouterr"

# Layouts of the output directory, by the api-version that created the job.
FLAT_LAYOUT = "2017"
STANDARD_LAYOUT = "2018"

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` replaced as a shell would; an unknown name becomes nothing."""
    return _VARIABLE.sub(lambda m: variables.get(m[1] or m[2], ""), text)


def stdouterr_directory(spec: Mapping[str, Any], segment: str, layout: str) -> str:
    """The unexpanded path of the directory of stdout.txt and stderr.txt."""
    last = () if layout == FLAT_LAYOUT else (STDOUTERR,)
    return posixpath.join(spec["stdOutErrPathPrefix"], segment, *last)


def output_directories(
    spec: Mapping[str, Any], legacy: Mapping[str, Any], segment: str
) -> dict[str, tuple[str, bool]]:
    """Output directory id -> (unexpanded path, whether the service creates it).

    With `createNew: false` (the two older versions) it is the given path itself.
    """
    kept = legacy.get("outputDirectories") or {}
    found = {}
    for directory in spec.get("outputDirectories") or ():
        suffix = (directory.get("pathSuffix") or "").strip("/")
        create = kept.get(directory["id"], {}).get("createNew", True)
        new = (segment, "outputs") if create else ()
        found[directory["id"]] = (posixpath.join(directory["pathPrefix"], *new, suffix).rstrip("/"), create)
    return found


def path_variables(
    spec: Mapping[str, Any], legacy: Mapping[str, Any], segment: str, layout: str
) -> dict[str, str]:
    """The job's own directory variables, unexpanded and in an order in which each may use those before it."""
    variables = {jobenv.STDOUTERR_DIR: stdouterr_directory(spec, segment, layout)}
    for directory in spec.get("inputDirectories") or ():
        variables[jobenv.INPUT_PREFIX + directory["id"]] = directory["path"]
    for name, (path, _) in output_directories(spec, legacy, segment).items():
        variables[jobenv.OUTPUT_PREFIX + name] = path
    return variables


def locate(
    path: str, variables: Mapping[str, str], job_spec: Mapping[str, Any], node_setup: Mapping[str, Any]
) -> ItemRef | None:
    """The item in storage behind an unexpanded path; None when it lies on no share or container mount."""
    # Stand-ins that no real path can hold tell under which root an expanded path lies.
    roots = {jobenv.MOUNT_ROOT: "\0cluster", jobenv.JOB_MOUNT_ROOT: "\0job"}
    known = dict(roots)
    for name, value in variables.items():
        known[name] = expand(value, known)
    expanded = posixpath.normpath(expand(path, known))
    candidates = [
        (f"{roots[root]}/{mount.relative_path}", mount)
        for root, mounts in (
            (jobenv.MOUNT_ROOT, mounts_of(node_setup, {}, MountLevel.CLUSTER)),
            (jobenv.JOB_MOUNT_ROOT, mounts_of(job_spec, {}, MountLevel.JOB)),
        )
        for mount in mounts
    ]
    for prefix, mount in sorted(candidates, key=lambda c: -len(c[0])):
        if (expanded + "/").startswith(prefix + "/"):
            if mount.kind is MountKind.UNMANAGED:
                return None
            service = StorageService.FILE if mount.kind is MountKind.FILE_SHARE else StorageService.BLOB
            return ItemRef(service, mount.account, mount.container, expanded[len(prefix) :].strip("/"))
    return None
