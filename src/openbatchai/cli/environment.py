"""`batchai env` and `batchai run`: the environment that brings unmodified clients to a running service."""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openbatchai.http.variables import proxy_variables

# An entry of the user's NO_PROXY that covers one of these would keep clients away from us.
_OURS = (
    "management.azure.com",
    "login.microsoftonline.com",
    "account.blob.core.windows.net",
    "account.file.core.windows.net",
)
# Of a home: what `az` keeps of its login.
_AZURE_DIRECTORY = "azure"
_COMMAND_NOT_FOUND = 127
_COMMAND_NOT_EXECUTABLE = 126


def client_environment(
    endpoint: Mapping[str, Any], home: Path, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables to set, from the contents of `endpoint.json`. Writes `<home>/wgetrc`, which one names.

    `environ` is the user's environment: their NO_PROXY entries and wgetrc lines are kept, and the directory
    they chose for `az`. Otherwise it gets one of its own: a login here is not to mix with one at Azure.
    """
    proxy, bundle = str(endpoint["proxy"]), str(endpoint["ca_bundle"])
    variables = proxy_variables(proxy, bundle, _users_exceptions(environ))
    # The service's own commands, too, are to mean this home.
    variables["BATCHAI_HOME"] = str(home)
    if not _has_own_azure_directory(environ):
        variables["AZURE_CONFIG_DIR"] = str(home / _AZURE_DIRECTORY)
    return {**variables, "WGETRC": str(_write_wgetrc(home / "wgetrc", bundle, environ))}


def remote_environment(endpoint: Mapping[str, Any], address: str, ca_bundle: str) -> dict[str, str]:
    """The same for another machine, which reaches this one by `address` and has `ca_bundle` as a file.

    Raises ValueError when the service listens on this machine only.
    """
    proxy = urlsplit(str(endpoint["proxy"]))
    if proxy.password is None:
        raise ValueError("The service listens on this machine only; `batchai up --host ADDRESS` opens it.")
    host = f"[{address}]" if ":" in address else address
    url = f"https://{proxy.username}:{proxy.password}@{host}:{proxy.port}"
    # The other ports are reached as they are.
    return proxy_variables(url, ca_bundle, [address])


def run_with_environment(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Become `command` with `env` added to the environment. Returns only when that is impossible."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(command[0], list(command), {**os.environ, **env})
    except FileNotFoundError:
        print(f"batchai run: {command[0]}: command not found", file=sys.stderr)
        return _COMMAND_NOT_FOUND
    except OSError as error:
        print(f"batchai run: {command[0]}: {error.strerror}", file=sys.stderr)
        return _COMMAND_NOT_EXECUTABLE


def as_shell(env: Mapping[str, str]) -> str:
    """Lines for `eval "$(batchai env)"` in any POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())


def as_dotenv(env: Mapping[str, str]) -> str:
    """Single-quoted, which docker compose and python-dotenv read without expanding escapes or variables."""
    return "".join(f"{name}='{_escape(value)}'\n" for name, value in env.items())


def as_json(env: Mapping[str, str]) -> str:

    return json.dumps(dict(env), indent=2) + "\n"


FORMATS: dict[str, Callable[[Mapping[str, str]], str]] = {
    "sh": as_shell,
    "json": as_json,
    "dotenv": as_dotenv,
}


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _has_own_azure_directory(environ: Mapping[str, str]) -> bool:
    """Whether the user chose one; a directory that came with another home's variables is none."""
    chosen, other_home = environ.get("AZURE_CONFIG_DIR"), environ.get("BATCHAI_HOME")
    return bool(chosen) and not (other_home and chosen == str(Path(other_home) / _AZURE_DIRECTORY))


def _users_exceptions(environ: Mapping[str, str]) -> list[str]:
    given = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    entries = [entry.strip() for entry in given.split(",")]
    return [entry for entry in entries if entry and not _covers_ours(entry)]


def _covers_ours(entry: str) -> bool:
    name = entry.lower().lstrip("*").lstrip(".").partition(":")[0]
    return name == "" or any(host == name or host.endswith("." + name) for host in _OURS)


def _write_wgetrc(path: Path, bundle: str, environ: Mapping[str, str]) -> Path:
    """wget reads one user file only and cannot include another, so the user's own lines are copied.

    The copy is 0600: such a file may hold passwords. wget takes the last of two settings, hence ours last.
    """
    own = Path(environ.get("WGETRC") or Path(environ.get("HOME") or "~").expanduser() / ".wgetrc")
    lines = ""
    if own != path and own.is_file():
        lines = own.read_text(errors="surrogateescape").rstrip("\n") + "\n"
    elif own == path and path.is_file():
        # Called again inside an environment that is already ours: keep what was copied then.
        return path
    content = f"{lines}ca_certificate = {bundle}\n"
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".wgetrc.")
    with os.fdopen(descriptor, "w", errors="surrogateescape") as file:
        file.write(content)
    Path(temporary).replace(path)
    return path
