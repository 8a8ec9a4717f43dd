"""2018-03-01 as differences from 2018-05-01 (batchai-service.md section 3)."""

from typing import Any

from openbatchai.domain.errors import Fault
from openbatchai.domain.model import OutputFile

from . import flat
from .version import Version

Json = dict[str, Any]


def _file_entry(file: OutputFile) -> Json:
    if file.is_directory:
        return {"name": file.name, "isDirectory": True}
    return {**flat.file_properties(file), "isDirectory": False}


VERSION = Version(
    "2018-03-01",
    flat=True,
    types={
        "cluster": "Microsoft.BatchAI/Clusters",
        "job": "Microsoft.BatchAI/Jobs",
        "fileServer": "Microsoft.BatchAI/FileServers",
    },
    dropped_of_job=flat.NEWER_OF_JOB,
    cluster_legacy=flat.cluster_legacy,
    cluster_shown=flat.cluster_shown,
    job_legacy=flat.job_legacy,
    job_shown=flat.job_shown,
    file_server_shown=flat.file_server_shown,
    fault_codes={Fault.JOB_TERMINATED: "JobTerminate"},
    file_entry=_file_entry,
)
