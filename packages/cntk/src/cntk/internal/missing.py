"""One wording for everything of CNTK 2.7 that this package does not have."""

from __future__ import annotations

from collections.abc import Callable


class NotAvailableError(NotImplementedError):
    """A part of CNTK 2.7 that openbatchai-cntk does not implement."""


def unavailable(what: str) -> NotAvailableError:
    return NotAvailableError(f"{what} is not available in openbatchai-cntk 0.1.0")


def module_getattr(module: str) -> Callable[[str], object]:
    """A module `__getattr__` (PEP 562) that names the missing symbol."""

    def getattr_(name: str) -> object:
        raise AttributeError(
            f"{module}.{name} is not available in openbatchai-cntk 0.1.0, which implements the part of the "
            "CNTK 2.7 API listed in its README"
        )

    return getattr_
