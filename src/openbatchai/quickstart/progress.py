"""What the lines of a CNTK training log say."""

import re
from dataclasses import dataclass

_EPOCH = re.compile(
    r"Finished Epoch\[(?P<number>\d+)(?: of \d+)?\]: (?:\[.*?\] )?"
    r"loss = (?P<loss>\S+) \* (?P<samples>\d+), "
    r"metric = (?P<error>[\d.]+)% \* \d+ (?P<seconds>[\d.]+)s"
)
_FINAL = re.compile(r"Final Results: .*errs = (?P<error>[\d.]+)% \* (?P<samples>\d+)")


@dataclass(frozen=True)
class Epoch:
    """One epoch: its mean loss and error in percent over `samples`, and how long it took."""

    number: int
    loss: float
    error: float
    samples: int
    seconds: float


@dataclass(frozen=True)
class Final:
    """The test at the end: error in percent over `samples`."""

    error: float
    samples: int


def parse(line: str) -> Epoch | Final | None:
    """What a line of the log tells, None when it is neither."""
    if found := _EPOCH.search(line):
        return Epoch(
            number=int(found["number"]),
            loss=float(found["loss"]),
            error=float(found["error"]),
            samples=int(found["samples"]),
            seconds=float(found["seconds"]),
        )
    if found := _FINAL.search(line):
        return Final(error=float(found["error"]), samples=int(found["samples"]))
    return None


class Lines:
    """Bytes as they arrive, cut into lines."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, content: bytes) -> list[str]:
        """The lines that are complete now."""
        *lines, self._pending = (self._pending + content).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def rest(self) -> list[str]:
        """What came after the last line end."""
        return self.feed(b"\n") if self._pending else []
