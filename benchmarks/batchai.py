"""The benchmarks' client: azure-mgmt-batchai 7.0.0 on the URLs of a running service."""

import os
import time
from typing import Any

from azure.identity import ClientSecretCredential
from azure.mgmt.batchai import BatchAI
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.storage.fileshare import ShareServiceClient

GROUP, WORKSPACE, EXPERIMENT, CLUSTER, SHARE = "benchmark", "work", "trial", "nodes", "benchmark"


class Client:
    """A cluster of one node with a share; jobs by name."""

    def __init__(self, endpoint: dict[str, Any]) -> None:
        os.environ["REQUESTS_CA_BUNDLE"] = endpoint["ca_bundle"]
        os.environ["NO_PROXY"] = "*"
        credential = ClientSecretCredential(
            endpoint["tenant"],
            endpoint["client_id"],
            endpoint["client_secret"],
            authority=endpoint["authority"],
            disable_instance_discovery=True,
        )
        subscription, arm = endpoint["subscription_id"], endpoint["arm"]
        self.batchai = BatchAI(credential, subscription, base_url=arm)
        self.resources = ResourceManagementClient(credential, subscription, base_url=arm)
        account, key = endpoint["storage_account"], endpoint["storage_key"]
        self.resources.resource_groups.create_or_update(GROUP, {"location": "eastus"})
        ShareServiceClient(f"{endpoint['file']}/{account}", credential=key).create_share(SHARE)
        self.batchai.workspaces.begin_create(GROUP, WORKSPACE, {"location": "eastus"}).result()
        self.batchai.experiments.begin_create(GROUP, WORKSPACE, EXPERIMENT).result()
        share = {
            "account_name": account,
            "azure_file_url": f"https://{account}.file.core.windows.net/{SHARE}",
            "credentials": {"account_key": key},
            "relative_mount_path": "share",
        }
        parameters = {
            "vm_size": "STANDARD_D1",
            "scale_settings": {"manual": {"target_node_count": 1}},
            "user_account_settings": {"admin_user_name": "u", "admin_user_password": "p"},
            "node_setup": {"mount_volumes": {"azure_file_shares": [share]}},
        }
        self.cluster = self.batchai.clusters.begin_create(GROUP, WORKSPACE, CLUSTER, parameters).result().id
        while not self.batchai.clusters.get(GROUP, WORKSPACE, CLUSTER).node_state_counts.idle_node_count:
            time.sleep(0.02)

    def submit(self, name: str, command: str) -> None:
        parameters = {
            "cluster": {"id": self.cluster},
            "node_count": 1,
            "std_out_err_path_prefix": "$AZ_BATCHAI_MOUNT_ROOT/share",
            "custom_toolkit_settings": {"command_line": command},
        }
        self.batchai.jobs.begin_create(GROUP, WORKSPACE, EXPERIMENT, name, parameters).result()

    def get(self, name: str) -> Any:
        return self.batchai.jobs.get(GROUP, WORKSPACE, EXPERIMENT, name)

    def wait(self, name: str, state: str, pause_s: float = 0.05) -> Any:
        while (job := self.get(name)).execution_state != state:
            if job.execution_state in ("succeeded", "failed"):
                raise RuntimeError(f"{name} is {job.execution_state}: {job.execution_info}")
            time.sleep(pause_s)
        return job

    def delete_group(self) -> None:
        self.resources.resource_groups.begin_delete(GROUP).result()
