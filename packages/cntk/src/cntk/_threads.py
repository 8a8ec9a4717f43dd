"""Imported before PyTorch, whose OpenMP reads this once, when it is loaded."""

import os
import sys

# By default OpenMP's threads spin for milliseconds while they wait. On cores that others use as well they
# starve each other: small models take several times as long. This many turns are some 20 us, and as fast on
# an idle machine. Who has said how threads shall wait is heard.
if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
