"""One real service: `python -m openbatchai.cli up` on a home and ports of its own."""

import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

# Below Linux' ephemeral range: while a service is down, no outgoing connection can sit on its port.
_PORTS = range(20000, 32000, 4)
_NAMES = ("arm", "proxy", "blob", "file")
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY")
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "WGETRC", "BATCHAI_HOME")


def free_ports() -> int:
    """The first of four consecutive ports on which nothing listens."""
    for first in random.sample(_PORTS, len(_PORTS)):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + len(_NAMES)):
                    listener = stack.enter_context(socket.socket())
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no four free ports")


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead a client to another service."""
    dropped = {*_PROXY_VARIABLES, *(name.lower() for name in _PROXY_VARIABLES), *_CA_VARIABLES}
    return {name: value for name, value in os.environ.items() if name not in dropped}


def ended(pid: int) -> bool:
    """Whether a process is over, collected by its parent or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Service:
    """`settings` go into the home's config.json before the first start."""

    def __init__(self, home: Path, settings: dict[str, Any] | None = None) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        ports = dict(zip(_NAMES, range(first := free_ports(), first + len(_NAMES)), strict=True))
        (home / "config.json").write_text(json.dumps({"ports": ports, **(settings or {})}))
        self.endpoint: dict[str, Any] = {}

    def batchai(
        self, *words: str, timeout: float = 120, env: dict[str, str] | None = None, stdin: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """One `batchai` command on this home."""
        command = [sys.executable, "-m", "openbatchai.cli", *words]
        environment = {**clean_environment(), "BATCHAI_HOME": str(self.home), **(env or {})}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment, input=stdin
        )

    def up(self) -> "Service":
        done = self.batchai("up", "--detach")
        assert done.returncode == 0, done.stderr
        return self.read_endpoint()

    def read_endpoint(self) -> "Service":
        self.endpoint = json.loads((self.home / "endpoint.json").read_text())
        return self

    def run(self, command: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        """A client's process, as `batchai run` starts it."""
        words = [sys.executable, "-m", "openbatchai.cli", "run", "--home", str(self.home), "--", *command]
        environment = {**clean_environment(), **options.pop("env", {})}
        return subprocess.run(words, capture_output=True, text=True, env=environment, **options)

    def down(self) -> None:
        if self.running():
            done = self.batchai("down")
            assert done.returncode == 0, done.stderr

    def running(self) -> bool:
        return bool(self.endpoint) and not ended(self.endpoint["pid"])

    def kill(self) -> None:
        """kill -9 of the service alone; what it started is untouched."""
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        """Send a signal and wait until the process is gone."""
        process = os.pidfd_open(self.endpoint["pid"])
        signal.pidfd_send_signal(process, number)
        over, _, _ = select.select([process], [], [], 60)
        os.close(process)
        assert over, f"signal {number} did not end the service"

    def discard(self) -> None:
        """Stop the service and whatever its jobs left running: nothing of a test outlives it."""
        self.down()
        for process in psutil.process_iter(["environ"]):
            with contextlib.suppress(psutil.Error):
                if str(self.home) in (process.info["environ"] or {}).get("HOME", ""):
                    process.kill()

    @property
    def log(self) -> str:
        return (self.home / "service.log").read_text()

    @property
    def account(self) -> str:
        return str(self.endpoint["storage_account"])

    @property
    def key(self) -> str:
        return str(self.endpoint["storage_key"])

    def share(self, name: str) -> Path:
        """The directory behind a file share: shares are plain directories of the home."""
        found = [path for path in (self.home / "storage").rglob(name) if path.is_dir()]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]
