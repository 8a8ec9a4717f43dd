"""`up`, `status`, `down`, `env`, `run`: the service as a process, and the environment of its clients."""

import gc
import json
import logging
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, NoReturn

from knack.util import CLIError

from openbatchai import config
from openbatchai.config import Home, HomeInUseError, HomeUnusableError

from .environment import FORMATS, client_environment, remote_environment, run_with_environment

# Exit codes of `status`, after those of init scripts.
NOT_RUNNING = 3
NOT_ANSWERING = 4
_DOWN_LIMIT_S = 60.0
_HIGHEST_PORT = 65535
# Through this descriptor a detached service tells its parent that it answers, or why it cannot.
_READY_FD = "OPENBATCHAI_READY_FD"


def up(
    home: str | None = None,
    host: str = config.DEFAULT_HOST,
    port: int | None = None,
    fsync: str | None = None,
    detach: bool = False,
) -> None:
    """Start the service."""
    place = Home.named(home)
    if port is not None and not 0 < port <= _HIGHEST_PORT - len(config.LISTENERS) + 1:
        raise CLIError(f"--port must be a number from 1 to {_HIGHEST_PORT - len(config.LISTENERS) + 1}.")
    if detach:
        # With options the user asks for another service than the one that runs: that stays an error.
        asked = (host, port, fsync) != (config.DEFAULT_HOST, None, None)
        running = None if asked else config.read_endpoint(place)
        if running is not None:
            _print_endpoint(running, "already runs")
        else:
            _print_endpoint(start_detached(place, host, port, fsync))
        return
    try:
        _serve(place, host, port, fsync)
    except CLIError as error:
        _tell_parent(str(error))
        raise
    except Exception as error:
        # A detached process has no terminal: what ended it must be in the log, and said by its parent.
        logging.getLogger(__name__).exception("the service ended")
        _tell_parent(f"{type(error).__name__}: {error}")
        raise


def _serve(home: Home, host: str, port: int | None, fsync: str | None) -> None:
    """Run the service until a signal. Raises CLIError with what the user can mend."""
    try:
        home.create()
        _log_to(home.log)
        # Imported here: every other command does without the service's own modules. Nothing that imports
        # make is garbage, and looking for some meanwhile would cost a tenth of the start.
        gc.disable()
        from openbatchai.app import run as run_service
        from openbatchai.http.listeners import AddressError, PortInUseError
        from openbatchai.store.schema import NewerSchemaError

        gc.freeze()
        gc.enable()
    except HomeUnusableError as error:
        raise CLIError(str(error)) from None
    try:
        run_service(home, host, port, fsync, _tell_ready)
    except PortInUseError as error:
        raise CLIError(f"{error}; `batchai up --port N` takes four other ones, from N on") from None
    except (HomeInUseError, HomeUnusableError, NewerSchemaError, AddressError) as error:
        raise CLIError(str(error)) from None


