"""What Python has taken away since 2018 and azure-cli 2.0.50 still asks for; its files stay as they were."""

import argparse
import collections
import collections.abc
import inspect
import time

import yaml

time.clock = time.perf_counter
for _name in ("Callable", "Iterable", "Mapping", "MutableMapping", "MutableSet", "Sequence", "Set"):
    setattr(collections, _name, getattr(collections.abc, _name))


def _getargspec(function):
    spec = inspect.getfullargspec(function)
    return spec.args, spec.varargs, spec.varkw, spec.defaults


def _add_parser(self, name, **options):
    # It registers some groups twice; until 3.11 the later one counted.
    self._name_parser_map.pop(name, None)
    return _original_add_parser(self, name, **options)


def _load(stream, Loader=yaml.SafeLoader):  # noqa: N803 - as yaml spells it
    return _original_load(stream, Loader)


inspect.getargspec = _getargspec
_original_add_parser, _original_load = argparse._SubParsersAction.add_parser, yaml.load
argparse._SubParsersAction.add_parser, yaml.load = _add_parser, _load
