"""listOutputFiles: what is in a job's output directory, with URLs (batchai-service.md section 14)."""

import posixpath
from collections.abc import Callable
from datetime import timedelta

from openbatchai.domain.errors import Code, ServiceError, invalid_property
from openbatchai.domain.model import Job, OutputFile
from openbatchai.domain.outputs import (
    STDOUTERR,
    locate,
    output_directories,
    path_variables,
    stdouterr_directory,
)
from openbatchai.domain.ports import DirectoryEntry, ItemRef, StorageService

from .context import Context

UrlOf = Callable[[ItemRef, str], str]


def directory_of(job: Job, directory_id: str) -> ItemRef:
    """Where an output directory of the job is in storage.

    Raises 400 for an unknown id and for a directory that lies on no share or container mount.
    """
    known = output_directories(job.spec, job.legacy, job.segment)
    if directory_id == STDOUTERR:
        path = stdouterr_directory(job.spec, job.segment, job.layout)
    elif directory_id in known:
        path = known[directory_id][0]
    else:
        raise invalid_property(
            "outputdirectoryid",
            f"The job has no output directory with id '{directory_id}'.",
            STDOUTERR,
            *known,
        )
    variables = path_variables(job.spec, job.legacy, job.segment, job.layout)
    found = locate(path, variables, job.spec, job.cluster_spec)
    if found is None:
        raise ServiceError(
            400,
            Code.INVALID_PROPERTY_VALUE,
            f"The specified outputDirectoryId {directory_id} is not present on a mount root",
            target="outputdirectoryid",
        )
    return found


def listing(
    context: Context, job: Job, directory_id: str, directory: str, expiry_minutes: int, url_of: UrlOf
) -> list[OutputFile]:
    """Entries sorted by name, not recursive; empty when the directory does not exist yet."""
    root = directory_of(job, directory_id)
    relative = posixpath.normpath(directory.strip("/") or ".")
    if relative == ".." or relative.startswith("../") or "\0" in relative:
        raise invalid_property(
            "directory", f"The directory '{directory}' is not inside the output directory."
        )
    place = _below(root, relative)
    expiry = context.clock.now().replace(microsecond=0) + timedelta(minutes=expiry_minutes)
    files = []
    for entry in _entries(context, place, directory):
        item = _below(place, entry.name)
        url = None if entry.is_directory else url_of(item, context.storage.read_sas(item, expiry))
        files.append(OutputFile(entry.name, entry.is_directory, url, entry.size, entry.last_modified))
    return files


def _entries(context: Context, place: ItemRef, shown: str) -> list[DirectoryEntry]:
    with context.store.read() as unit:
        if unit.accounts.get(key=place.account) is None:
            return []
    try:
        return context.storage.list_directory(place) or []
    except OSError as error:
        # The directory is the job's own, permissions included.
        raise ServiceError(
            409,
            Code.CONFLICT,
            f"The directory '{shown}' cannot be read: {error.strerror}.",
            target="directory",
        ) from None


def _below(ref: ItemRef, relative: str) -> ItemRef:
    path = posixpath.normpath(posixpath.join(ref.path, relative))
    return ItemRef(ref.service, ref.account, ref.container, "" if path == "." else path)


def log_files(job: Job, names: list[str]) -> list[ItemRef]:
    """The run's standard output files in storage, as far as they are on a share or container."""
    try:
        root = directory_of(job, STDOUTERR)
    except ServiceError:
        return []
    return [_below(root, name) for name in names]


def service_host(ref: ItemRef, suffix: str = "core.windows.net") -> str:
    label = "file" if ref.service is StorageService.FILE else "blob"
    return f"{ref.account}.{label}.{suffix}"