def start_detached(
    home: Home, host: str = config.DEFAULT_HOST, port: int | None = None, fsync: str | None = None
) -> dict[str, Any]:
    """Start a service in the background; its endpoint once it answers. Raises CLIError with the reason."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "openbatchai.cli", "up", "--home", str(home.path), "--host", host]
    command += [] if port is None else ["--port", str(port)]
    command += [] if fsync is None else ["--fsync", fsync]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(writing,),
        env={**os.environ, _READY_FD: str(writing)},
        start_new_session=True,
    ) as process:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            told = pipe.read()
        if told:
            answer: dict[str, Any] = json.loads(told)
        else:
            answer = {"error": f"it ended with exit code {process.wait()}; see {home.log}"}
        # It stays behind on purpose: leaving the block must not wait for it.
        process.returncode = 0
    if "error" in answer:
        raise CLIError(f"the service did not start: {answer['error']}")
    return answer


def status(home: str | None = None) -> dict[str, Any]:
    """Where the service is."""
    place = Home.named(home)
    if place.holder() is None:
        _fail(f"No service runs on {place.path}.", NOT_RUNNING)
    endpoint = config.read_endpoint(place)
    if endpoint is None or not answers(endpoint):
        _fail(f"The service on {place.path} (pid {place.holder()}) does not answer.", NOT_ANSWERING)
    shown = ("arm", "authority", "proxy", "blob", "file", "pid", "version")
    return {"status": "running", "home": str(place.path)} | {
        name: without_login(endpoint[name]) for name in shown
    }


def answers(endpoint: dict[str, Any]) -> bool:
    """Whether the management port of this endpoint answers."""
    import httpx

    url = endpoint["arm"].replace("https:", "http:")
    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def down(home: str | None = None) -> None:
    """Stop the service and wait until it is gone."""
    place = Home.named(home)
    pid = place.holder()
    if pid is None:
        _fail(f"No service runs on {place.path}.", NOT_RUNNING)
    stop(pid)


def stop(pid: int) -> None:
    """SIGTERM, then wait for the end. Raises CLIError when it does not come."""
    try:
        # A pidfd tells of the end at once; a pid stays taken until init has collected the process.
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], _DOWN_LIMIT_S)
    except ProcessLookupError:
        return
    finally:
        os.close(process)
    if not ended:
        raise CLIError(f"the service with pid {pid} did not stop within {_DOWN_LIMIT_S:.0f} s")


def env(
    home: str | None = None, format_: str = "sh", address: str | None = None, ca_bundle: str | None = None
) -> None:
    """Print the client environment."""
    place = Home.named(home)
    endpoint = running_endpoint(place)
    if (address is None) != (ca_bundle is None):
        raise CLIError("--address and --ca-bundle go together: both are for another machine.")
    if address is not None and ca_bundle is not None:
        try:
            variables = remote_environment(endpoint, address, ca_bundle)
        except ValueError as error:
            raise CLIError(str(error)) from None
    else:
        variables = client_environment(endpoint, place.path)
    print(FORMATS[format_](variables).rstrip("\n"))


def run(words: list[str], home: str | None = None) -> None:
    """Become the command, with the client environment."""
    place = Home.named(home)
    sys.exit(run_with_environment(words, client_environment(running_endpoint(place), place.path)))


def running_endpoint(home: Home) -> dict[str, Any]:
    """The endpoint of the running service. Ends the command when none runs."""
    endpoint = config.read_endpoint(home)
    if endpoint is None:
        _fail(f"No service runs on {home.path}: start one with `batchai up --detach`.", NOT_RUNNING)
    return endpoint


def _fail(text: str, code: int) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(code)


def _tell_ready(endpoint: dict[str, Any]) -> None:
    if _READY_FD in os.environ:
        _write_ready(endpoint)
    else:
        _print_endpoint(endpoint)


def _tell_parent(reason: str) -> None:
    if _READY_FD in os.environ:
        _write_ready({"error": reason})


def _write_ready(content: dict[str, Any]) -> None:
    with os.fdopen(int(os.environ.pop(_READY_FD)), "w") as pipe:
        json.dump(content, pipe)


def without_login(value: Any) -> Any:
    """Off loopback the proxy's URL holds a secret, which is not for the screen."""
    return re.sub(r"(?<=://)[^/@]*@", "", value) if isinstance(value, str) else value


def _print_endpoint(endpoint: dict[str, Any], state: str = "is running") -> None:
    try:
        print("\n".join(_lines_of(endpoint, state)), flush=True)
    except BrokenPipeError:
        # Whoever read has read enough. What is still buffered must not fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lines_of(endpoint: dict[str, Any], state: str) -> Iterator[str]:
    yield f"OpenBatchAI {endpoint['version']} {state}, pid {endpoint['pid']}."
    for label, name in (
        ("management and tokens", "arm"),
        ("proxy for unmodified clients", "proxy"),
        ("Blob", "blob"),
        ("Files", "file"),
        ("certificates to trust", "ca_bundle"),
        ("subscription", "subscription_id"),
        ("storage account", "storage_account"),
    ):
        yield f"  {label:<30}{without_login(endpoint[name])}"
    if without_login(endpoint["proxy"]) != endpoint["proxy"]:
        yield (
            "It is open to the network, and its proxy asks for a password: `batchai env --address ADDRESS "
            "--ca-bundle FILE` prints what another machine needs."
        )
    home = Path(endpoint["ca_bundle"]).parents[1]
    option = "" if home == Home.named(None).path else f" --home {home}"
    # Only a service that has just started tells whom: the endpoint file does not hold it.
    whom = f" {_whom_jobs_run_as(endpoint)}" if "jobs_run_as" in endpoint else ""
    yield f"Credentials are in credentials.json of the home.{whom}"
    yield f'Send Azure clients here:  eval "$(batchai env{option})"   or   batchai run{option} -- COMMAND'
    yield f"Log the Azure command line in:  batchai login{option}"


def _whom_jobs_run_as(endpoint: dict[str, Any]) -> str:
    if endpoint["jobs_run_as"]:
        return f"Jobs run as {endpoint['jobs_run_as']}, who cannot read it."
    if os.geteuid() != 0:
        return "Jobs run as your user, and are as trusted as you."
    return (
        f"Jobs run as root, and are as trusted as you: {endpoint['jobs_run_as_reason']}. (See README.md, "
        '"What you trust".)'
    )


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, text, and what was given as `extra`."""

    _KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "text": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in self._KNOWN},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _log_to(path: Path) -> None:
    handler = RotatingFileHandler(path, maxBytes=10 * 1024 * 1024, backupCount=3)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
