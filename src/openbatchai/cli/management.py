"""The management API as the commands use it: with the home's own credentials."""

from collections.abc import Mapping
from typing import Any

from knack.util import CLIError

from openbatchai import config
from openbatchai.config import Home

_API_VERSION = "2018-05-01"
_TIMEOUT_S = 30.0


def ask(
    home: str | None, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None
) -> Any:
    """The answer's JSON, None when it has no body; `path` is below the subscription.

    Raises CLIError with the service's own words.
    """
    import httpx

    endpoint = config.read_endpoint(Home.named(home))
    if endpoint is None:
        raise CLIError("No service runs on this home: `batchai up` starts one.")
    form = {
        "grant_type": "client_credentials",
        "client_id": endpoint["client_id"],
        "client_secret": endpoint["client_secret"],
        "resource": "https://management.azure.com/",
    }
    base = endpoint["arm"].replace("https:", "http:")
    try:
        with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as client:
            token = client.post(f"{base}/{endpoint['tenant']}/oauth2/token", data=form)
            token.raise_for_status()
            answer = client.request(
                method,
                f"{base}/subscriptions/{endpoint['subscription_id']}{path}",
                params={"api-version": _API_VERSION, **(query or {})},
                headers={"Authorization": f"Bearer {token.json()['access_token']}"},
                json=body,
            )
    except httpx.HTTPError as error:
        raise CLIError(f"The service does not answer: {error}") from None
    if answer.is_error:
        raise CLIError(answer.json()["error"]["message"])
    return answer.json() if answer.content else None
