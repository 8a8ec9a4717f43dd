"""A sweep of parameters: a job for each combination, and the best of them by a metric in their logs.

    batchai run python examples/sweep.py

It needs a service that runs and the packages of `openbatchai[quickstart]`. Each job is a process of its own
with its parameters in environment variables; as many run at once as the cluster has nodes.
"""

import itertools
import json
import os
import pathlib
import re
import time
import urllib.request

from azure.identity import ClientSecretCredential
from azure.mgmt.batchai import BatchAI
from azure.mgmt.batchai.models import JobsListOutputFilesOptions
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.storage.fileshare import ShareServiceClient

NODES = 2
CHOICES = {"RATE": [0.01, 0.1, 0.5], "MOMENTUM": [0.0, 0.9]}
METRIC = re.compile(r"^loss = ([\d.e+-]+)$", re.MULTILINE)
# Goes down a parabola; yours reads its data from the share and trains.
SCRIPT = b"""
import os
rate, momentum = float(os.environ["RATE"]), float(os.environ["MOMENTUM"])
x, step = 5.0, 0.0
for _ in range(30):
    step = momentum * step - rate * 2 * x
    x += step
    print(f"loss = {x * x:.6g}", flush=True)
"""
GROUP, WORKSPACE, EXPERIMENT, SHARE = "sweep", "sweep", "parabola", "sweep"
FINISHED = ("succeeded", "failed")

home = pathlib.Path(os.environ["BATCHAI_HOME"])  # `batchai run` and `batchai env` set it
mine = json.loads((home / "credentials.json").read_text())
login = ClientSecretCredential(mine["tenant"], mine["client_id"], mine["client_secret"])
groups = ResourceManagementClient(login, mine["subscription_id"]).resource_groups
batchai = BatchAI(login, mine["subscription_id"])
account, key = mine["storage_account"], mine["storage_key"]
share = ShareServiceClient(f"https://{account}.file.core.windows.net", credential=key).get_share_client(SHARE)
where = (GROUP, WORKSPACE, EXPERIMENT)


def prepare() -> str:
    """The share with the script, and a cluster; the cluster's id."""
    groups.create_or_update(GROUP, {"location": "eastus"})
    batchai.workspaces.begin_create(GROUP, WORKSPACE, {"location": "eastus"}).result()
    batchai.experiments.begin_create(*where).result()
    share.create_share()
    share.get_file_client("train.py").upload_file(SCRIPT)
    volume = {
        "account_name": account,
        "azure_file_url": f"https://{account}.file.core.windows.net/{SHARE}",
        "credentials": {"account_key": key},
        "relative_mount_path": "share",
    }
    cluster = {
        "vm_size": "STANDARD_D2",
        "scale_settings": {"manual": {"target_node_count": NODES}},
        "user_account_settings": {"admin_user_name": "me"},
        "node_setup": {"mount_volumes": {"azure_file_shares": [volume]}},
    }
    return str(batchai.clusters.begin_create(GROUP, WORKSPACE, "nodes", cluster).result().id)


def submit(name: str, cluster: str, parameters: dict[str, float]) -> None:
    job = {
        "cluster": {"id": cluster},
        "node_count": 1,
        "std_out_err_path_prefix": "$AZ_BATCHAI_MOUNT_ROOT/share",
        "environment_variables": [{"name": name, "value": str(value)} for name, value in parameters.items()],
        "custom_toolkit_settings": {"command_line": "python $AZ_BATCHAI_MOUNT_ROOT/share/train.py"},
    }
    batchai.jobs.begin_create(*where, name, job).result()


def wait() -> dict[str, str]:
    """The state of each job of the experiment when all have ended."""
    while True:
        states = {str(job.name): str(job.execution_state) for job in batchai.jobs.list_by_experiment(*where)}
        if all(state in FINISHED for state in states.values()):
            return states
        time.sleep(0.5)


def metric(name: str) -> float:
    """The last of a job's log."""
    options = JobsListOutputFilesOptions(outputdirectoryid="stdouterr")
    files = {file.name: file.download_url for file in batchai.jobs.list_output_files(*where, name, options)}
    log = urllib.request.urlopen(files["stdout.txt"]).read().decode()
    return float(METRIC.findall(log)[-1])


def main() -> None:
    cluster = prepare()
    try:
        jobs = {}
        for number, values in enumerate(itertools.product(*CHOICES.values())):
            jobs[f"try-{number}"] = dict(zip(CHOICES, values, strict=True))
            submit(f"try-{number}", cluster, jobs[f"try-{number}"])
        states = wait()
        losses = {name: metric(name) for name, state in states.items() if state == "succeeded"}
        for name in sorted(losses, key=losses.__getitem__):
            print(f"{losses[name]:<12.6g} {jobs[name]}")
        for name in states.keys() - losses.keys():
            print(f"{states[name]:<12} {jobs[name]}")
    finally:
        groups.begin_delete(GROUP).result()
        share.delete_share()


if __name__ == "__main__":
    main()
