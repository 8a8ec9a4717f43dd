"""A real service for all tests that do not end it, and services of their own for those that do."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.arm import Arm, Lab
from harness.service import Service

# Short, so that a test of autoscale sees a cluster shrink; no other test has an autoscale cluster.
SETTINGS = {"idleTimeoutSeconds": 1, "images": {"tests/python:*": sys.executable}}


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """Its home can be reached by other users, so that with root jobs run as one of them."""
    with tempfile.TemporaryDirectory(prefix="openbatchai-tests-") as directory:
        Path(directory).chmod(0o755)
        started = Service(Path(directory) / "home", SETTINGS)
        started.up()
        yield started
        started.discard()


@pytest.fixture(scope="session")
def arm(service: Service) -> Arm:
    return Arm(service)


@pytest.fixture(scope="module")
def lab(arm: Arm) -> Lab:
    return Lab(arm)


@pytest.fixture
def new_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes a service that the test may stop, kill or misconfigure; not started yet."""
    made: list[Service] = []

    def make(settings: dict[str, Any] | None = None) -> Service:
        made.append(Service(tmp_path / f"home{len(made)}", settings))
        return made[-1]

    yield make
    for service in made:
        service.discard()
