"""One flow through workspace, experiment, cluster, job, lists, terminate and delete, with SDKs of 2018 and
of today, as processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness.service import clean_environment
from harness.venvs import era_pins, interpreter, python_with

HERE = Path(__file__).parent


@pytest.fixture
def files(service, tmp_path):
    (tmp_path / "values.json").write_text(json.dumps(service.endpoint))
    return [str(tmp_path / "values.json"), str(tmp_path / "report.json")]


def check(report):
    assert report["experiment"] == ["work", "trial", "succeeded"]
    assert report["cluster"][:2] == ["STANDARD_NC6", "dedicated"]
    assert report["cluster"][2] in ("resizing", "steady")
    assert report["one"] == ["succeeded", 0, "custom"]
    assert report["files"].pop("execution.log")
    assert report["files"] == {"stderr.txt": "", "stdout.txt": "from the script\n"}
    assert report["two"] == ["JobTerminated"]
    assert sorted(report["jobs"]) == ["one", "two"]
    assert report["clusters"] == ["nodes"]
    assert report["workspaces"] == ["work"]
    assert report["deleted"] == [404, "JobNotFound"]
    assert report["group"] is False


@pytest.mark.timeout(600)
@pytest.mark.skipif(interpreter() is None, reason="there is no python3.11, on which its packages run")
def test_sdk_2_0_0_through_the_proxy(service, files):
    python = python_with(era_pins("2.0.0"))
    command = [str(python), "-I", str(HERE / "flow_2_0_0.py"), *files]
    environment = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    done = service.run(command, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    check(json.loads(Path(files[1]).read_text()))


def test_sdk_7_0_0_through_the_proxy(service, files):
    done = service.run([sys.executable, str(HERE / "flow_7_0_0.py"), *files, "proxy"], timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(Path(files[1]).read_text())
    host = f"https://{service.account}.file.core.windows.net/flow700proxy/"
    assert [url for url in report["urls"] if not url.startswith(host)] == []
    check(report)


def test_sdk_7_0_0_with_urls_and_without_proxy(service, files):
    command = [sys.executable, str(HERE / "flow_7_0_0.py"), *files, "direct"]
    environment = {**clean_environment(), "REQUESTS_CA_BUNDLE": service.endpoint["ca_bundle"]}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(Path(files[1]).read_text())
    host = f"{service.endpoint['file']}/{service.account}/flow700direct/"
    assert host.startswith("http://127.0.0.1:")
    assert [url for url in report["urls"] if not url.startswith(host)] == []
    check(report)
