"""The local secret store behind Key Vault's URLs: what `…SecretReference` properties refer to.

References are resolved when a task is started, so that a new version of a secret reaches the next job; they
are checked at creation, so that a mistake is told to whoever can mend it.
"""

import uuid

from openbatchai.domain import ids
from openbatchai.domain.errors import Code, ServiceError, invalid_property
from openbatchai.domain.jobs import FINISHED, ExecutionState
from openbatchai.domain.model import Json, VaultSecret
from openbatchai.domain.vaults import SecretUrl, is_secret_name, is_vault_name, parse_url, references
from openbatchai.store.unit import Unit

from .context import Context

_VAULT_NAME = "3 to 24 letters, digits and single hyphens, and begins with a letter"


def put(context: Context, vault: str, name: str, value: str) -> VaultSecret:
    """A new version of a secret. Raises 400 for a name that Key Vault would not take."""
    if not is_vault_name(vault):
        raise invalid_property(
            "vault",
            f"'{vault}' cannot be the name of a key vault: that has {_VAULT_NAME}.",
        )
    if not is_secret_name(name):
        raise invalid_property("name", f"'{name}' is not the name of a secret.")
    secret = VaultSecret(
        0, uuid.uuid4().hex, ids.fold(vault), ids.fold(name), context.clock.now(), secrets={"value": value}
    )
    return context.store.write(lambda unit: unit.vault_secrets.add(secret))


def listing(context: Context) -> list[VaultSecret]:
    """All versions, by vault and name, the newest first."""
    with context.store.read() as unit:
        found = unit.vault_secrets.list(order=unit.vault_secrets.table.c.id.desc())
    return sorted(found, key=lambda secret: (secret.vault, secret.name))


def delete(context: Context, vault: str, name: str) -> None:
    """Remove all versions. Raises 404 when there is none, 409 while something that may still run names it."""

    def work(unit: Unit) -> None:
        where = {"vault": ids.fold(vault), "name": ids.fold(name)}
        if not unit.vault_secrets.count(**where):
            raise ServiceError(
                404, Code.RESOURCE_NOT_FOUND, f"There is no secret '{name}' in the key vault '{vault}'."
            )
        users = _users(unit, where["vault"], where["name"])
        if users:
            raise ServiceError(
                409, Code.CONFLICT, f"The secret '{name}' is still referred to by {', '.join(users)}."
            )
        unit.vault_secrets.remove(**where)

    context.store.write(work)


def _users(unit: Unit, vault: str, name: str) -> list[str]:
    def refers(spec: Json) -> bool:
        urls = (parse_url(reference.url) for reference in references(spec))
        return any(url is not None and (url.vault, url.name) == (vault, name) for url in urls)

    found = [f"cluster {row.name}" for row in unit.clusters.list() if refers(row.spec)]
    unfinished = [state for state in ExecutionState if state not in FINISHED]
    jobs = unit.jobs.list(execution_state=unfinished)
    return found + [f"job {row.name}" for row in jobs if refers(row.spec)]


def check(unit: Unit, spec: Json, path: str) -> None:
    """Raise 400 naming the first reference below `spec` (its JSON path is `path`) that leads to no secret."""
    for reference in references(spec, path):
        url = parse_url(reference.url)
        if url is None:
            raise invalid_property(
                f"{reference.path}.secretUrl",
                f"'{reference.url}' is no secret's URL: https://VAULT.vault.azure.net/secrets/NAME, where "
                f"VAULT has {_VAULT_NAME}.",
            )
        if _find(unit, url) is None:
            raise invalid_property(
                f"{reference.path}.secretUrl",
                f"The secret {reference.url} could not be read: `batchai secret set` puts it into the local "
                "secret store.",
            )


def resolved(unit: Unit, spec: Json, secrets: Json) -> Json:
    """`secrets` with the values that references in `spec` stand for; what is gone is left out."""
    found = dict(secrets)
    for reference in references(spec):
        url = parse_url(reference.url)
        secret = None if url is None else _find(unit, url)
        if secret is not None:
            found[reference.secret_path] = secret.secrets["value"]
    return found


def _find(unit: Unit, url: SecretUrl) -> VaultSecret | None:
    where = {"vault": url.vault, "name": url.name} | ({"version": url.version} if url.version else {})
    newest = unit.vault_secrets.list(order=unit.vault_secrets.table.c.id.desc(), limit=1, **where)
    return newest[0] if newest else None
