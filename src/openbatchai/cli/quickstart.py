"""`batchai quickstart`: a service for as long as it takes, and a client that trains on it."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knack.util import CLIError

from openbatchai import config
from openbatchai.config import Home

from . import service
from .datasets import choose_dataset
from .signals import Signals

if TYPE_CHECKING:
    from openbatchai.quickstart.data import Dataset
    from openbatchai.quickstart.flow import Quickstart
    from openbatchai.quickstart.show import Result, Screen

_NOT_PASSED = 1


def quickstart(
    home: str | None = None,
    epochs: int | None = None,
    mnist_dir: str | None = None,
    download: bool = False,
    keep: bool = False,
) -> None:
    """Train CNTK's MNIST ConvNet through the service."""
    if epochs is not None and epochs < 1:
        raise CLIError("--epochs must be at least 1.")
    from openbatchai.quickstart.clients import INSTALL, missing

    if lacking := missing():
        raise CLIError(
            f"The quickstart needs packages that are not installed: {', '.join(lacking)}.\n"
            f"In a clone of OpenBatchAI: {INSTALL}"
        )
    # These load numpy and the Azure packages, which may only just have been found to be there.
    from openbatchai.quickstart.show import Screen

    started = time.monotonic()
    screen = Screen()
    signals = Signals()
    place = Home.named(home)
    with signals.unwinding():
        dataset = _dataset(screen, place, mnist_dir, download)
        wanted = epochs or dataset.epochs
        with _service(screen, place, signals, keep) as endpoint:
            result = _train(screen, place, endpoint, dataset, wanted, signals, keep)
    screen.closing(dataset, result, time.monotonic() - started)
    sys.exit(_NOT_PASSED if result.passed is False else 0)


def _dataset(screen: "Screen", home: Home, mnist_dir: str | None, download: bool) -> "Dataset":
    dataset = choose_dataset(home, mnist_dir, download, screen.say)
    screen.say(f"Data: {dataset.name}, {len(dataset.train):,} to train on, {len(dataset.test):,} to test on.")
    return dataset


@contextmanager
def _service(screen: "Screen", home: Home, signals: Signals, keep: bool) -> Iterator[dict[str, Any]]:
    """The running service of this home, or one for the time of the block."""
    running = config.read_endpoint(home)
    if running is not None:
        screen.say(f"Using the service that runs on {home.path}, pid {running['pid']}.")
        yield running
        return
    with ExitStack() as stack:
        with signals.held():
            with screen.step("Starting a service", f"Service started on {home.path},") as notes:
                endpoint = service.start_detached(home)
                notes.append(f"pid {endpoint['pid']}")
            stack.callback(_stop, screen, endpoint["pid"], signals)
        yield endpoint
    if keep:
        screen.say(f"`batchai up --detach --home {home.path}` brings it back, with what was kept.")


def _stop(screen: "Screen", pid: int, signals: Signals) -> None:
    with signals.held(), screen.step("Stopping the service", "Service stopped"):
        service.stop(pid)


def _train(
    screen: "Screen",
    home: Home,
    endpoint: dict[str, Any],
    dataset: "Dataset",
    epochs: int,
    signals: Signals,
    keep: bool,
) -> "Result":
    """The steps, and whatever happens their undoing."""
    import httpx
    from azure.core.exceptions import AzureError

    from openbatchai.quickstart.clients import Clients
    from openbatchai.quickstart.flow import Quickstart, QuickstartError

    clients = Clients(endpoint)
    run = Quickstart(clients)
    try:
        return _steps(screen, run, home.path / "quickstart" / run.name, dataset, epochs, keep)
    except (AzureError, httpx.HTTPError, QuickstartError, OSError) as error:
        raise CLIError(str(error)) from None
    finally:
        if keep:
            screen.say(f"Kept: resource group {run.name} and file share {run.name} of {clients.account}.")
        else:
            done = "Removed group, cluster, job and share"
            with signals.held(), screen.step("Removing what was made", done):
                left = run.undo()
            for each in left:
                screen.warn(f"Could not remove {each}")
        clients.close()


def _steps(
    screen: "Screen", run: "Quickstart", directory: Path, dataset: "Dataset", epochs: int, keep: bool
) -> "Result":
    from openbatchai.quickstart.flow import IMAGE, VM_SIZE, QuickstartError
    from openbatchai.quickstart.show import Result

    with screen.step("Creating a resource group", f"Resource group {run.name}"):
        run.create_group()
    with screen.step("Creating a file share", f"File share {run.name}"):
        run.create_share()
    with screen.step("Uploading script and data", "Training script and data uploaded,") as notes:
        notes.append(f"{run.upload(dataset) / 1e6:.1f} MB")
    with screen.step("Creating a cluster", f"Cluster of one {VM_SIZE}"):
        run.create_cluster()
    with screen.step("Waiting for its node", "Its node is idle"):
        run.wait_for_cluster()
    with screen.step("Submitting the job", f"CNTK job submitted, image {IMAGE}"):
        run.submit(epochs, dataset.threads)
    told = screen.training(run.follow(), epochs)
    if told.final is None or not told.epochs:
        raise QuickstartError("The job succeeded, but its log has no results.")
    logs, models = run.standard_files(), run.model_files()
    screen.files("Standard output and error", logs)
    screen.files("Models", models)
    if not keep:
        screen.note("These links end with the files, in a moment. --keep leaves them in place.")
    if not models:
        raise QuickstartError("The job succeeded, but left no model.")
    with screen.step("Downloading", f"Downloaded {models[-1].name} and the logs"):
        model = run.download(models[-1], directory)
        for file in logs:
            run.download(file, directory)
    return Result(
        told=told,
        final=told.final,
        passed=dataset.judge(told.final.error, epochs),
        model=model,
        logs=directory,
    )
