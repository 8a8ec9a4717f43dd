"""Key Vault references: the URL of a secret, and where a spec holds references (batchai-service.md 10.1).

A property `…SecretReference` stands for the secret property beside it: `accountKeySecretReference` for
`accountKey`, `valueSecretReference` for `value`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_URL = re.compile(
    r"https://([a-zA-Z](?:-?[a-zA-Z0-9]){2,23})\.vault\.azure\.net/secrets/([a-zA-Z0-9-]{1,127})"
    r"(?:/([a-zA-Z0-9]{1,64}))?/?",
    re.ASCII | re.IGNORECASE,
)
_VAULT = re.compile(r"[a-zA-Z](?:-?[a-zA-Z0-9]){2,23}", re.ASCII)
_SECRET = re.compile(r"[a-zA-Z0-9-]{1,127}", re.ASCII)
_SUFFIX = "SecretReference"


@dataclass(frozen=True)
class SecretUrl:
    """`version` is empty for the newest."""

    vault: str
    name: str
    version: str = ""


@dataclass(frozen=True)
class Reference:
    """`path` is the JSON path of the reference, `secret_path` of the property that it stands for."""

    path: str
    secret_path: str
    url: str


def parse_url(text: str) -> SecretUrl | None:
    """None for what is no secret's URL."""
    found = _URL.fullmatch(text)
    if found is None:
        return None
    return SecretUrl(found[1].lower(), found[2].lower(), (found[3] or "").lower())


def is_vault_name(name: str) -> bool:
    return _VAULT.fullmatch(name) is not None


def is_secret_name(name: str) -> bool:
    return _SECRET.fullmatch(name) is not None


def references(spec: Any, path: str = "") -> Iterator[Reference]:
    """All references below `spec`, whose own JSON path is `path`."""
    if isinstance(spec, list):
        for position, item in enumerate(spec):
            yield from references(item, f"{path}.{position}" if path else str(position))
    elif isinstance(spec, dict):
        for name, item in spec.items():
            where = f"{path}.{name}" if path else name
            if name.endswith(_SUFFIX) and isinstance(item, dict):
                yield Reference(where, where.removesuffix(_SUFFIX), item["secretUrl"])
            else:
                yield from references(item, where)
