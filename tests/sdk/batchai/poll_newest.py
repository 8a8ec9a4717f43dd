"""Every long-running operation of azure-mgmt-batchai 7.0.0, blocking or asyncio: what its pollers slept.

python poll_newest.py VALUES.json REPORT.json sync|aio
"""

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import delays
from azure.core.pipeline.transport import AsyncioRequestsTransport

values, aio = json.loads(Path(sys.argv[1]).read_text()), sys.argv[3] == "aio"
if aio:
    from azure.identity.aio import ClientSecretCredential
    from azure.mgmt.batchai.aio import BatchAI
    from azure.mgmt.resource.resources.aio import ResourceManagementClient
else:
    from azure.identity import ClientSecretCredential
    from azure.mgmt.batchai import BatchAI
    from azure.mgmt.resource.resources import ResourceManagementClient

GROUP, WORK, TRIAL = f"poll700{sys.argv[3]}", "work", "trial"
USER = {"admin_user_name": "u", "admin_user_password": "p"}
report = {}


def options():
    return {"transport": AsyncioRequestsTransport()} if aio else {}


async def done(answer):
    """What a call gave, also where it has to be awaited."""
    return await answer if aio else answer


async def wait(name, method, *arguments):
    delays.taken()
    poller = await done(method(*arguments))
    result = await done(poller.result())
    report[name] = delays.taken()
    return result


async def running(client):
    while True:
        found = await done(client.jobs.get(GROUP, WORK, TRIAL, "one"))
        if found.execution_state == "running":
            return
        await asyncio.sleep(0.05)


async def main():
    identity = (values["tenant"], values["client_id"], values["client_secret"])
    credential = ClientSecretCredential(*identity, **options())
    client = BatchAI(credential, values["subscription_id"], **options())
    resources = ResourceManagementClient(credential, values["subscription_id"], **options())
    await done(resources.resource_groups.create_or_update(GROUP, {"location": "eastus"}))
    await wait("create workspace", client.workspaces.begin_create, GROUP, WORK, {"location": "eastus"})
    await wait("create experiment", client.experiments.begin_create, GROUP, WORK, TRIAL)
    disks = {"disk_size_in_gb": 1, "disk_count": 1, "storage_account_type": "Standard_LRS"}
    server = {
        "vm_size": "STANDARD_D1",
        "ssh_configuration": {"user_account_settings": USER},
        "data_disks": disks,
    }
    await wait("create file server", client.file_servers.begin_create, GROUP, WORK, "files", server)
    parameters = {
        "vm_size": "STANDARD_D1",
        "scale_settings": {"manual": {"target_node_count": 1}},
        "user_account_settings": USER,
    }
    cluster = await wait("create cluster", client.clusters.begin_create, GROUP, WORK, "nodes", parameters)
    job = {
        "cluster": {"id": cluster.id},
        "node_count": 1,
        "std_out_err_path_prefix": "$AZ_BATCHAI_JOB_TEMP",
        "custom_toolkit_settings": {"command_line": "sleep 600"},
    }
    await wait("create job", client.jobs.begin_create, GROUP, WORK, TRIAL, "one", job)
    await running(client)
    await wait("terminate job", client.jobs.begin_terminate, GROUP, WORK, TRIAL, "one")
    await wait("delete job", client.jobs.begin_delete, GROUP, WORK, TRIAL, "one")
    await wait("create job", client.jobs.begin_create, GROUP, WORK, TRIAL, "two", job)
    await wait("delete cluster", client.clusters.begin_delete, GROUP, WORK, "nodes")
    await wait("delete experiment", client.experiments.begin_delete, GROUP, WORK, TRIAL)
    await wait("delete workspace", client.workspaces.begin_delete, GROUP, WORK)
    await wait("delete group", resources.resource_groups.begin_delete, GROUP)
    for opened in (client, resources, credential):
        await done(opened.close())


asyncio.run(main())
Path(sys.argv[2]).write_text(json.dumps(report))
