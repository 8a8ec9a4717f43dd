"""Which Azure host names are ours to answer (shared/reference/clients.md section 1)."""

from typing import Literal

HostKind = Literal["arm", "aad", "blob", "file", "unserved"]

ARM_HOST = "management.azure.com"
AAD_HOST = "login.microsoftonline.com"

_HOSTS: dict[str, HostKind] = {
    ARM_HOST: "arm",
    AAD_HOST: "aad",
    "login.windows.net": "aad",
    "login.microsoft.com": "aad",
    "sts.windows.net": "aad",
}
_SUFFIXES: dict[str, HostKind] = {
    ".blob.core.windows.net": "blob",
    ".file.core.windows.net": "file",
    # Refused here: let through, requests signed with an account's key would reach whoever has that name.
    ".queue.core.windows.net": "unserved",
    ".table.core.windows.net": "unserved",
    ".dfs.core.windows.net": "unserved",
}


def azure_host_kind(host: str) -> HostKind | None:
    """The service a host name (no port, any case) belongs to; None for every host that is not ours."""
    name = normal_host(host)
    account, dot, rest = name.partition(".")
    return _HOSTS.get(name) or (_SUFFIXES.get(dot + rest) if account else None)


def certificate_name(host: str) -> str:
    """The name to certify for `host`: one wildcard serves all accounts of a storage service."""
    name = normal_host(host)
    _, dot, rest = name.partition(".")
    return f"*{dot}{rest}" if dot + rest in _SUFFIXES else name


def normal_host(host: str) -> str:
    """The one spelling of a host name."""
    return host.lower().removesuffix(".")
