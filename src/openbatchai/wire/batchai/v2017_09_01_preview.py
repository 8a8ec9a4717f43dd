"""2017-09-01-preview as differences from 2018-05-01 (batchai-service.md section 3)."""

from typing import Any

from openbatchai.domain.errors import Fault
from openbatchai.domain.model import OutputFile
from openbatchai.domain.outputs import FLAT_LAYOUT

from . import flat
from .version import Version

Json = dict[str, Any]

_WORDS = {
    "lowpriority": "LowPriority",
    "waitforjobcompletion": "WaitForJobCompletion",
    "nfs": "NFS",
    "readonly": "ReadOnly",
    "readwrite": "ReadWrite",
}


def _pascal(word: str) -> str:
    return _WORDS.get(word, word[:1].upper() + word[1:])


def _cluster_legacy(properties: Json) -> Json:
    legacy = flat.cluster_legacy(properties)
    if properties.get("subnet") == {}:
        # As this version shows a cluster without one.
        del properties["subnet"]
    node_setup = properties.get("nodeSetup")
    if isinstance(node_setup, dict):
        _fill_values(node_setup.get("setupTask"))
    return legacy


def _job_legacy(properties: Json) -> Json:
    _fill_values(properties)
    return flat.job_legacy(properties)


def _fill_values(owner: Any) -> None:
    """An environment setting of this version may be without a value."""
    settings = owner.get("environmentVariables") if isinstance(owner, dict) else None
    for setting in settings if isinstance(settings, list) else ():
        if isinstance(setting, dict):
            setting.setdefault("value", "")


def _cluster_shown(properties: Json, legacy: Json) -> None:
    flat.cluster_shown(properties, legacy)
    properties.setdefault("subnet", {})
    properties["lastModified"] = properties["provisioningStateTransitionTime"]


def _job_shown(properties: Json, legacy: Json) -> None:
    flat.job_shown(properties, legacy)
    properties["constraints"]["maxRetryCount"] = 0
    if "tensorFlowSettings" in properties:
        # Required here, optional in the newer versions.
        properties["tensorFlowSettings"].setdefault("masterCommandLineArgs", "")
    for directory in properties.get("outputDirectories") or ():
        directory["type"] = _pascal(directory["type"])


def _file_server_shown(properties: Json) -> None:
    flat.file_server_shown(properties)
    # The spelling is the service's own.
    properties["dataDisks"] |= {"fileSystemType": "BRTFS", "raidLevel": "NoRaid"}


def _file_entry(file: OutputFile) -> Json | None:
    return None if file.is_directory else flat.file_properties(file)


VERSION = Version(
    "2017-09-01-preview",
    flat=True,
    has_usages=False,
    layout=FLAT_LAYOUT,
    types={
        "cluster": "Microsoft.BatchAI/Clusters",
        "job": "Microsoft.BatchAI/Jobs",
        "fileServer": "Microsoft.BatchAI/FileServers",
    },
    dropped_of_cluster=(
        "nodeSetup.performanceCountersSettings",
        "nodeSetup.setupTask.secrets",
        "nodeSetup.setupTask.stdOutErrPathSuffix",
        "virtualMachineConfiguration.imageReference.virtualMachineImageId",
    ),
    dropped_of_job=(
        *flat.NEWER_OF_JOB,
        "mountVolumes",
        "secrets",
        "pyTorchSettings",
        "jobOutputDirectoryPathSegment",
    ),
    cluster_legacy=_cluster_legacy,
    cluster_shown=_cluster_shown,
    job_legacy=_job_legacy,
    job_shown=_job_shown,
    file_server_shown=_file_server_shown,
    enum_word=_pascal,
    fault_codes={
        Fault.JOB_TERMINATED: "JobTerminate",
        Fault.JOB_PREPARATION_FAILED: "JobNodePreparationFailed",
    },
    file_entry=_file_entry,
)
