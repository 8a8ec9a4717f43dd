"""The setting with which clusters and jobs are created as the real service did it: 202 and an operation."""

import json
import sys
from pathlib import Path

import pytest
from harness.arm import VERSIONS, Arm, cluster_properties, make_share

FLOW = Path(__file__).parents[1] / "sdk" / "batchai" / "flow_7_0_0.py"


@pytest.fixture
def recorded(new_service):
    return new_service({"recordedCreates": True}).up()


def test_creates_are_accepted_and_their_operations_are_over(recorded):
    arm = Arm(recorded)
    group = arm.group()
    make_share(recorded, "share")
    path = f"{arm.provider(group)}/clusters/cl"
    body = {"location": "eastus", "properties": cluster_properties(recorded, "share", 0)}
    answer = arm.ask("PUT", path, body, VERSIONS[1], headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.content, answer.headers["Retry-After"]) == (202, b"", "0")
    status = arm.ask("GET", answer.headers["Azure-AsyncOperation"], version=None).json()
    assert status["status"] == "Succeeded"
    subscription = recorded.endpoint["subscription_id"]
    assert status["properties"]["resourceId"] == f"{subscription}${group}$cl"
    assert arm.get(path, VERSIONS[1])["properties"]["provisioningState"] == "succeeded"


def test_the_sdk_of_today_goes_its_whole_way(recorded, tmp_path):
    (tmp_path / "values.json").write_text(json.dumps(recorded.endpoint))
    files = [str(tmp_path / "values.json"), str(tmp_path / "report.json")]
    done = recorded.run([sys.executable, str(FLOW), *files, "proxy"], timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["one"] == ["succeeded", 0, "custom"]
