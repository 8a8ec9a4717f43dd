"""A script of 2018 on azure-mgmt-batchai 2.0.0 (api-version 2018-05-01): values in, what it saw out.

    python flow_2_0_0.py VALUES.json REPORT.json

It runs in an environment of its own and is reached by the proxy; nothing in it knows of this project.
"""

import json
import sys
import time
from pathlib import Path

import requests
from azure.common.credentials import ServicePrincipalCredentials
from azure.mgmt.batchai import BatchAIManagementClient, models
from azure.mgmt.resource import ResourceManagementClient
from azure.storage.file import FileService
from msrestazure.azure_exceptions import CloudError

values = json.loads(Path(sys.argv[1]).read_text())
report = {}
GROUP, WORKSPACE, EXPERIMENT, SHARE = "flow200", "work", "trial", "flow200"

credentials = ServicePrincipalCredentials(
    client_id=values["client_id"], secret=values["client_secret"], tenant=values["tenant"]
)
client = BatchAIManagementClient(credentials, values["subscription_id"])
resources = ResourceManagementClient(credentials, values["subscription_id"])
files = FileService(values["storage_account"], values["storage_key"])

resources.resource_groups.create_or_update(GROUP, {"location": "eastus"})
files.create_share(SHARE)
files.create_file_from_text(SHARE, None, "script.py", "print('from the script')\n")

workspace = client.workspaces.create(GROUP, WORKSPACE, "eastus").result()
experiment = client.experiments.create(GROUP, WORKSPACE, EXPERIMENT).result()
report["experiment"] = (workspace.name, experiment.name, experiment.provisioning_state)

parameters = models.ClusterCreateParameters(
    vm_size="standard_nc6",
    scale_settings=models.ScaleSettings(manual=models.ManualScaleSettings(target_node_count=1)),
    user_account_settings=models.UserAccountSettings(admin_user_name="u", admin_user_password="p"),
    node_setup=models.NodeSetup(
        mount_volumes=models.MountVolumes(
            azure_file_shares=[
                models.AzureFileShareReference(
                    account_name=values["storage_account"],
                    azure_file_url=f"https://{files.primary_endpoint}/{SHARE}",
                    credentials=models.AzureStorageCredentialsInfo(account_key=values["storage_key"]),
                    relative_mount_path="share",
                )
            ]
        )
    ),
)
cluster = client.clusters.create(GROUP, WORKSPACE, "nodes", parameters).result()
report["cluster"] = (cluster.vm_size, cluster.vm_priority, cluster.allocation_state)


def submit(name, command):
    parameters = models.JobCreateParameters(
        cluster=models.ResourceId(id=cluster.id),
        node_count=1,
        std_out_err_path_prefix="$AZ_BATCHAI_MOUNT_ROOT/share",
        custom_toolkit_settings=models.CustomToolkitSettings(command_line=command),
    )
    return client.jobs.create(GROUP, WORKSPACE, EXPERIMENT, name, parameters).result()


def wait(name, *states):
    while True:
        job = client.jobs.get(GROUP, WORKSPACE, EXPERIMENT, name)
        if job.execution_state in states:
            return job
        time.sleep(0.05)


submit("one", "python $AZ_BATCHAI_MOUNT_ROOT/share/script.py")
job = wait("one", "succeeded", "failed")
report["one"] = (job.execution_state, job.execution_info.exit_code, job.tool_type)
options = models.JobsListOutputFilesOptions(outputdirectoryid="stdouterr")
listed = list(client.jobs.list_output_files(GROUP, WORKSPACE, EXPERIMENT, "one", options))
report["files"] = {file.name: requests.get(file.download_url).text for file in listed}

submit("two", "sleep 1000")
wait("two", "running")
client.jobs.terminate(GROUP, WORKSPACE, EXPERIMENT, "two").result()
job = wait("two", "failed")
report["two"] = [error.code for error in job.execution_info.errors]

report["jobs"] = [job.name for job in client.jobs.list_by_experiment(GROUP, WORKSPACE, EXPERIMENT)]
report["clusters"] = [item.name for item in client.clusters.list_by_workspace(GROUP, WORKSPACE)]
report["workspaces"] = [item.name for item in client.workspaces.list_by_resource_group(GROUP)]

client.jobs.delete(GROUP, WORKSPACE, EXPERIMENT, "one").result()
try:
    client.jobs.get(GROUP, WORKSPACE, EXPERIMENT, "one")
except CloudError as error:
    report["deleted"] = (error.status_code, error.error.error)
client.clusters.delete(GROUP, WORKSPACE, "nodes").result()
client.workspaces.delete(GROUP, WORKSPACE).result()
resources.resource_groups.delete(GROUP).wait()
report["group"] = resources.resource_groups.check_existence(GROUP)
Path(sys.argv[2]).write_text(json.dumps(report))
