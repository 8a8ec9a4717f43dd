"""The pytest plugin of a suite's run: the marks of the suites, and a line of JSON for every test's end."""

import json
import os
from pathlib import Path

import pytest

from . import test_proxy  # noqa: F401 - the suites session fixture

_REPORT = Path(os.environ["SUITE_REPORT"])
_seen = {}
_NOISE = ("RequestId:", "Time:", "Content: ")


def pytest_configure(config):
    for mark in ("live_test_only", "playback_test_only"):
        config.addinivalue_line("markers", f"{mark}: the suites' own mark")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("playback_test_only"):
            item.add_marker(pytest.mark.skip(reason="the suite skips it unless it replays a recording"))


def pytest_runtest_logreport(report):
    """The worst of a test's three phases is its outcome; written at the last one."""
    test = _seen.setdefault(
        report.nodeid, {"test": report.nodeid, "outcome": "passed", "why": "", "seconds": 0}
    )
    test["seconds"] = round(test["seconds"] + report.duration, 2)
    if report.outcome != "passed" and test["outcome"] != "failed":
        test["outcome"] = report.outcome
        test["why"] = _reason(report)
    if report.when == "teardown":
        with _REPORT.open("a") as stream:
            stream.write(json.dumps(_seen.pop(report.nodeid)) + "\n")


def pytest_collectreport(report):
    if report.failed:
        with _REPORT.open("a") as stream:
            entry = {
                "test": report.nodeid,
                "outcome": "failed",
                "why": str(report.longrepr)[-400:],
                "seconds": 0,
            }
            stream.write(json.dumps(entry) + "\n")


def _reason(report):
    if report.outcome == "skipped":
        return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return str(report.longrepr)[-600:]
    words = " ".join(line for line in crash.message.splitlines() if not line.startswith(_NOISE))
    return f"{crash.path.rpartition('/')[2]}:{crash.lineno}: {words}"[:400]
