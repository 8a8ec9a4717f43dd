"""Size of the core install: a fresh virtual environment with our package, bytecode included.

    python benchmarks/install.py

pip itself is not counted. Needs the package registry.
"""

import compileall
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import heading, line

ROOT = Path(__file__).parents[1]
SIZES = (("dstack", 268.0), ("Ray", 382.0), ("SkyPilot", 459.0))
COUNTS = (("Ray", 59.0), ("dstack", 89.0), ("SkyPilot", 96.0))


def size(directory: Path) -> int:
    """Bytes on disk; pip is left out, which is what installed the rest."""
    files = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.relative_to(directory).parts[0] not in _PIP)


_PIP = frozenset({"pip", "setuptools", "pkg_resources", "_distutils_hack"})


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "venv")
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        python = str(place / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(ROOT)], check=True)
        asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        done = subprocess.run(asked, check=True, capture_output=True, text=True)
        packages = Path(done.stdout.strip())
        compileall.compile_dir(packages, quiet=2)
        names = {path.name for path in packages.glob("*.dist-info")}
        count = len([name for name in names if not name.startswith(("pip-", "setuptools-"))])
        heading("Core install")
        line("size with bytecode", size(packages) / 2**20, "MiB", 100, *SIZES)
        line("distributions, ours included", count, "", 40, *COUNTS)


if __name__ == "__main__":
    main()
