"""Sweeps as client libraries of 2018 made them on azure-mgmt-batchai 2.0.0: values in, what it saw out.

    python sweep_2_0_0.py VALUES.json REPORT.json

A job factory puts each set of parameters into a copy of one job, as text of its settings and as environment
variables; many threads submit; the experiment is listed until all have ended; a metric is read from each log
by a regular expression; failed jobs are made again, under their names, from what the service shows of them.
It runs in an environment of its own and is reached by the proxy; nothing in it knows of this project.
"""

import copy
import hashlib
import itertools
import json
import math
import random
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from azure.common.credentials import ServicePrincipalCredentials
from azure.mgmt.batchai import BatchAIManagementClient, models
from azure.mgmt.resource import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient
from azure.storage.blob import BlockBlobService
from azure.storage.file import FileService
from msrestazure.polling.arm_polling import ARMPolling

GROUP, WORKSPACE, EXPERIMENT, NAME = "sweep200", "work", "sweep", "sweep200"
SCRIPT = """
import os, sys
rate, batch = float(sys.argv[1]), int(os.environ["PARAM_BATCH_SIZE"])
for epoch in range(3):
    print(f"epoch {epoch}: loss = {rate * batch / (epoch + 1):.6f}", flush=True)
print("rate by environment:", os.environ["PARAM_LEARNING_RATE"])
"""
METRIC = r"loss = ([\d.]+)"
THREADS = 30
TERMINAL = (models.ExecutionState.succeeded, models.ExecutionState.failed)

values = json.loads(Path(sys.argv[1]).read_text())
account, key = values["storage_account"], values["storage_key"]
credentials = ServicePrincipalCredentials(
    client_id=values["client_id"], secret=values["client_secret"], tenant=values["tenant"]
)
subscription = values["subscription_id"]
client = BatchAIManagementClient(credentials, subscription)
resources = ResourceManagementClient(credentials, subscription)
storage = StorageManagementClient(credentials, subscription)


class Polling(ARMPolling):
    """Such libraries did not want to wait the 30 seconds between polls."""

    def _delay(self):
        if self._response is not None:
            time.sleep(0.1)


class Parameters:
    """`parameters["X"]` stands in a template for the value that each job gets."""

    def __init__(self, **choices):
        self._choices = choices

    def __getitem__(self, name):
        return f"{{{{{name}}}}}"

    def grid(self):
        return [
            dict(zip(self._choices, combination, strict=True))
            for combination in itertools.product(*self._choices.values())
        ]

    def at_random(self, count, seed):
        chance = random.Random(seed)
        low_and_high = {name: (min(values), max(values)) for name, values in self._choices.items()}
        return [
            {name: self._draw(chance, name, *ends) for name, ends in low_and_high.items()}
            for _ in range(count)
        ]

    def _draw(self, chance, name, low, high):
        if isinstance(self._choices[name][0], int):
            return chance.randint(low, high)
        return math.exp(chance.uniform(math.log(low), math.log(high)))


def with_parameters(template, chosen):
    job = fill(copy.deepcopy(template), {f"{{{{{name}}}}}": str(value) for name, value in chosen.items()})
    variables = [models.EnvironmentVariable(name=f"PARAM_{name}", value=str(v)) for name, v in chosen.items()]
    job.environment_variables = [*(job.environment_variables or []), *variables]
    return job


def fill(node, texts):
    """The placeholders in every text of a tree of models, replaced."""
    if isinstance(node, str):
        for placeholder, text in texts.items():
            node = node.replace(placeholder, text)
        return node
    if isinstance(node, list):
        return [fill(each, texts) for each in node]
    if hasattr(node, "_attribute_map"):
        for name in node._attribute_map:
            setattr(node, name, fill(getattr(node, name), texts))
    return node


def submit(jobs):
    """By many threads at once; the jobs as the service shows them."""

    def one(name_and_job):
        name, job = name_and_job
        return client.jobs.create(GROUP, WORKSPACE, EXPERIMENT, name, job, polling=Polling()).result()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, jobs.items()))


def named(prefix, jobs):
    return {f"{prefix}_{digest(job)}": job for job in jobs}


