"""Which container images stand for an environment of this machine, and how their paths translate.

The retired CNTK images cannot be pulled any more; what they held is the `cntk` package beside us
(DESIGN.md section 4, "Containers").
"""

import fnmatch
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from openbatchai.domain.ports import Container

RETIRED_CNTK = ("microsoft/cntk", "microsoft/cntk:*", "mcr.microsoft.com/cntk*", "mcr.microsoft.com/*/cntk*")
INSTALL_CNTK = 'pip install "openbatchai[cntk]"'
_HUBS = ("", "docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")

# Programs of the conda environments in the retired images; PATH finds those of the mapped environment.
_RETIRED_PROGRAM = re.compile(
    r"/root/anaconda3/(?:envs/[\w.-]+/)?bin/(?=(?:python|pip|cntk|mpirun|mpiexec)[\d.]*(?![\w/.-]))"
)
# Scripts that put those environments on PATH: nothing is left to do for them.
_RETIRED_ACTIVATION = re.compile(r"/cntk/activate-cntk(?![\w/.-])|/root/anaconda3/bin/activate(?![\w/.-])")


class ImageUnavailableError(Exception):
    """An image is mapped, but not to anything usable; the text tells the user what to do."""


@dataclass(frozen=True)
class ImageCatalogue:
    """`images` are patterns of image names to interpreters, asked before the built-in ones."""

    images: Mapping[str, str]
    has_cntk: Callable[[], bool]

    def interpreter_for(self, container: Container) -> Path | None:
        """The interpreter an image maps to, None when it maps to none. Raises ImageUnavailableError."""
        names = _names(container)
        for pattern, python in self.images.items():
            if any(fnmatch.fnmatchcase(name, pattern) for name in names):
                return Path(python)
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in RETIRED_CNTK):
            return None
        if not self.has_cntk():
            raise ImageUnavailableError(
                f"{container.image} is retired and stands for the Python package cntk, "
                f"which is not installed beside this service. Install it with: {INSTALL_CNTK}"
            )
        return Path(sys.executable)


def cntk_is_installed() -> bool:
    """Looked for, not imported: the service needs none of it."""
    return importlib.util.find_spec("cntk") is not None


def full_name(container: Container) -> str:
    server = _server(container)
    return container.image if server in _HUBS else f"{server}/{container.image}"


def registry(container: Container) -> str:
    server = _server(container)
    return "docker.io" if server in _HUBS else server


def translated(command_line: str) -> str:
    """A command line written for a retired image, with its programs looked up on PATH instead."""
    return _RETIRED_ACTIVATION.sub("/dev/null", _RETIRED_PROGRAM.sub("", command_line))


def _server(container: Container) -> str:
    return container.server_url.partition("://")[2].strip("/") or container.server_url.strip("/")


def _names(container: Container) -> set[str]:
    """The name as written, with its registry, and without the names of Docker Hub."""
    names = {container.image, full_name(container)}
    for hub in _HUBS[1:]:
        names |= {name.removeprefix(f"{hub}/") for name in names}
    return names
