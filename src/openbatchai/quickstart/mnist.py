"""MNIST from a directory of its four IDX files, and how they get there."""

import gzip
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from .data import SIDE, Dataset, Images

EPOCHS = 3
BAR = 1.4

# Of the uncompressed bytes: mirrors differ in how they packed them.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
_TYPE_UINT8 = 8


class MnistError(Exception):
    """MNIST is not there, not what it should be, or cannot be fetched."""


def complete(directory: Path) -> bool:
    """Whether all four files are there."""
    return all(_find(directory, name) is not None for name in SHA256)


def load(directory: Path) -> Dataset:
    """Raises MnistError."""
    return Dataset(
        name=f"MNIST (70,000 images, from {directory})",
        train=_images(directory, "train"),
        test=_images(directory, "t10k"),
        epochs=EPOCHS,
        bar=BAR,
        strict=True,
    )


def fetch(
    directory: Path,
    tell: Callable[[str], None],
    mirrors: Sequence[str] = MIRRORS,
    digests: Mapping[str, str] = SHA256,
    trust: bool = True,
) -> None:
    """Fetch what `directory` lacks, each file checked before it gets its name. Raises MnistError.

    `digests`: SHA-256 of each file's content. `trust`: follow the user's proxy and CA variables.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with httpx.Client(follow_redirects=True, timeout=30, trust_env=trust) as client:
        for name, digest in digests.items():
            if _find(directory, name) is None:
                urls = [f"{mirror}{name}.gz" for mirror in mirrors]
                _keep(directory / f"{name}.gz", _fetch_one(client, urls, digest, tell))


def _fetch_one(client: httpx.Client, urls: Sequence[str], digest: str, tell: Callable[[str], None]) -> bytes:
    refusals = []
    for url in urls:
        tell(url)
        try:
            answer = client.get(url)
            answer.raise_for_status()
            check(_unpacked(answer.content), digest)
        except (httpx.HTTPError, MnistError) as error:
            refusals.append(f"{url}: {error or type(error).__name__}")
        else:
            return answer.content
    raise MnistError("MNIST could not be fetched:\n  " + "\n  ".join(refusals))


def check(content: bytes, digest: str) -> None:
    """Raises MnistError unless `content` is byte for byte the original file."""
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise MnistError(f"its content has SHA-256 {found}, the original {digest}")


def _keep(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.rename(path)


def _find(directory: Path, name: str) -> Path | None:
    """Some archives write `train-images.idx3-ubyte`."""
    names = (name, name.replace("-idx", ".idx"))
    candidates = (directory / f"{each}{suffix}" for each in names for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _images(directory: Path, which: str) -> Images:
    pixels = _read(directory, f"{which}-images-idx3-ubyte")
    labels = _read(directory, f"{which}-labels-idx1-ubyte")
    if pixels.shape != (len(labels), SIDE, SIDE) or labels.ndim != 1 or labels.max(initial=0) > 9:
        raise MnistError(f"{directory}: the {which} files do not hold 28 x 28 images and as many digits")
    return Images(pixels, labels)


def _read(directory: Path, name: str) -> NDArray[np.uint8]:
    path = _find(directory, name)
    if path is None:
        raise MnistError(f"{directory} has no {name} (nor {name}.gz)")
    content = path.read_bytes()
    return parse_idx(_unpacked(content) if path.suffix == ".gz" else content, str(path))


def parse_idx(content: bytes, source: str) -> NDArray[np.uint8]:
    """The array of one IDX file of bytes. Raises MnistError."""
    dimensions = content[3] if len(content) > 3 and content[:3] == bytes((0, 0, _TYPE_UINT8)) else 0
    start = 4 + 4 * dimensions
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if not dimensions or len(content) != start + int(np.prod(shape)):
        raise MnistError(f"{source} is not a complete IDX file of bytes")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise MnistError(f"not a gzip file: {error}") from None
