"""The steps of the quickstart documents, one method each, and their undoing."""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.mgmt.batchai import BatchAI, models

from . import script
from .clients import Clients
from .data import TEST_FILE, TRAIN_FILE, Dataset, to_ctf
from .progress import Lines

IMAGE = "microsoft/cntk:2.1-gpu-python3.5-cuda8.0-cudnn6.0"
VM_SIZE = "STANDARD_NC6"
_DIRECTORY = "mnistcntksample"
_MOUNT = "azurefileshare"
_SHARE_PATH = f"$AZ_BATCHAI_MOUNT_ROOT/{_MOUNT}"
_WORKSPACE, _EXPERIMENT, _CLUSTER, _JOB = "quickstart", "mnist", "nc6", "convnet"
_JOB_NAME = (_WORKSPACE, _EXPERIMENT, _JOB)
_STANDARD_FILES = ("stdout.txt", "stderr.txt")
_CLUSTER_LIMIT_S = 120.0
_POLL_S = 0.1
_FINISHED = ("succeeded", "failed")


class QuickstartError(Exception):
    """A step did not do what it should; the text says what and why."""


@dataclass(frozen=True)
class OutputFile:
    name: str
    size: int
    url: str


class Quickstart:
    """One run, in a resource group and a share of its own, so that nothing of the user's is touched."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        # Two runs in the same second must not meet either.
        self.name = f"quickstart-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        self._made: list[tuple[str, Callable[[], Any]]] = []

    def create_group(self) -> None:
        groups = self._clients.resources.resource_groups
        self._made.append((f"resource group {self.name}", lambda: groups.begin_delete(self.name).result()))
        groups.create_or_update(self.name, {"location": self._clients.location})

    def create_share(self) -> None:
        share = self._clients.files.get_share_client(self.name)
        self._made.append((f"file share {self.name}", share.delete_share))
        share.create_share()
        share.create_directory(_DIRECTORY)

    def upload(self, dataset: Dataset) -> int:
        """The training script and the data; how many bytes that was."""
        directory = self._clients.files.get_share_client(self.name).get_directory_client(_DIRECTORY)
        contents = {
            script.NAME: script.training_script().read_bytes(),
            TRAIN_FILE: to_ctf(dataset.train),
            TEST_FILE: to_ctf(dataset.test),
        }
        for name, content in contents.items():
            directory.upload_file(name, content, max_concurrency=4)
        return sum(map(len, contents.values()))

    def create_cluster(self) -> None:
        clients = self._clients
        share = models.AzureFileShareReference(
            account_name=clients.account,
            credentials=models.AzureStorageCredentialsInfo(account_key=clients.key),
            azure_file_url=f"https://{clients.file_host}/{self.name}",
            relative_mount_path=_MOUNT,
        )
        parameters = models.ClusterCreateParameters(
            vm_size=VM_SIZE,
            user_account_settings=models.UserAccountSettings(
                admin_user_name="quickstart", admin_user_password=secrets.token_urlsafe(16)
            ),
            scale_settings=models.ScaleSettings(manual=models.ManualScaleSettings(target_node_count=1)),
            node_setup=models.NodeSetup(mount_volumes=models.MountVolumes(azure_file_shares=[share])),
        )
        where = models.WorkspaceCreateParameters(location=clients.location)
        clients.batchai.workspaces.begin_create(self.name, _WORKSPACE, where).result()
        clients.batchai.experiments.begin_create(self.name, _WORKSPACE, _EXPERIMENT).result()
        clients.batchai.clusters.begin_create(self.name, _WORKSPACE, _CLUSTER, parameters).result()

    def wait_for_cluster(self) -> None:
        """Until its node is idle. Raises QuickstartError with the cluster's own words."""
        deadline = time.monotonic() + _CLUSTER_LIMIT_S
        while True:
            cluster = self._clients.batchai.clusters.get(self.name, _WORKSPACE, _CLUSTER)
            if cluster.errors:
                raise QuickstartError(f"The cluster has errors. {_told(cluster.errors)}")
            if cluster.node_state_counts is not None and cluster.node_state_counts.idle_node_count == 1:
                return
            if time.monotonic() > deadline:
                raise QuickstartError(f"The cluster's node was not ready after {_CLUSTER_LIMIT_S:.0f} s.")
            time.sleep(_POLL_S)

    def submit(self, epochs: int, threads: int | None) -> None:
        cluster = self._clients.batchai.clusters.get(self.name, _WORKSPACE, _CLUSTER)
        parameters = models.JobCreateParameters(
            cluster=models.ResourceId(id=str(cluster.id)),
            node_count=1,
            std_out_err_path_prefix=_SHARE_PATH,
            input_directories=[models.InputDirectory(id="SAMPLE", path=f"{_SHARE_PATH}/{_DIRECTORY}")],
            output_directories=[
                models.OutputDirectory(id="MODEL", path_prefix=_SHARE_PATH, path_suffix="Models")
            ],
            environment_variables=[
                models.EnvironmentVariable(name=name, value=value) for name, value in _threading(threads)
            ],
            container_settings=models.ContainerSettings(
                image_source_registry=models.ImageSourceRegistry(image=IMAGE)
            ),
            cntk_settings=models.CNTKsettings(
                python_script_file_path=f"$AZ_BATCHAI_INPUT_SAMPLE/{script.NAME}",
                command_line_args=(f"$AZ_BATCHAI_INPUT_SAMPLE $AZ_BATCHAI_OUTPUT_MODEL --epochs {epochs}"),
            ),
        )
        self._clients.batchai.jobs.begin_create(self.name, *_JOB_NAME, parameters).result()

    def follow(self) -> Iterator[str]:
        """The lines of the job's log as they come, until it ends. Raises QuickstartError when it failed."""
        tails: dict[str, _Tail] = {}
        while True:
            job = self._clients.batchai.jobs.get(self.name, *_JOB_NAME)
            finished = job.execution_state in _FINISHED
            if len(tails) < len(_STANDARD_FILES) and job.execution_state != "queued":
                for name in self._urls():
                    tails.setdefault(name, _Tail(self._clients.web, partial(self._url, name)))
            for tail in tails.values():
                yield from tail.read()
            if finished:
                for tail in tails.values():
                    yield from tail.rest()
                break
            time.sleep(_POLL_S)
        if job.execution_state == "failed":
            info = job.execution_info
            code = "" if info is None or info.exit_code is None else f" with exit code {info.exit_code}"
            raise QuickstartError(f"The job failed{code}. {_told(info.errors if info else None)}".rstrip())

    def standard_files(self) -> list[OutputFile]:
        return self._listing("stdouterr")

    def model_files(self) -> list[OutputFile]:
        return self._listing("MODEL")

    def download(self, file: OutputFile, to: Path) -> Path:
        """One output file, by its download URL, into the directory `to`."""
        to.mkdir(parents=True, exist_ok=True)
        path = to / file.name
        with self._clients.web.stream("GET", file.url) as answer, path.open("wb") as target:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                target.write(piece)
        return path

    def undo(self) -> list[str]:
        """Remove what was made, the last first. What could not be removed, and why."""
        left = []
        while self._made:
            what, remove = self._made.pop()
            try:
                with suppress(ResourceNotFoundError):
                    remove()
            except AzureError as error:
                left.append(f"{what}: {error.message}")
        return left

    def _url(self, name: str) -> str:
        return self._urls()[name]

    def _urls(self) -> dict[str, str]:
        listed = _list(self._clients.batchai, self.name, "stdouterr")
        return {file.name: file.url for file in listed if file.name in _STANDARD_FILES}

    def _listing(self, directory: str) -> list[OutputFile]:
        return sorted(_list(self._clients.direct, self.name, directory), key=lambda file: _numbers(file.name))


