"""A script of today on azure-mgmt-batchai 7.0.0 and azure-identity: values in, what it saw out.

    python flow_7_0_0.py VALUES.json REPORT.json proxy|direct

`proxy`: as written for Azure. `direct`: with the URLs of endpoint.json and no proxy.
"""

import json
import sys
import time
from pathlib import Path

import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.batchai import BatchAI
from azure.mgmt.batchai.models import JobsListOutputFilesOptions
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.storage.fileshare import ShareServiceClient

values = json.loads(Path(sys.argv[1]).read_text())
direct = sys.argv[3] == "direct"
report = {}
GROUP, WORKSPACE, EXPERIMENT, SHARE = (f"flow700{sys.argv[3]}", "work", "trial", f"flow700{sys.argv[3]}")

account, key = values["storage_account"], values["storage_key"]
if direct:
    credential = ClientSecretCredential(
        values["tenant"],
        values["client_id"],
        values["client_secret"],
        authority=values["authority"],
        disable_instance_discovery=True,
    )
    where = {"base_url": values["arm"]}
    share_url = f"{values['file']}/{account}"
else:
    credential = ClientSecretCredential(values["tenant"], values["client_id"], values["client_secret"])
    where = {}
    share_url = f"https://{account}.file.core.windows.net"
client = BatchAI(credential, values["subscription_id"], **where)
resources = ResourceManagementClient(credential, values["subscription_id"], **where)

resources.resource_groups.create_or_update(GROUP, {"location": "eastus"})
share = ShareServiceClient(share_url, credential=key).create_share(SHARE)
share.get_file_client("script.py").upload_file(b"print('from the script')\n")

workspace = client.workspaces.begin_create(GROUP, WORKSPACE, {"location": "eastus"}).result()
experiment = client.experiments.begin_create(GROUP, WORKSPACE, EXPERIMENT).result()
report["experiment"] = (workspace.name, experiment.name, experiment.provisioning_state)
mounted = {
    "account_name": account,
    "azure_file_url": f"https://{account}.file.core.windows.net/{SHARE}",
    "credentials": {"account_key": key},
    "relative_mount_path": "share",
}
parameters = {
    "vm_size": "standard_nc6",
    "scale_settings": {"manual": {"target_node_count": 1}},
    "user_account_settings": {"admin_user_name": "u", "admin_user_password": "p"},
    "node_setup": {"mount_volumes": {"azure_file_shares": [mounted]}},
}
cluster = client.clusters.begin_create(GROUP, WORKSPACE, "nodes", parameters).result()
report["cluster"] = (cluster.vm_size, cluster.vm_priority, cluster.allocation_state)


def submit(name, command):
    parameters = {
        "cluster": {"id": cluster.id},
        "node_count": 1,
        "std_out_err_path_prefix": "$AZ_BATCHAI_MOUNT_ROOT/share",
        "custom_toolkit_settings": {"command_line": command},
    }
    return client.jobs.begin_create(GROUP, WORKSPACE, EXPERIMENT, name, parameters).result()


def wait(name, *states):
    while True:
        job = client.jobs.get(GROUP, WORKSPACE, EXPERIMENT, name)
        if job.execution_state in states:
            return job
        time.sleep(0.05)


submit("one", "python $AZ_BATCHAI_MOUNT_ROOT/share/script.py")
job = wait("one", "succeeded", "failed")
report["one"] = (job.execution_state, job.execution_info.exit_code, job.tool_type)
options = JobsListOutputFilesOptions(outputdirectoryid="stdouterr")
listed = list(client.jobs.list_output_files(GROUP, WORKSPACE, EXPERIMENT, "one", options))
report["urls"] = [file.download_url for file in listed]
report["files"] = {file.name: requests.get(file.download_url, timeout=60).text for file in listed}

submit("two", "sleep 1000")
wait("two", "running")
client.jobs.begin_terminate(GROUP, WORKSPACE, EXPERIMENT, "two").result()
job = wait("two", "failed")
report["two"] = [error.code for error in job.execution_info.errors]

report["jobs"] = [job.name for job in client.jobs.list_by_experiment(GROUP, WORKSPACE, EXPERIMENT)]
report["clusters"] = [item.name for item in client.clusters.list_by_workspace(GROUP, WORKSPACE)]
report["workspaces"] = [item.name for item in client.workspaces.list_by_resource_group(GROUP)]

client.jobs.begin_delete(GROUP, WORKSPACE, EXPERIMENT, "one").result()
try:
    client.jobs.get(GROUP, WORKSPACE, EXPERIMENT, "one")
except ResourceNotFoundError as error:
    report["deleted"] = (error.status_code, error.error.code)
client.clusters.begin_delete(GROUP, WORKSPACE, "nodes").result()
client.workspaces.begin_delete(GROUP, WORKSPACE).result()
resources.resource_groups.begin_delete(GROUP).result()
report["group"] = resources.resource_groups.check_existence(GROUP)
Path(sys.argv[2]).write_text(json.dumps(report))
