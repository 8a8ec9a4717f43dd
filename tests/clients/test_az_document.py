"""The document of 2018 for `az`, command by command as printed, from the first to the last.

It is not part of this repository: it is looked for beside it (OPENBATCHAI_SHARED says where else).
"""

import json
import re
import shutil
import textwrap

import pytest
from harness.arm import unique
from harness.documents import SHARED, example_script
from harness.mnist import TEST, TRAIN, write_noise

from . import azure_cli_2018
from .azure_cli import AzureCli

_BLOCK = re.compile(r"^ *```(azurecli|json)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
# Cloud Shell has such a directory, and nobody else.
_CLOUD_SHELL = "cd /usr/$USER/clouddrive"
EPOCHS = 40

pytestmark = [
    pytest.mark.skipif(not list(SHARED.glob("seeds/003_*")), reason=f"it is not in {SHARED / 'seeds'}"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("wget", "unzip"))), reason="wget or unzip, which it uses, is not installed"
    ),
]


def commands_and_files(text, account):
    """In the document's order: ("run", line) for each command, ("json", text) for each block of JSON."""
    for language, block in _BLOCK.findall(text):
        filled = block.replace("<storage account name>", account).replace("<YOUR_STORAGE_ACCOUNT>", account)
        if language == "json":
            yield "json", filled
        else:
            for line in textwrap.dedent(filled).splitlines():
                if line.strip() and line != _CLOUD_SHELL:
                    yield "run", line


@pytest.mark.timeout(900)
@pytest.mark.parametrize("year", [2018, 2026])
def test_every_command(new_service, tmp_path, year):
    """With the client of the document's year, and with the last that has its commands."""
    if example_script() is None:
        pytest.skip("jobs of this Python cannot import cntk")
    [document] = SHARED.glob("seeds/003_*")
    text, account = document.read_text(), unique("az003").replace("-", "")
    service = new_service().up()
    done = service.batchai("samples", "enable", "--mnist-dir", str(write_noise(tmp_path / "mnist")))
    assert done.returncode == 0, done.stderr
    az = AzureCli(service, tmp_path / "user", azure_cli_2018.program(tmp_path) if year == 2018 else None)
    printed, samples = {}, []
    for kind, content in commands_and_files(text, account):
        if kind == "run":
            name = re.match(r"(?:az [a-z -]*?(?= -)|\w+)", content)[0]
            printed.setdefault(name, []).append(az.line(content))
        elif "$schema" in content:
            (tmp_path / "user/job.json").write_text(content)
        else:
            samples.append(json.loads(re.sub(r'"<[^"]*>"', "null", content)))
    # Every command that the document has, counted another way.
    assert (
        sum(map(len, printed.values())) == len(re.findall(r"^ *(?:az|wget|unzip) ", text, re.MULTILINE)) == 19
    )
    check(printed, samples, account)
    assert az("group exists -n batchai.quickstart") is False


def check(printed, samples, account):
    def answer(name):
        [text] = printed[name]
        return json.loads(text)

    assert answer("az group create")["properties"] == {"provisioningState": "Succeeded"}
    assert answer("az batchai workspace create")["provisioningState"] == "succeeded"
    cluster, [sample] = answer("az batchai cluster create"), samples
    # In 2018-05-01 a cluster has no tags and no location. The rest is as the document shows it.
    assert set(sample) - set(cluster) == {"location", "tags"}
    assert cluster["userAccountSettings"]["adminUserSshPublicKey"].startswith("ssh-rsa ")
    for name in ("name", "vmSize", "vmPriority", "provisioningState", "errors", "subnet"):
        assert cluster[name] == sample[name]
    assert cluster["scaleSettings"]["manual"] == sample["scaleSettings"]["manual"]
    assert answer("az storage account create")["name"] == account
    assert [json.loads(text) for text in printed["az storage share create"]] == [{"created": True}] * 2
    assert answer("az storage directory create") == answer("az storage container create") == {"created": True}
    uploaded = {entry["Blob"].rpartition("/data/")[2] for entry in answer("az storage blob upload-batch")}
    assert uploaded == {f"mnist_cntk/{which}-28x28_cntk_text.txt" for which in ("Train", "Test")}
    assert answer("az batchai experiment create")["name"] == "quickstart"
    job = answer("az batchai job create")
    assert (job["toolType"], job["schedulingPriority"], job["secrets"]) == ("cntk", "normal", None)
    mounts = job["mountVolumes"]["azureFileShares"] + job["mountVolumes"]["azureBlobFileSystems"]
    assert {mount["relativeMountPath"] for mount in mounts} == {"logs", "scripts", "data"}
    assert {mount["credentials"]["accountKey"] for mount in mounts} == {None}
    [log] = printed["az batchai job file stream"]
    assert "Training 98778 parameters in 10 parameter tensors.\n" in log
    epochs = re.findall(rf"^Finished Epoch\[(\d+) of {EPOCHS}\]: .* \* {TRAIN},", log, re.MULTILINE)
    assert epochs == [str(number) for number in range(1, EPOCHS + 1)]
    assert re.search(rf"^Final Results: Minibatch\[1-2\]: errs = \d+\.\d\d% \* {TEST}$", log, re.MULTILINE)
    models = answer("az batchai job file list")
    assert {model["name"] for model in models} == {f"ConvNet_MNIST_{i}.dnn" for i in range(EPOCHS)}
    assert all(model["contentLength"] > 390_000 for model in models)
    assert all(model["downloadUrl"].startswith(f"https://{account}.file.core.") for model in models)
    assert answer("az batchai job show") == job["jobOutputDirectoryPathSegment"]
    assert printed["az group delete"] == [""]
