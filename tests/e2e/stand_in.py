"""Plays ConvNet_MNIST.py where no cntk is installed: reads both data files, prints, writes a model file."""

import sys
from pathlib import Path

data, models = map(Path, sys.argv[1:])
for name in ("Train-28x28_cntk_text.txt", "Test-28x28_cntk_text.txt"):
    rows = [line.split("|") for line in (data / name).read_text().splitlines()]
    widths = {tuple(len(field.split()) for field in row[1:]) for row in rows}
    if widths != {(11, 785)}:
        sys.exit(f"{name} is not as it was uploaded: {widths}")
    print(f"{name}: {len(rows)} rows")
(models / "ConvNet_MNIST_0.dnn").write_bytes(bytes(range(256)))