def _list(client: BatchAI, group: str, directory: str) -> list[OutputFile]:
    options = models.JobsListOutputFilesOptions(outputdirectoryid=directory)
    # The package's own annotation names the page, not what is on it.
    found = cast("Iterable[models.File]", client.jobs.list_output_files(group, *_JOB_NAME, options))
    # A directory has no URL.
    return [
        OutputFile(str(file.name), file.content_length or 0, file.download_url)
        for file in found
        if file.download_url
    ]


def _numbers(name: str) -> list[str | int]:
    """Sorts model_9 before model_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _threading(threads: int | None) -> Iterator[tuple[str, str]]:
    """Fewer threads than cores do better on a machine that does other work too.

    With five busy processes on two cores, samples/s of the training: 1,300 to 2,000 with two threads, 3,000
    to 6,200 with one (on two idle cores 9,600 and 5,600).
    """
    if threads is not None:
        yield "OMP_NUM_THREADS", str(threads)


class _Tail:
    """Reads on in a growing file by ranges of its download URL, as `az batchai job file stream` did."""

    def __init__(self, web: httpx.Client, url: Callable[[], str]) -> None:
        self._web = web
        self._ask = url
        self._url = url()
        self._offset = 0
        self._lines = Lines()

    def read(self) -> list[str]:
        """The lines that came since."""
        answer = self._get()
        if answer.status_code == 403:
            # A URL is good for an hour; a longer training needs the next.
            self._url = self._ask()
            answer = self._get()
        if answer.status_code == 416:
            return []
        answer.raise_for_status()
        self._offset += len(answer.content)
        return self._lines.feed(answer.content)

    def rest(self) -> list[str]:
        return self._lines.rest()

    def _get(self) -> httpx.Response:
        return self._web.get(self._url, headers={"Range": f"bytes={self._offset}-"})


def _told(errors: list[models.BatchAIError] | None) -> str:
    """The service's errors with their details, for a person."""
    texts = []
    for error in errors or ():
        details = "; ".join(f"{detail.name}: {detail.value}" for detail in error.details or ())
        texts.append(f"{error.code}: {error.message}" + (f" ({details})" if details else ""))
    return " ".join(texts)
