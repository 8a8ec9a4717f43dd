"""`secret`: the local store behind Key Vault's URLs."""

import sys
from pathlib import Path
from typing import Any

from knack.util import CLIError

from .management import ask

_ROOT = "/providers/OpenBatchAI"


def set_secret(vault_name: str, name: str, file: str | None = None, home: str | None = None) -> Any:
    """Store a new version of a secret; its value comes from a file or standard input."""
    try:
        value = sys.stdin.read() if file in (None, "-") else Path(str(file)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CLIError(f"The value cannot be read: {error}") from None
    return ask(home, "PUT", _path(vault_name, name), {"value": value.removesuffix("\n")})


def list_secrets(home: str | None = None) -> Any:
    """The secrets, without their values."""
    return ask(home, "GET", f"{_ROOT}/secrets")["value"]


def delete_secret(vault_name: str, name: str, home: str | None = None) -> None:
    """Remove a secret with all its versions."""
    ask(home, "DELETE", _path(vault_name, name))


def _path(vault: str, name: str) -> str:
    if "/" in vault + name:
        raise CLIError("Neither name may hold a slash.")
    return f"{_ROOT}/vaults/{vault}/secrets/{name}"