def digest(job):
    text = json.dumps(job, default=lambda o: o.__dict__, sort_keys=True)
    return hashlib.sha1(text.encode()).hexdigest()[:16]


def wait_for(names):
    while True:
        listed = client.jobs.list_by_experiment(GROUP, WORKSPACE, EXPERIMENT)
        jobs = {job.name: job for job in listed if job.name in names}
        if all(job.execution_state in TERMINAL for job in jobs.values()) and len(jobs) == len(names):
            return jobs
        time.sleep(0.2)


def log_of(name):
    options = models.JobsListOutputFilesOptions(outputdirectoryid="stdouterr")
    for file in client.jobs.list_output_files(GROUP, WORKSPACE, EXPERIMENT, name, options):
        if file.name == "stdout.txt":
            answer = requests.get(file.download_url, stream=True)
            return b"".join(answer.iter_content(chunk_size=512 * 1024)).decode()
    return ""


def metrics_of(names, take):
    found = {name: [float(value) for value in re.findall(METRIC, log_of(name), re.DOTALL)] for name in names}
    return {name: take(numbers) for name, numbers in found.items()}


def stream(name):
    """What a terminal showed of one job while it ran: ranges of its log until its end, and then the rest."""
    log = Tail(name)
    while client.jobs.get(GROUP, WORKSPACE, EXPERIMENT, name).execution_state not in TERMINAL:
        log.read()
        time.sleep(0.1)
    log.read()
    return log.text.decode()


class Tail:
    def __init__(self, job):
        self._job, self._url, self.text = job, None, b""

    def read(self):
        if self._url is None:
            self._url = self._find()
        if self._url is not None:
            answer = requests.get(self._url, headers={"Range": f"bytes={len(self.text)}-"})
            self.text += answer.content if answer.status_code // 100 == 2 else b""

    def _find(self):
        options = models.JobsListOutputFilesOptions(outputdirectoryid="stdouterr")
        files = client.jobs.list_output_files(GROUP, WORKSPACE, EXPERIMENT, self._job, options)
        return next((file.download_url for file in files if file.name == "stdout.txt"), None)


def parameters_again(job):
    """A job as the service shows it, as one to be created: all that is kept, and the keys, which are not."""
    kept = {
        name: getattr(job, name) for name in models.JobCreateParameters._attribute_map if hasattr(job, name)
    }
    again = models.JobCreateParameters(**kept)
    volumes = again.mount_volumes
    for mount in (*volumes.azure_file_shares, *volumes.azure_blob_file_systems):
        mount.credentials.account_key = key_of(mount.account_name)
    return again


def key_of(name):
    [group] = [one.id.split("/")[4] for one in storage.storage_accounts.list() if one.name == name]
    return storage.storage_accounts.list_keys(group, name).keys[0].value


def delete(names):
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [
            pool.submit(
                lambda name=name: client.jobs.delete(
                    GROUP, WORKSPACE, EXPERIMENT, name, polling=Polling()
                ).result()
            )
            for name in names
        ]:
            done.result()


def names_in_experiment():
    return [job.name for job in client.jobs.list_by_experiment(GROUP, WORKSPACE, EXPERIMENT)]


# The place: a share with the script, a container with data, two nodes.
resources.resource_groups.create_or_update(GROUP, {"location": "eastus"})
files, blobs = FileService(account, key), BlockBlobService(account, key)
files.create_share(NAME)
files.create_file_from_text(NAME, None, "train.py", SCRIPT)
blobs.create_container(NAME)
for letter in "ab":
    blobs.create_blob_from_text(NAME, f"data/{letter}.txt", letter)
