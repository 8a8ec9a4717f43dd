"""One service for all clients, and what a drive is told about it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.service import Service, clean_environment
from harness.venvs import interpreter, python_with

DRIVES = Path(__file__).parent / "drives"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory fetches other people's programs: not a part of the default run."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.clients)
            item.add_marker(pytest.mark.timeout(1800))


def values(service: Service, proxied: bool) -> dict[str, Any]:
    endpoint = service.endpoint
    account = service.account
    if proxied:
        urls = {name: f"https://{account}.{name}.core.windows.net" for name in ("blob", "file")}
    else:
        urls = {name: f"{endpoint[name]}/{account}" for name in ("blob", "file")}
    return {
        "proxied": proxied,
        "account": account,
        "key": service.key,
        **urls,
        "connection_string": connection_string(service),
        **{name: endpoint[name] for name in ("tenant", "client_id", "client_secret")},
    }


def connection_string(service: Service) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName={service.account};AccountKey={service.key};"
        f"BlobEndpoint={service.endpoint['blob']}/{service.account};"
        f"FileEndpoint={service.endpoint['file']}/{service.account};"
    )


def environment_with(pins: tuple[str, ...], *options: str) -> Path:
    """The interpreter of an environment with these packages; the test is skipped where there can be none."""
    if interpreter() is None:
        pytest.skip("there is no python3.11, on which its packages run")
    try:
        return python_with(pins, *options)
    except RuntimeError as error:
        pytest.skip(f"its packages cannot be installed: {str(error)[-300:]}")


@pytest.fixture
def drive(service: Service, tmp_path: Path) -> Callable[..., None]:
    """Runs a drive in the environment of its client; its words are the test's when a check fails."""

    def run(name: str, pins: tuple[str, ...], proxied: bool) -> None:
        python = environment_with(pins)
        given = tmp_path / "values.json"
        given.write_text(json.dumps(values(service, proxied)))
        command = [str(python), "-W", "ignore", str(DRIVES / f"{name}.py"), str(given)]
        if proxied:
            done = service.run(command, timeout=900)
        else:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=900, env=clean_environment()
            )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]

    return run
