"""`batchai samples`: the files behind the URLs of a 2018 document.

A URL is answered while its file is there, so nothing has to be told to a service that runs.
"""

import io
import sys
import zipfile
from typing import TYPE_CHECKING, Any

from knack.util import CLIError

from openbatchai.config import Home, HomeUnusableError

from .datasets import choose_dataset

if TYPE_CHECKING:
    from openbatchai.quickstart.data import Dataset


def enable_samples(home: str | None = None, mnist_dir: str | None = None, download: bool = False) -> Any:
    """Answer the two URLs."""
    from openbatchai.http.samples import DATA, SCRIPT
    from openbatchai.http.tls import write_file

    place = Home.named(home)
    try:
        place.create()
    except HomeUnusableError as error:
        raise CLIError(str(error)) from None
    try:
        from openbatchai.quickstart.script import training_script

        script = training_script().read_bytes()
        dataset = choose_dataset(place, mnist_dir, download, _say)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise CLIError(f"{error}\nIn a clone of OpenBatchAI: {_install_line()}") from None
    _say(f"Data: {dataset.name}, {len(dataset.train):,} to train on, {len(dataset.test):,} to test on.")
    try:
        place.samples.mkdir(parents=True, exist_ok=True)
        for name, content in ((DATA.file, _packed(dataset)), (SCRIPT.file, script)):
            write_file(place.samples / name, content, 0o644)
    except OSError as error:
        raise CLIError(f"{place.samples} cannot be written: {error.strerror}") from None
    return _shown(place)


def disable_samples(home: str | None = None) -> Any:
    """Answer them no more."""
    from openbatchai.http.samples import SAMPLES

    place = Home.named(home)
    for sample in SAMPLES:
        (place.samples / sample.file).unlink(missing_ok=True)
    return _shown(place)


def show_samples(home: str | None = None) -> Any:
    """Which URL is answered."""
    return _shown(Home.named(home))


def _shown(home: Home) -> list[dict[str, Any]]:
    from openbatchai.http.samples import SAMPLES

    files = [(sample.url, home.samples / sample.file) for sample in SAMPLES]
    return [
        {"url": url, "enabled": file.is_file(), "file": str(file) if file.is_file() else None}
        for url, file in files
    ]


def _packed(dataset: "Dataset") -> bytes:
    """A zip file with the names that the documents expect, directly in it."""
    from openbatchai.quickstart.data import TEST_FILE, TRAIN_FILE, to_ctf

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(TRAIN_FILE, to_ctf(dataset.train))
        archive.writestr(TEST_FILE, to_ctf(dataset.test))
    return packed.getvalue()


def _install_line() -> str:
    from openbatchai.quickstart.clients import INSTALL

    return INSTALL


def _say(text: str) -> None:
    print(text, file=sys.stderr)
