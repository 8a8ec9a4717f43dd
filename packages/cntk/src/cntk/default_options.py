"""Scoped defaults for the optional arguments of layers (`with default_options(activation=relu): ...`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .internal.missing import module_getattr

_scopes: list[tuple[Callable[..., Any] | None, dict[str, Any]]] = []


class default_override_or:
    """The default of an argument that a scope may override."""

    def __init__(self, value: Any):
        self.value = value

    def __repr__(self) -> str:
        return f"default_override_or({self.value!r})"


def is_default_override(value: Any) -> bool:
    return isinstance(value, default_override_or)


@contextmanager
def default_options(**kwargs: Any) -> Iterator[None]:
    _scopes.append((None, kwargs))
    try:
        yield
    finally:
        _scopes.pop()


@contextmanager
def default_options_for(*fns_and_kwargs: Any, **kwargs: Any) -> Iterator[None]:
    """Like `default_options`, for the given layer functions only."""
    functions = fns_and_kwargs[0] if isinstance(fns_and_kwargs[0], (tuple, list)) else fns_and_kwargs
    _scopes.extend((function, kwargs) for function in functions)
    try:
        yield
    finally:
        del _scopes[len(_scopes) - len(functions) :]


def get_default_override(function: Callable[..., Any] | None, **name_and_value: Any) -> Any:
    """The value of one argument: what the caller passed, else the innermost scope's, else the layer's own."""
    ((name, value),) = name_and_value.items()
    if not is_default_override(value):
        return value
    for scope_function, options in reversed(_scopes):
        if (scope_function is None or scope_function is function) and name in options:
            return options[name]
    return value.value


_global: dict[str, Any] = {}


def set_global_option(name: str, value: Any) -> None:
    """Remember an option for the whole process."""
    _global[name] = value


def get_global_option(name: str, default_value: Any = None) -> Any:
    """An option of the whole process, or the default."""
    return _global.get(name, default_value)


__getattr__ = module_getattr("cntk.default_options")
