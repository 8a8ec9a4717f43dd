"""The data set to train on: what the user has, else what comes with the package."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from knack.util import CLIError

from openbatchai.config import Home

if TYPE_CHECKING:
    from openbatchai.quickstart.data import Dataset


def choose_dataset(
    home: Home, mnist_dir: str | None, download: bool, tell: Callable[[str], None]
) -> "Dataset":
    """MNIST from `mnist_dir`, from the home or by `download`, else the digits. `tell` hears what is fetched.

    Raises CLIError.
    """
    if mnist_dir is not None and download:
        raise CLIError("Give --mnist-dir or --download, not both.")
    # These load numpy.
    from openbatchai.quickstart import digits, mnist

    cache = home.path / "cache" / "mnist"
    try:
        if mnist_dir is not None:
            return mnist.load(Path(mnist_dir).expanduser())
        if mnist.complete(cache):
            return mnist.load(cache)
        if download:
            mnist.fetch(cache, lambda url: tell(f"Fetching {url}"))
            return mnist.load(cache)
        return digits.load()
    except (mnist.MnistError, OSError) as error:
        raise CLIError(str(error)) from None
