"""The API beside Azure's: what the service offers that Azure's contract has no place for."""

from openbatchai.domain.errors import invalid_property
from openbatchai.domain.model import VaultSecret
from openbatchai.services import vaults
from openbatchai.wire import arm

from .calls import Answer, Call, Json, Route

_ROOT = "/subscriptions/{subscription}/providers/OpenBatchAI"
_SECRET = f"{_ROOT}/vaults/{{vault}}/secrets/{{name}}"


def own_routes() -> list[Route]:
    return [
        Route("GET", f"{_ROOT}/secrets", list_secrets),
        Route("PUT", _SECRET, put_secret),
        Route("DELETE", _SECRET, delete_secret),
    ]


def list_secrets(call: Call, subscription: str) -> Answer:
    """Names and versions, never values."""
    return Answer(200, arm.list_body(_shown(secret) for secret in vaults.listing(call.context)))


def put_secret(call: Call, subscription: str, vault: str, name: str) -> Answer:
    body = call.json()
    value = body.get("value") if isinstance(body, dict) else None
    if not isinstance(value, str) or not value:
        raise invalid_property("value", "The required property 'value' is missing or empty.")
    return Answer(200, _shown(vaults.put(call.context, vault, name, value)))


def delete_secret(call: Call, subscription: str, vault: str, name: str) -> Answer:
    vaults.delete(call.context, vault, name)
    return Answer(204)


def _shown(secret: VaultSecret) -> Json:
    return {
        "vault": secret.vault,
        "name": secret.name,
        "version": secret.version,
        "created": arm.instant(secret.created),
        "url": f"https://{secret.vault}.vault.azure.net/secrets/{secret.name}/{secret.version}",
    }