client.workspaces.create(GROUP, WORKSPACE, "eastus").result()
client.experiments.create(GROUP, WORKSPACE, EXPERIMENT).result()
cluster = client.clusters.create(
    GROUP,
    WORKSPACE,
    "nodes",
    models.ClusterCreateParameters(
        vm_size="STANDARD_NC6",
        scale_settings=models.ScaleSettings(manual=models.ManualScaleSettings(target_node_count=2)),
        user_account_settings=models.UserAccountSettings(admin_user_name="u", admin_user_password="p"),
    ),
).result()
secret = models.AzureStorageCredentialsInfo(account_key=key)
volumes = models.MountVolumes(
    azure_file_shares=[
        models.AzureFileShareReference(
            account_name=account,
            azure_file_url=f"https://{files.primary_endpoint}/{NAME}",
            credentials=secret,
            relative_mount_path="afs",
        )
    ],
    azure_blob_file_systems=[
        models.AzureBlobFileSystemReference(
            account_name=account, container_name=NAME, credentials=secret, relative_mount_path="bfs"
        )
    ],
)


def template(command):
    return models.JobCreateParameters(
        cluster=models.ResourceId(id=cluster.id),
        node_count=1,
        mount_volumes=volumes,
        std_out_err_path_prefix="$AZ_BATCHAI_JOB_MOUNT_ROOT/afs",
        input_directories=[models.InputDirectory(id="SCRIPT", path="$AZ_BATCHAI_JOB_MOUNT_ROOT/afs")],
        custom_toolkit_settings=models.CustomToolkitSettings(command_line=command),
    )


report = {}

# Every combination.
sweep = Parameters(LEARNING_RATE=[1e-4, 1e-1], BATCH_SIZE=[16, 32])
training = template(f"python $AZ_BATCHAI_INPUT_SCRIPT/train.py {sweep['LEARNING_RATE']}")
grid = named("grid", [with_parameters(training, chosen) for chosen in sweep.grid()])
shown = {job.name: {v.name: v.value for v in job.environment_variables} for job in submit(grid)}
ended = wait_for(grid)
last = metrics_of(grid, lambda numbers: numbers[-1])
mean = metrics_of(grid, lambda numbers: sum(numbers) / len(numbers))
report["grid"] = [
    {
        "environment": shown[name],
        "command": ended[name].custom_toolkit_settings.command_line,
        "state": ended[name].execution_state,
        "last": last[name],
        "mean": mean[name],
    }
    for name in grid
]

# Values at random.
drawn = sweep.at_random(2, seed=2018)
chosen = named("random", [with_parameters(training, one) for one in drawn])
submit(chosen)
wait_for(chosen)
least = metrics_of(chosen, min)
report["random"] = [
    {"parameters": one, "least": least[name]} for one, name in zip(drawn, chosen, strict=True)
]

# A job for each file of a container.
paths = [f"$AZ_BATCHAI_JOB_MOUNT_ROOT/bfs/{blob.name}" for blob in blobs.list_blobs(NAME, prefix="data/")]
by_file = Parameters(DATA=paths)
each = named("file", [with_parameters(template(f"cat {by_file['DATA']}"), one) for one in by_file.grid()])
submit(each)
wait_for(each)
report["files"] = [log_of(name) for name in each]

# What failed is deleted and made again, from what the service showed of it.
needs = template("cat $AZ_BATCHAI_JOB_MOUNT_ROOT/afs/late.txt")
needs.environment_variables = [models.EnvironmentVariable(name="PARAM_KEPT", value="yes")]
needs.scheduling_priority = models.JobPriority.high
submit({"late_1": needs})
first = wait_for(["late_1"])["late_1"]
report["failed"] = (first.execution_state, first.execution_info.exit_code)
files.create_file_from_text(NAME, None, "late.txt", "now it is here\n")
delete(["late_1"])
submit({"late_1": parameters_again(first)})
report["streamed"] = stream("late_1")
second = wait_for(["late_1"])["late_1"]
report["again"] = {
    "state": second.execution_state,
    "priority": second.scheduling_priority,
    "environment": [(variable.name, variable.value) for variable in second.environment_variables],
    "limit": str(second.constraints.max_wall_clock_time),
    "new segment": second.job_output_directory_path_segment != first.job_output_directory_path_segment,
}

before = names_in_experiment()
delete([name for name in before if re.match("grid_|random_", name)])
report["left"] = sorted(set(names_in_experiment()))
report["ran"] = len(before)
resources.resource_groups.delete(GROUP).wait()
Path(sys.argv[2]).write_text(json.dumps(report))
