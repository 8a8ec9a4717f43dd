"""Virtual environments with the packages of an era, built once and kept in the user's cache."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

# What the seeds need on Python 3.11; without the line of azure-mgmt-batchai itself (clients.md section 2).
_ERA = (
    "msrestazure==0.4.34",
    "msrest==0.7.1",
    "adal==1.0.2",
    "azure-common==1.1.12",
    "azure-mgmt-resource==2.2.0",
    "azure-mgmt-storage==2.0.0",
    "azure-mgmt-nspkg==3.0.2",
    "azure-nspkg==3.0.2",
    "azure-storage-file==1.1.0",
    "azure-storage-blob==1.1.0",
    "azure-storage-common==1.1.0",
    "keyring==25.7.0",
    "requests==2.34.2",
    "requests-oauthlib==2.0.0",
    "oauthlib==4.0.1",
)
_VERSION = "3.11"


def era_pins(batchai: str) -> tuple[str, ...]:
    return (f"azure-mgmt-batchai=={batchai}", *_ERA)


def interpreter() -> str | None:
    """A Python of the version on which these packages are known to run, or None."""
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    return shutil.which(f"python{_VERSION}")


def cache_directory() -> Path:
    """Where environments and downloads of the tests are kept between runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openbatchai-tests"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def python_with(pins: tuple[str, ...], *options: str) -> Path:
    """The interpreter of an environment that holds `pins`; built on the first call, by one process.

    `options` are pip's, such as --no-deps for pins that contradict each other.
    """
    base = interpreter()
    if base is None:
        raise LookupError(f"there is no python{_VERSION}")
    place = (
        cache_directory() / hashlib.sha256("\n".join((_VERSION, *options, *pins)).encode()).hexdigest()[:16]
    )
    with Path(f"{place}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            _build(base, place, (*options, *pins))
            (place / "complete").touch()
    return place / "bin" / "python"


def _build(base: str, place: Path, words: tuple[str, ...]) -> None:
    subprocess.run([base, "-m", "venv", str(place)], check=True)
    install = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *words]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"pip install {' '.join(words)} failed:\n{done.stderr}")
