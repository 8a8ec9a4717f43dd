"""Microsoft's own clients, sent to a service the way an unmodified script is: through its proxy."""

import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

# What `pip install 'openbatchai[quickstart]'` adds, by import name.
_NEEDED = (
    "torch",
    "cntk",
    "numpy",
    "msrest",
    "azure.identity",
    "azure.mgmt.batchai",
    "azure.mgmt.resource",
    "azure.storage.fileshare",
)
INSTALL = "pip install -c constraints.txt ./packages/cntk '.[quickstart]'"


def missing() -> list[str]:
    """The packages that are not installed. Looked for, not imported: that takes seconds."""
    return [name for name in _NEEDED if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


class Clients:
    """Everything that talks to the service of one `endpoint.json`.

    Proxy and CA are given to each client by name, so neither this process' environment nor the user's
    changes what they reach.
    """

    def __init__(self, endpoint: Mapping[str, Any]) -> None:
        import httpx
        from azure.identity import ClientSecretCredential
        from azure.mgmt.batchai import BatchAI
        from azure.mgmt.resource.resources import ResourceManagementClient
        from azure.storage.fileshare import ShareServiceClient

        proxy, bundle = str(endpoint["proxy"]), str(endpoint["ca_bundle"])
        path: dict[str, Any] = {
            "proxies": {"http": proxy, "https": proxy},
            "connection_verify": bundle,
            "use_env_settings": False,
        }
        subscription = endpoint["subscription_id"]
        credential = ClientSecretCredential(
            endpoint["tenant"], endpoint["client_id"], endpoint["client_secret"], **path
        )
        self.account = str(endpoint["storage_account"])
        self.key = str(endpoint["storage_key"])
        self.location = str(endpoint["location"])
        self.file_host = f"{self.account}.file.core.windows.net"
        self.resources = ResourceManagementClient(credential, subscription, **path)
        self.batchai = BatchAI(credential, subscription, **path)
        # Download URLs come in the form of the request for them: asked directly, they open in a browser of
        # this machine, which knows neither our proxy nor our CA.
        self.direct = BatchAI(
            credential,
            subscription,
            base_url=endpoint["arm"],
            credential_scopes=["https://management.azure.com/.default"],
            connection_verify=bundle,
            use_env_settings=False,
        )
        self.files = ShareServiceClient(f"https://{self.file_host}", credential=self.key, **path)
        self.web = httpx.Client(
            proxy=proxy, verify=ssl.create_default_context(cafile=bundle), trust_env=False, timeout=30
        )
        self._all = (self.resources, self.batchai, self.direct, self.files, credential, self.web)

    def close(self) -> None:
        for client in self._all:
            client.close()
