"""The management SDK of 2018 in all of its api-versions, as a process of its own."""

import json
from pathlib import Path

import pytest
from harness.venvs import era_pins, interpreter, python_with

FLOW = Path(__file__).parent / "flow_2018.py"


@pytest.mark.timeout(600)
@pytest.mark.skipif(interpreter() is None, reason="there is no python3.11, on which its packages run")
def test_accounts_and_containers(service, tmp_path):
    (tmp_path / "values.json").write_text(json.dumps(service.endpoint))
    files = [str(tmp_path / "values.json"), str(tmp_path / "report.json")]
    environment = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    command = [str(python_with(era_pins("2.0.0"))), "-I", str(FLOW), *files]
    done = service.run(command, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "not able to find" not in done.stderr
    report = json.loads(Path(files[1]).read_text())
    for version, seen in report.items():
        name = f"era{version.replace('-', '')}"
        keys = seen.pop("keys")
        assert len(keys) == len(set(keys)) == 2
        if version >= "2017-06-01":
            assert seen.pop("skus") is True
        if version >= "2018-02-01":
            assert seen.pop("container") == ["old", "Blob", {"who": "me"}, "Unlocked", ["old"]]
        assert seen == {
            "free": True,
            "name": name,
            "state": "Succeeded",
            "tags": {"a": "b"},
            "endpoint": f"https://{name}.blob.core.windows.net/",
            "listed": True,
            "usage": ["StorageAccounts"],
        }
    assert len(report) == 5
