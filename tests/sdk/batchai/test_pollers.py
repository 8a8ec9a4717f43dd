"""Long-running operations end when they end: no poller of any SDK generation falls back to its default
pause of 30 seconds, before its first poll or between two (batchai-service.md section 4.2).

Nothing is timed: the clients' own sleeps are written down, and one above a second fails there (delays.py).
"""

import json
import sys
from pathlib import Path

import pytest
from harness.venvs import era_pins, interpreter, python_with

HERE = Path(__file__).parent
NESTED = {"delete experiment", "delete workspace"}
GENERIC = {"create resource", "delete resource"}
FLAT = {
    "create file server",
    "terminate job",
    "delete job",
    "delete cluster",
    "delete file server",
    "delete group",
}
# SDK 7.0.0 cannot delete a file server; its creates are pollers, too.
NEWEST = (FLAT | NESTED | {f"create {kind}" for kind in ("workspace", "experiment", "cluster", "job")}) - {
    "delete file server"
}


@pytest.fixture
def slept(service, tmp_path):
    """Run a client's script; by operation, the sleeps of its poller."""

    def run(python, script, *words):
        (tmp_path / "values.json").write_text(json.dumps(service.endpoint))
        files = [str(tmp_path / name) for name in ("values.json", "report.json")]
        environment = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
        command = [str(python), str(HERE / script), *files, *words]
        done = service.run(command, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(Path(files[1]).read_text())

    return run


@pytest.mark.timeout(600)
@pytest.mark.skipif(interpreter() is None, reason="there is no python3.11, on which their packages run")
@pytest.mark.parametrize("version", ["0.2.0", "1.0.0", "2.0.0"])
def test_pollers_of_2018(slept, version):
    report = slept(python_with(era_pins(version)), "poll_legacy.py", version)
    assert set(report) == FLAT | (NESTED | GENERIC if version == "2.0.0" else set())
    # They sleep before the first poll, so every operation must have told them for how long: not at all.
    # What was answered by 200 is not polled.
    assert report.pop("create resource", []) == []
    assert {name for name, pauses in report.items() if pauses[:1] != [0]} == set()
    assert max(pause for pauses in report.values() for pause in pauses) <= 1


@pytest.mark.parametrize("form", ["sync", "aio"])
def test_pollers_of_today(slept, form):
    report = slept(sys.executable, "poll_newest.py", form)
    assert set(report) == NEWEST
    # They poll first and sleep between polls, by what the last answer said.
    assert {pause for pauses in report.values() for pause in pauses} <= {0, 1}
