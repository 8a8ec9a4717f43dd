"""Where convolution and pooling windows lie: CNTK's padding rule, which is neither PyTorch's nor
TensorFlow's."""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """One spatial axis: the output size and the cells to add (or, negative, to drop) at both ends."""

    out: int
    low: int
    high: int


def window(
    n: int, kernel: int, stride: int, auto: bool, low: int = 0, high: int = 0, ceil: bool = False
) -> Window:
    """Place `kernel`-wide windows on `n` cells.

    With automatic padding there are ceil(n/stride) of them, centred: an even kernel has its extra cell at the
    end.  Otherwise the explicit padding counts and a remainder at the end is dropped (or, with `ceil`,
    covered).
    """
    if auto:
        out = -(-n // stride)
        start = (n - 1 - (out - 1) * stride) // 2 - (kernel - 1) // 2
        return Window(out, -start, (out - 1) * stride + start + kernel - n)
    if kernel > n + low + high:
        raise ValueError(f"Convolution operation requires that kernel dim {kernel} <= input dim {n}.")
    room = n + low + high - kernel
    out = (-(-room // stride) if ceil else room // stride) + 1
    return Window(out, low, (out - 1) * stride + kernel - low - n)
