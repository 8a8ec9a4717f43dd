"""One wording for everything of CNTK 2.7 that this package does not have."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from .absent import ABSENT_NAMES, SHOWN_ELSEWHERE

# Modules that CNTK's show under other names; `cntk_py` is in nearly all of them.
_MODULES = {
    ("cntk", "distributed"): "cntk.train.distributed",
    ("cntk", "evaluator"): "cntk.eval.evaluator",
    ("cntk", "functions"): "cntk.ops.functions",
    ("cntk", "trainer"): "cntk.train.trainer",
    ("cntk.layers", "attention"): "cntk.layers.models.attention",
    ("cntk.logging", "core"): "cntk.core",
}


class NotAvailableError(NotImplementedError):
    """A part of CNTK 2.7 that openbatchai-cntk does not implement."""


def unavailable(what: str) -> NotAvailableError:
    return NotAvailableError(f"{what} is not available in openbatchai-cntk 0.1.0")


def module_getattr(module: str) -> Callable[[str], object]:
    """A module `__getattr__` (PEP 562) that finds what CNTK's module shows of other modules, and names what
    of CNTK 2.7 is missing; what CNTK never had gets Python's own words. Of the native module there is no
    list: anything may have been there."""
    native = module.endswith("cntk_py")

    def getattr_(name: str) -> object:
        if (module, name) in _MODULES or name == "cntk_py":
            return import_module(_MODULES.get((module, name), "cntk.cntk_py"))
        home = SHOWN_ELSEWHERE.get((module, name))
        if home is not None:
            found: object = getattr(import_module(home), name)
            return found
        if (native and not name.startswith("_")) or name in ABSENT_NAMES:
            raise AttributeError(f"{unavailable(f'{module}.{name}')}; dir({module}) lists what is")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return getattr_
