"""Training speed, memory and import time of the `cntk` package beside PyTorch, on the MNIST recipe's network.

    python benchmarks/cntk.py [--samples 6400] [--rounds 5] [--data DIR_WITH_MNIST_IDX] [--threads N]

Four ways to train the network of ConvNet_MNIST (98,778 parameters, dropout 0.5, momentum SGD, float32) at
batch 64, in this process and in turns; medians and bests are printed, in samples per second and per
CPU-second (the latter hardly moves when other programs use the machine):

  package   the recipe as a script writes it: MinibatchSource, Trainer.train_minibatch, loss and metric
  eager     a straightforward PyTorch loop: nn modules, autograd, torch.optim.SGD, loss read every step
  best      a PyTorch loop with every rewrite that keeps the numbers: channels-last, ReLU behind the
            max-pooling, fused update, sums left on the device
  ceiling   the time of the multiplications alone: 14.4 MFLOP per sample at the speed of a large sgemm

An LSTM tagger on sparse words is measured beside torch.nn in the same way.

Memory is the peak of a process that trains with the package from the text file; the import time is that of
`import cntk` on top of `import torch`, both measured in processes of their own.
"""

from __future__ import annotations

import argparse
import gzip
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

BATCH = 64
MFLOP = 14.4  # per sample: forward 5.2, weight gradients 5.2, input gradients without the first layer 4.0
CNTK_MEMORY = 702  # MB, of CNTK 2.7 in this training


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


def write_text(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    numbers = [str(value) for value in range(256)]
    one_hot = [" ".join("1" if i == label else "0" for i in range(10)) for label in range(10)]
    with path.open("w") as file:
        for row, label in zip(x, y, strict=True):
            file.write(f"|labels {one_hot[label]} |features {' '.join(numbers[v] for v in row)}\n")


class Package:
    def __init__(self, path: Path) -> None:
        import cntk

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


class Eager:
    """As a PyTorch tutorial would."""

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


class Best:
    """Everything that makes PyTorch faster and keeps the numbers."""

    def __init__(self, x: np.ndarray, y: np.ndarray, device: torch.device) -> None:
        nn = torch.nn
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 5, padding=2), nn.MaxPool2d(3, 2), nn.ReLU(inplace=True), nn.Conv2d(32, 48, 3),
            nn.MaxPool2d(3, 2), nn.ReLU(inplace=True), nn.Conv2d(48, 64, 3), nn.ReLU(inplace=True),
            nn.Flatten(), nn.Linear(576, 96), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(96, 10),
        ).to(device, memory_format=torch.channels_last)  # fmt: skip
        self.parameters = list(self.net.parameters())
        self.velocity = [torch.zeros_like(p) for p in self.parameters]
        self.x = torch.tensor(x / np.float32(256), dtype=torch.float32).reshape(-1, 1, 28, 28).to(device)
        self.y = torch.tensor(y, dtype=torch.int64).to(device)

    def train(self, samples: int) -> None:
        order = torch.randperm(len(self.x), device=self.x.device)
        total = torch.zeros((), device=self.x.device)
        wrong = torch.zeros((), dtype=torch.int64, device=self.x.device)
        for start in range(0, samples - BATCH + 1, BATCH):
            rows = order[torch.arange(start, start + BATCH, device=order.device) % len(order)]
            x, y = self.x.index_select(0, rows), self.y.index_select(0, rows)
            output = self.net(x.contiguous(memory_format=torch.channels_last))
            loss = torch.nn.functional.cross_entropy(output, y)
            gradients = torch.autograd.grad(loss, self.parameters)
            with torch.no_grad():
                torch._foreach_mul_(self.velocity, 0.94)
                torch._foreach_add_(self.velocity, gradients)
                torch._foreach_add_(self.parameters, self.velocity, alpha=-0.064)
                total += loss.detach()
                wrong += (output.argmax(1) != y).sum()
        total.item()


class Ceiling:
    """A product of large matrices with as many multiplications as the training has."""

    def __init__(self, device: torch.device) -> None:
        self.a = torch.randn(1024, 1024, device=device)
        self.b = torch.randn(1024, 1024, device=device)

    def train(self, samples: int) -> None:
        for _ in range(max(round(samples * MFLOP / (2 * 1024**3 / 1e6)), 1)):
            result = self.a @ self.b
        float(result[0, 0])


_MEMORY = """
import importlib.util, resource, sys
spec = importlib.util.spec_from_file_location("bench", {file!r})
bench = importlib.util.module_from_spec(spec); sys.modules["bench"] = bench; spec.loader.exec_module(bench)
from pathlib import Path
bench.Package(Path({path!r})).train(6400)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)
"""


