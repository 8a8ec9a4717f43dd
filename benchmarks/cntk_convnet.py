"""Training speed of the CNTK recipe network: our `cntk` package beside a straightforward PyTorch loop.

    python benchmarks/cntk_convnet.py [--samples 6400] [--rounds 5] [--data DIR_WITH_MNIST_IDX]

Both train the network of ConvNet_MNIST (98,778 parameters, dropout 0.5, momentum SGD) at batch 64 in this
process, in turns, and the medians are compared.  Ours includes what a script pays: reading minibatches from a
MinibatchSource, Trainer.train_minibatch, loss and metric.  The peer gathers random rows of a tensor and calls
nn modules, autograd and torch.optim.SGD, as a PyTorch tutorial would.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cntk
import numpy as np
import torch

BATCH = 64


def images(folder: Path | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """MNIST rows when the files are there, else random ones of the same kind (the speed is the same)."""
    if folder is not None:
        raw = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())
        x = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)
        return x[:count], np.frombuffer(labels, np.uint8, offset=8)[:count]
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (count, 784)) * (random.random((count, 784)) < 0.2)
    return x.astype(np.uint8), random.integers(0, 10, count)


class Ours:
    def __init__(self, path: Path) -> None:
        features = cntk.input_variable((1, 28, 28))
        labels = cntk.input_variable(10)
        scaled = cntk.element_times(cntk.constant(1 / 256), features)
        with cntk.layers.default_options(activation=cntk.relu, pad=False):
            conv1 = cntk.layers.Convolution2D((5, 5), 32, pad=True)(scaled)
            pool1 = cntk.layers.MaxPooling((3, 3), (2, 2))(conv1)
            conv2 = cntk.layers.Convolution2D((3, 3), 48)(pool1)
            pool2 = cntk.layers.MaxPooling((3, 3), (2, 2))(conv2)
            conv3 = cntk.layers.Convolution2D((3, 3), 64)(pool2)
            hidden = cntk.layers.Dropout(0.5)(cntk.layers.Dense(96)(conv3))
            z = cntk.layers.Dense(10, activation=None)(hidden)
        criterion = (cntk.cross_entropy_with_softmax(z, labels), cntk.classification_error(z, labels))
        rate = cntk.learning_rate_schedule([0.001], cntk.UnitType.sample)
        momentum = cntk.momentum_as_time_constant_schedule([1024])
        self.trainer = cntk.Trainer(
            z,
            criterion,
            cntk.momentum_sgd(z.parameters, rate, momentum),
            [cntk.logging.ProgressPrinter(tag="Training")],
        )
        streams = cntk.io.StreamDefs(
            features=cntk.io.StreamDef(field="features", shape=784),
            labels=cntk.io.StreamDef(field="labels", shape=10),
        )
        self.reader = cntk.io.MinibatchSource(cntk.io.CTFDeserializer(str(path), streams))
        self.map = {features: self.reader.streams.features, labels: self.reader.streams.labels}

    def train(self, samples: int) -> None:
        for _ in range(samples // BATCH):
            self.trainer.train_minibatch(self.reader.next_minibatch(BATCH, input_map=self.map))
        self.trainer.summarize_training_progress()


class Peer:
    def __init__(self, x: np.ndarray, y: np.ndarray, device: torch.device) -> None:
        nn = torch.nn
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(32, 48, 3), nn.ReLU(),
            nn.MaxPool2d(3, 2), nn.Conv2d(48, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 96), nn.ReLU(),
            nn.Dropout(0.5), nn.Linear(96, 10),
        ).to(device)  # fmt: skip
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.064, momentum=0.94)
        self.loss = nn.CrossEntropyLoss()
        self.x = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 28, 28)
        self.y = torch.tensor(y, dtype=torch.int64)
        self.device = device

    def train(self, samples: int) -> None:
        order = torch.randperm(len(self.x))
        total = wrong = 0.0
        for start in range(0, samples - BATCH + 1, BATCH):
            rows = order[torch.arange(start, start + BATCH) % len(order)]
            x, y = self.x[rows].to(self.device) / 256, self.y[rows].to(self.device)
            self.optimizer.zero_grad()
            output = self.net(x)
            loss = self.loss(output, y)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * BATCH
            wrong += (output.argmax(1) != y).sum().item()
        print(f"(peer: loss {total / samples:.4f}, errors {wrong / samples:.2%})", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed of cntk beside a PyTorch loop.")
    parser.add_argument("--samples", type=int, default=6400, help="samples per run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turns")
    parser.add_argument("--data", type=Path, help="folder with the MNIST idx.gz files")
    options = parser.parse_args()

    x, y = images(options.data, 12800)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        with path.open("w") as file:
            for row, label in zip(x, y, strict=True):
                one_hot = " ".join("1" if i == label else "0" for i in range(10))
                file.write(f"|labels {one_hot} |features {' '.join(map(str, row))}\n")
        ours = Ours(path)
        peer = Peer(x, y, cntk.use_default_device().torch_device)
        speeds: dict[str, list[float]] = {"cntk": [], "PyTorch": []}
        for runner in (ours, peer):
            runner.train(BATCH * 10)  # reading the file, compiling the graph, warming up
        for _ in range(options.rounds):
            for name, runner in (("cntk", ours), ("PyTorch", peer)):
                start = time.perf_counter()
                runner.train(options.samples)
                speeds[name].append(options.samples / (time.perf_counter() - start))
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} CPUs, load {load:.2f}, torch {torch.__version__}, {cntk.use_default_device()}")
    for name, values in speeds.items():
        print(f"{name:8s} median {statistics.median(values):8.0f} samples/s   best {max(values):8.0f}")
    ratio = statistics.median(speeds["cntk"]) / statistics.median(speeds["PyTorch"])
    print(f"ratio of medians {ratio:.2f}")


if __name__ == "__main__":
    main()
