"""Secrets go in and never come out: not in an answer, not in a log, not in any file but those for them."""

import json

import pytest
from harness.arm import VERSIONS, Arm, Lab, cluster_properties, make_share, mount
from harness.service import Service
from harness.waiting import until

SECRETS = {
    "password of the admin": "Adm1n-of-the-nodes-5f1c",
    "secret of the setup task": "setup-task-knows-77aa",
    "secret of the job": "job-knows-93be",
    "password of the registry": "registry-knows-1d0c",
}
# What the home keeps for its owner: credentials, keys, and what endpoint.json repeats of them.
KEEPERS = ("credentials.json", "endpoint.json")


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """A service whose clients used every kind of secret, and all answers it gave."""
    service = Service(tmp_path_factory.mktemp("secrets") / "home").up()
    arm = Arm(service)
    lab = Lab(arm, nodes=0)
    use(lab)
    for version in VERSIONS[:2]:
        use_flat(arm, version)
    listings = [f"{lab.workspace}/clusters", f"{lab.experiment}/jobs", f"{arm.subscription}/resourcegroups"]
    for path in listings:
        arm.get(path)
    yield service, arm
    service.discard()


def use(lab):
    """Every place that takes a secret, in the newest version."""
    secret = {"name": "HIDDEN"}
    path = lab.new_cluster(
        "secretive",
        nodeSetup={
            "mountVolumes": mount(lab.arm.service, lab.share),
            "setupTask": {
                "commandLine": "true",
                "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
                "secrets": [{**secret, "value": SECRETS["secret of the setup task"]}],
            },
        },
        userAccountSettings={"adminUserName": "a", "adminUserPassword": SECRETS["password of the admin"]},
    )
    registry = {
        "image": "nowhere.invalid/x",
        "credentials": {"username": "u", "password": SECRETS["password of the registry"]},
    }
    hidden = [{**secret, "value": SECRETS["secret of the job"]}]
    job = lab.submit(
        'test -n "$HIDDEN"',
        cluster={"id": path},
        secrets=hidden,
        mountVolumes=mount(lab.arm.service, lab.share),
    )
    assert lab.finished(job)["executionState"] == "succeeded"
    failing = lab.submit(
        "true",
        cluster={"id": path},
        secrets=hidden,
        containerSettings={"imageSourceRegistry": registry},
    )
    assert lab.finished(failing)["executionState"] == "failed"
    refused = lab.job_properties("true", secrets=[{**hidden[0], "name": "not a name"}])
    assert lab.arm.ask("PUT", f"{lab.experiment}/jobs/no", {"properties": refused}).status_code == 400
    waiting = lab.submit("true", secrets=hidden, nodeCount=9)
    lab.files(job)
    lab.output(job, "execution.log")
    assert lab.state(waiting) == "queued"


def use_flat(arm, version):
    group, share = arm.group(), f"flat{version[:4]}{version[5:7]}"
    make_share(arm.service, share)
    properties = cluster_properties(arm.service, share, nodes=0)
    properties["userAccountSettings"]["adminUserPassword"] = SECRETS["password of the admin"]
    path = f"{arm.provider(group)}/clusters/c"
    arm.put(path, {"location": "eastus", "properties": properties}, version)
    arm.get(path, version)


def strings(value):
    """Every string of a JSON value, names included."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def test_no_answer_holds_one(answers):
    service, arm = answers
    used = {**SECRETS, "account key": service.key, "client secret": service.endpoint["client_secret"]}
    said = {text for answer in arm.answers for text in strings(answer)}
    assert len(arm.answers) > 20
    assert [name for name, secret in used.items() if any(secret in text for text in said)] == []
    # The names stay: a reader sees that there is a secret.
    assert "HIDDEN" in said


def test_no_file_of_the_home_holds_one(answers):
    service, _ = answers
    used = {**SECRETS, "account key": service.key, "client secret": service.endpoint["client_secret"]}

    def found():
        files = [path for path in service.home.rglob("*") if path.is_file() and not path.is_symlink()]
        held = []
        for path in files:
            if path.name in KEEPERS or not path.exists():
                continue
            content = path.read_bytes()
            held += [(name, str(path)) for name, secret in used.items() if secret.encode() in content]
        return held

    # A task's secrets are removed at its end, which may be a moment after the job's.
    until(lambda: not found(), f"an end of secrets in files: {found()}")


def test_the_files_that_keep_them_are_searched_rightly(answers):
    """The search above would find them: it does, where they belong."""
    service, _ = answers
    assert service.key in json.loads((service.home / "credentials.json").read_text()).values()
