"""Material beside the repository: the documents of 2017 and 2018 and what their jobs run."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("OPENBATCHAI_SHARED") or ROOT.parent / "shared")


def example_script() -> Path | None:
    """The script of our cntk package when jobs of this interpreter can import it, else None.

    Asked of an isolated interpreter: a job sees what is installed, not this process's PYTHONPATH.
    """
    ask = "import cntk, pathlib; print(pathlib.Path(cntk.__file__).parent / 'examples' / 'convnet_mnist.py')"
    done = subprocess.run([sys.executable, "-I", "-c", ask], capture_output=True, text=True)
    script = Path(done.stdout.strip())
    return script if done.returncode == 0 and script.is_file() else None
