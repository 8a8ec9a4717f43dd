"""Files as MNIST has them."""

import gzip
import os
from pathlib import Path

TRAIN, TEST = 320, 100


def write_noise(directory: Path) -> Path:
    """Files as MNIST has them, whose images say nothing of their labels."""
    directory.mkdir()
    for which, count in (("train", TRAIN), ("t10k", TEST)):
        images = bytes((0, 0, 8, 3)) + b"".join(number.to_bytes(4, "big") for number in (count, 28, 28))
        labels = bytes((0, 0, 8, 1)) + count.to_bytes(4, "big")
        files = {
            "images-idx3": images + os.urandom(count * 784),
            "labels-idx1": labels + bytes(number % 10 for number in range(count)),
        }
        for name, content in files.items():
            (directory / f"{which}-{name}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    return directory
