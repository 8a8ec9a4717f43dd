"""`/metadata/endpoints`: what `az cloud register` and other tools ask a cloud that they do not know.

Its shape changed with the api-version: four addresses at first, a list of clouds from 2019-05-01 on (which
`ARM_CLOUD_METADATA_URL` of azure-cli and Terraform read), one cloud from 2022-09-01 on (clients.md section
9).
"""

from collections.abc import Mapping
from typing import Any

AUDIENCES = ["https://management.core.windows.net/", "https://management.azure.com/"]
_LISTED_SINCE, _ONE_SINCE = "2019-05-01", "2022-09-01"


def clouds(base_url: str, query: Mapping[str, str]) -> dict[str, Any] | list[dict[str, Any]]:
    """`base_url` is this service as the client reached it. Without api-version: the newest shape."""
    version = query.get("api-version") or _ONE_SINCE
    if version < _LISTED_SINCE:
        return {
            "galleryEndpoint": base_url,
            "graphEndpoint": base_url,
            "portalEndpoint": base_url,
            "authentication": {"loginEndpoint": base_url, "audiences": AUDIENCES},
        }
    cloud = _cloud(base_url)
    return [cloud] if version < _ONE_SINCE else cloud


def _cloud(base_url: str) -> dict[str, Any]:
    return {
        "name": "OpenBatchAI",
        "portal": base_url,
        "portalEndpoint": base_url,
        "resourceManager": base_url,
        "gallery": base_url,
        "galleryEndpoint": base_url,
        "graph": base_url,
        "graphEndpoint": base_url,
        "graphAudience": base_url,
        "authentication": {
            "loginEndpoint": base_url,
            "audiences": AUDIENCES,
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "suffixes": {"storage": "core.windows.net", "keyVaultDns": "vault.azure.net"},
    }
