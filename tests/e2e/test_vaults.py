"""`batchai secret`, and a job that gets what it stored."""

import json

import pytest
from harness.arm import Lab


@pytest.fixture(scope="module")
def lab(arm):
    return Lab(arm)


def batchai(service, *words, value=None):
    done = service.batchai(*words, stdin=value)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_stored_secret_reaches_the_job_and_no_answer(lab):
    service = lab.arm.service
    stored = batchai(
        service, "secret", "set", "--vault-name", "vault1", "--name", "token", value="hush-hush\n"
    )
    assert "hush-hush" not in stored
    url = json.loads(stored)["url"]
    reference = {"sourceVault": {"id": "/vaults/vault1"}, "secretUrl": url}
    job = lab.submit('printf "%s" "$TOKEN"', secrets=[{"name": "TOKEN", "valueSecretReference": reference}])
    lab.finished(job)
    assert lab.output(job) == "hush-hush"
    assert "hush-hush" not in json.dumps(lab.arm.get(job))
    listed = batchai(service, "secret", "list")
    assert [secret["name"] for secret in json.loads(listed)] == ["token"]
    assert "hush-hush" not in listed
    batchai(service, "secret", "delete", "--vault-name", "vault1", "--name", "token")
    assert json.loads(batchai(service, "secret", "list")) == []
