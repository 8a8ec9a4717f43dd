"""What is in `examples/`, as its first lines say to run it."""

import re
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_sweep_finds_the_best(service):
    done = service.run([sys.executable, str(EXAMPLES / "sweep.py")], timeout=200)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\S+) +\{'RATE': (\S+), 'MOMENTUM': (\S+)\}$", done.stdout, re.MULTILINE)
    assert len(rows) == 6
    losses = [float(loss) for loss, _, _ in rows]
    assert losses == sorted(losses)
    # A step of half the parabola's slope leads to its lowest point at once.
    assert rows[0] == ("0", "0.5", "0.0")
