"""Every long-running operation of azure-mgmt-batchai 0.2.0, 1.0.0 or 2.0.0, and of azure-mgmt-resource 2.2.0
with them: what their pollers slept.

    python poll_legacy.py VALUES.json REPORT.json VERSION

In an environment of its own, through the proxy.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import delays
from azure.common.credentials import ServicePrincipalCredentials
from azure.mgmt.batchai import BatchAIManagementClient, models
from azure.mgmt.resource import ResourceManagementClient

values, version = json.loads(Path(sys.argv[1]).read_text()), sys.argv[3]
nested = version == "2.0.0"
group = f"poll{version}"
report = {}

credentials = ServicePrincipalCredentials(
    client_id=values["client_id"], secret=values["client_secret"], tenant=values["tenant"]
)
client = BatchAIManagementClient(credentials, values["subscription_id"])
resources = ResourceManagementClient(credentials, values["subscription_id"])
resources.resource_groups.create_or_update(group, {"location": "eastus"})

place, job_place, where = (group,), (group,), {"location": "eastus"}
if nested:
    place, job_place, where = (group, "work"), (group, "work", "trial"), {}
    client.workspaces.create(group, "work", "eastus").result()
    client.experiments.create(group, "work", "trial").result()

user = models.UserAccountSettings(admin_user_name="u", admin_user_password="p")


def wait(name, method, *arguments):
    delays.taken()
    poller = method(*arguments)
    poller.result()
    report[name] = delays.taken()


wait(
    "create file server",
    client.file_servers.create,
    *place,
    "files",
    models.FileServerCreateParameters(
        vm_size="STANDARD_D1",
        ssh_configuration=models.SshConfiguration(user_account_settings=user),
        data_disks=models.DataDisks(disk_size_in_gb=1, disk_count=1, storage_account_type="Standard_LRS"),
        **where,
    ),
)
cluster = client.clusters.create(
    *place,
    "nodes",
    models.ClusterCreateParameters(
        vm_size="STANDARD_D1",
        scale_settings=models.ScaleSettings(manual=models.ManualScaleSettings(target_node_count=1)),
        user_account_settings=user,
        **where,
    ),
).result()


def submit(name):
    parameters = models.JobCreateParameters(
        cluster=models.ResourceId(id=cluster.id),
        node_count=1,
        std_out_err_path_prefix="$AZ_BATCHAI_JOB_TEMP",
        custom_toolkit_settings=models.CustomToolkitSettings(command_line="sleep 600"),
        **where,
    )
    client.jobs.create(*job_place, name, parameters).result()


def running(name):
    return str(client.jobs.get(*job_place, name).execution_state).lower().endswith("running")


submit("one")
while not running("one"):
    delays.time.sleep(0.05)
wait("terminate job", client.jobs.terminate, *job_place, "one")
wait("delete job", client.jobs.delete, *job_place, "one")
submit("two")
wait("delete cluster", client.clusters.delete, *place, "nodes")
wait("delete file server", client.file_servers.delete, *place, "files")
if nested:
    wait("delete experiment", client.experiments.delete, *job_place)
    wait("delete workspace", client.workspaces.delete, *place)
    generic = resources.resources
    path = (
        f"/subscriptions/{values['subscription_id']}/resourceGroups/{group}"
        "/providers/Microsoft.BatchAI/workspaces/generic"
    )
    body = {"location": "eastus", "tags": {"a": "b"}}
    wait("create resource", generic.create_or_update_by_id, path, "2018-05-01", body)
    assert generic.check_existence_by_id(path, "2018-05-01")
    assert generic.get_by_id(path, "2018-05-01").tags == {"a": "b"}
    [found] = generic.list(filter=f"resourceGroup eq '{group}'")
    assert found.id == path
    wait("delete resource", generic.delete_by_id, path, "2018-05-01")
    assert not generic.check_existence_by_id(path, "2018-05-01")
wait("delete group", resources.resource_groups.delete, group)
Path(sys.argv[2]).write_text(json.dumps(report))
