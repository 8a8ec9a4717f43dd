"""Write the sample package of the 2018 documents: the training script and the data, under the old names.

`python -m openbatchai.quickstart DIRECTORY [--mnist-dir DIRECTORY]`
"""

import argparse
import sys
from pathlib import Path

from . import digits, mnist
from .data import TEST_FILE, TRAIN_FILE, to_ctf
from .script import training_script


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m openbatchai.quickstart",
        description="Write what BatchAIQuickStart.zip held: ConvNet_MNIST.py and its two data files.",
    )
    parser.add_argument("directory", type=Path, help="where to write; made when it is not there")
    parser.add_argument(
        "--mnist-dir", type=Path, help="directory with MNIST's four files; without it, the UCI digits"
    )
    options = parser.parse_args()
    try:
        dataset = digits.load() if options.mnist_dir is None else mnist.load(options.mnist_dir)
        options.directory.mkdir(parents=True, exist_ok=True)
        for name, content in {
            "ConvNet_MNIST.py": training_script().read_bytes(),
            TRAIN_FILE: to_ctf(dataset.train),
            TEST_FILE: to_ctf(dataset.test),
        }.items():
            (options.directory / name).write_bytes(content)
    except (mnist.MnistError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.directory}: ConvNet_MNIST.py, {TRAIN_FILE}, {TEST_FILE}. Data: {dataset.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
