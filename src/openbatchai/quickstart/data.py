"""Images and labels as the training script reads them: CNTK text format, one row an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

SIDE = 28
DIGITS = 10
# The names under which the 2018 sample package had them; the training script looks for these.
TRAIN_FILE = "Train-28x28_cntk_text.txt"
TEST_FILE = "Test-28x28_cntk_text.txt"


@dataclass(frozen=True)
class Images:
    """`pixels` is n x 28 x 28 in 0..255, `labels` n digits."""

    pixels: Bytes
    labels: Bytes

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """What to train on, and when the result counts as good.

    After `epochs` or more, a test error in percent below `bar` passes; one equal to it too unless `strict`.
    `threads` to train with: None leaves it to the machine.
    """

    name: str
    train: Images
    test: Images
    epochs: int
    bar: float
    strict: bool = False
    threads: int | None = None

    def judge(self, test_error: float, epochs: int) -> bool | None:
        """Whether the model passes; None when it was trained for too short to be judged."""
        if epochs < self.epochs:
            return None
        return test_error < self.bar or (test_error == self.bar and not self.strict)

    @property
    def bar_in_words(self) -> str:
        return f"{'below' if self.strict else 'at most'} {self.bar:g} %"


def to_ctf(images: Images) -> bytes:
    """Rows `|labels 0 0 1 … |features 0 12 255 …`, as Microsoft's own converter wrote them."""
    heads = _padded([f"|labels {' '.join(map(str, row))} |features" for row in np.eye(DIGITS, dtype=int)])
    numbers = _padded([f" {value}" for value in range(256)])
    count = len(images)
    rows = np.concatenate(
        [
            heads[images.labels],
            numbers[images.pixels].reshape(count, -1),
            np.full((count, 1), ord("\n"), np.uint8),
        ],
        axis=1,
    )
    # Every token was padded with NUL to one width, which made this array arithmetic: drop the padding.
    content: bytes = rows[rows != 0].tobytes()
    return content


def _padded(texts: list[str]) -> Bytes:
    width = max(map(len, texts))
    return np.array([list(text.encode().ljust(width, b"\0")) for text in texts], dtype=np.uint8)


def split(labels: Bytes, held_out: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices to train on and to test on: at random, each digit in its share of the whole."""
    order = np.random.default_rng(seed).permutation(len(labels))
    quota = _quotas(np.bincount(labels, minlength=DIGITS), held_out)
    # How many of the same digit came before it in this order.
    rank = np.empty(len(order), dtype=np.intp)
    for digit in range(DIGITS):
        mine = labels[order] == digit
        rank[mine] = np.arange(mine.sum())
    testing = rank < quota[labels[order]]
    return order[~testing], order[testing]


def _quotas(counts: NDArray[np.intp], held_out: int) -> NDArray[np.intp]:
    """Largest remainders: whole numbers that add up to `held_out`."""
    exact = counts * held_out / counts.sum()
    quotas: NDArray[np.intp] = np.floor(exact).astype(np.intp)
    missing = held_out - quotas.sum()
    quotas[np.argsort(quotas - exact, kind="stable")[:missing]] += 1
    return quotas