def _other(code: str) -> str:
    environment = {**os.environ, "OPENBATCHAI_CNTK_CACHE": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip().splitlines()[-1]


def import_time() -> float:
    """Seconds of CPU time that `import cntk` takes on top of `import torch`, the best of three."""
    code = (
        "import time, torch; s = time.process_time(); import cntk; "
        "cntk.Trainer; print(time.process_time() - s)"
    )
    return min(float(_other(code)) for _ in range(3))


def tagger(rounds: int) -> float:
    """Tokens per CPU-second of a word tagger (943 words, embedding 150, LSTM 300, 129 tags), over those of
    the same with torch.nn: 16 sentences of 8 to 24 words at a time, plain SGD.  The median of the rounds."""
    import cntk as C  # noqa: N812  (the name that scripts give it)
    from scipy.sparse import csr_matrix

    words, tags, longest = 943, 129, 24
    rng = np.random.default_rng(0)
    sizes = rng.integers(8, longest + 1, 16)
    sentences = [(rng.integers(0, words, n), rng.integers(0, tags, n)) for n in sizes]

    def sparse(rows: np.ndarray, width: int) -> csr_matrix:
        return csr_matrix((np.ones(len(rows), np.float32), (np.arange(len(rows)), rows)), (len(rows), width))

    x = C.sequence.input_variable(words, is_sparse=True)
    y = C.sequence.input_variable(tags, is_sparse=True)
    layers = [C.layers.Embedding(150), C.layers.Recurrence(C.layers.LSTM(300)), C.layers.Dense(tags)]
    z = C.layers.Sequential(layers)(x)
    trainer = C.Trainer(z, (C.cross_entropy_with_softmax(z, y), None), C.sgd(z.parameters, 0.001))
    batch = {
        x: [sparse(w, words) for w, _ in sentences],
        y: [sparse(t, tags) for _, t in sentences],
    }
    net = torch.nn.ModuleList(
        [
            torch.nn.Embedding(words, 150),
            torch.nn.LSTM(150, 300, batch_first=True),
            torch.nn.Linear(300, tags),
        ]
    )
    device = C.use_default_device().torch_device
    net.to(device)
    optimizer = torch.optim.SGD(net.parameters(), 0.001)
    pad = torch.nn.utils.rnn.pad_sequence
    numbers = pad([torch.from_numpy(w) for w, _ in sentences], batch_first=True).to(device)
    wanted = pad([torch.from_numpy(t) for _, t in sentences], True, -100).to(device)

    def plain() -> None:
        optimizer.zero_grad()
        scores = net[2](net[1](net[0](numbers))[0])
        torch.nn.functional.cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction="sum").backward()
        optimizer.step()

    def ours() -> None:
        trainer.train_minibatch(batch)

    ratios = []
    for _ in range(rounds):
        spent = []
        for run in (ours, plain):
            run()
            begun = time.process_time()
            for _ in range(10):
                run()
            spent.append(time.process_time() - begun)
        ratios.append(spent[1] / spent[0])
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed, memory and import time of cntk beside PyTorch.")
    parser.add_argument("--samples", type=int, default=6400, help="samples per run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turns")
    parser.add_argument("--threads", type=int, help="threads that PyTorch may use")
    parser.add_argument("--data", type=Path, help="folder with the MNIST idx.gz files")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    here = Path(__file__).resolve()
    # The folder of this file holds a module of the package's name.
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != here.parent]
    import cntk

    device = cntk.use_default_device().torch_device
    x, y = images(options.data, 60000 if options.data else 12800)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OPENBATCHAI_CNTK_CACHE"] = str(Path(folder) / "cache")
        path = Path(folder) / "train.txt"
        write_text(path, x, y)
        runners: dict[str, Callable[[int], None]] = {
            "package": Package(path).train,
            "eager": Eager(x, y, device).train,
            "best": Best(x, y, device).train,
            "ceiling": Ceiling(device).train,
        }
        for run in runners.values():
            run(BATCH * 10)  # reading the file, compiling the graph, warming up
        speeds: dict[str, list[float]] = {name: [] for name in runners}
        work: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(options.rounds):
            for name, run in runners.items():
                wall, cpu = time.perf_counter(), time.process_time()
                run(options.samples)
                speeds[name].append(options.samples / (time.perf_counter() - wall))
                work[name].append(options.samples / max(time.process_time() - cpu, 1e-9))
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
        memory = int(_other(_MEMORY.format(file=str(here), path=str(path))))
    print(
        f"{os.cpu_count()} CPUs, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.2f}, "
        f"torch {torch.__version__}, {cntk.use_default_device()}, batch {BATCH}"
    )
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    per_cpu = {name: statistics.median(values) for name, values in work.items()}
    for name, values in speeds.items():
        print(
            f"{name:8s} median {medians[name]:8.0f} samples/s   best {max(values):8.0f}   "
            f"per CPU-second {per_cpu[name]:8.0f}"
        )
    for other, bar in (("eager", "1.8"), ("best", "0.85"), ("ceiling", "-")):
        print(
            f"package / {other:8s} {medians['package'] / medians[other]:.2f}   "
            f"of bests {max(speeds['package']) / max(speeds[other]):.2f}   "
            f"per CPU-second {per_cpu['package'] / per_cpu[other]:.2f}   (bar {bar})"
        )
    print(f"peak memory of a training from the text file: {memory} MB (CNTK 2.7: {CNTK_MEMORY}; here {own})")
    print(f"LSTM tagger: {tagger(options.rounds):.2f} of the tokens per CPU-second of torch.nn")
    print(f"import cntk on top of torch: {import_time():.2f} s of CPU (bar 0.4)")


if __name__ == "__main__":
    main()
