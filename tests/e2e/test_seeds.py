"""The documents of 2017 and 2018, run as printed with the packages of their time.

They are not part of this repository: they are looked for beside it (OPENBATCHAI_SHARED says where else).
"""

import json
import random
import re
import sys
from pathlib import Path

import pytest
from harness.documents import SHARED, example_script
from harness.service import Service
from harness.venvs import era_pins, interpreter, python_with

DRIVER = Path(__file__).with_name("seed_driver.py")
# 003 is the document of the command line. 000 and 001 use what only 0.2.0 has.
RUNS = [
    *(("0.2.0", number) for number in ("000", "001", "002", "004")),
    *(("1.0.0", number) for number in ("002", "004")),
]
TRAIN_ROWS, TEST_ROWS = 32, 16
# With these a job trains for real, 40 epochs; with the others it is played, which takes no time.
TRAINED = [("0.2.0", "000"), ("1.0.0", "004")]

pytestmark = [
    pytest.mark.skipif(
        not (SHARED / "seeds").is_dir(), reason=f"the documents are not in {SHARED / 'seeds'}"
    ),
    pytest.mark.skipif(interpreter() is None, reason="there is no python3.11, on which their packages run"),
]


@pytest.fixture(scope="module")
def script():
    return example_script()


@pytest.fixture(scope="module")
def own_service(tmp_path_factory, script):
    # With cntk installed the image is mapped by default, and nothing is configured.
    settings = {} if script else {"images": {"microsoft/cntk:*": sys.executable}}
    service = Service(tmp_path_factory.mktemp("seeds") / "home", settings).up()
    yield service
    service.discard()


@pytest.fixture
def directory(tmp_path):
    """Where the document is run, with its data."""
    chance = random.Random(1)
    for name, rows in (("Train", TRAIN_ROWS), ("Test", TEST_ROWS)):
        lines = [row(i % 10, chance) for i in range(rows)]
        (tmp_path / f"{name}-28x28_cntk_text.txt").write_text("".join(lines))
    return tmp_path


def row(label, chance):
    """A bright stripe on noise, at a height that tells the label, in CNTK's text format."""
    pixels = [chance.randrange(30) + (220 if i // 28 // 3 == label else 0) for i in range(784)]
    one_hot = " ".join("1" if i == label else "0" for i in range(10))
    return f"|labels {one_hot} |features {' '.join(map(str, pixels))}\n"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("batchai", "number"), RUNS, ids=lambda value: value)
def test_document(own_service, directory, script, batchai, number):
    python = python_with(era_pins(batchai))
    trained = script is not None and (batchai, number) in TRAINED
    source = script if trained else Path(__file__).with_name("stand_in.py")
    (directory / "ConvNet_MNIST.py").write_bytes(source.read_bytes())
    [document] = (SHARED / "seeds").glob(f"{number}_*.txt")
    values, report_file = directory / "values.json", directory / "report.json"
    values.write_text(json.dumps(credentials(own_service.endpoint)))
    command = [str(python), "-I", str(DRIVER), str(document), str(values), str(report_file)]
    environment = {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    done = own_service.run(command, cwd=directory, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr
    report = json.loads(report_file.read_text())
    check(report, document.read_text(), trained, own_service)
    forget_share(own_service)


def credentials(endpoint):
    """Values for the placeholders, under the names that the documents give them."""
    return {
        "client_id": endpoint["client_id"],
        "aad_client_id": endpoint["client_id"],
        "secret": endpoint["client_secret"],
        "aad_secret": endpoint["client_secret"],
        "token_uri": endpoint["token_uri"],
        "aad_tenant": endpoint["tenant"],
        "subscription_id": endpoint["subscription_id"],
        "storage_account_name": endpoint["storage_account"],
        "storage_account_key": endpoint["storage_key"],
        "admin_user_name": "demouser",
        "admin_user_password": "Dem0Pa$$w0rd",
    }


def check(report, text, trained, service):
    # Every block that the document has, counted another way than the driver does.
    assert report["blocks"] == text.count("```Python") >= 12
    printed = "".join(report["printed"])
    assert re.search(
        r"Cluster state: AllocationState\.(steady|resizing) Target: 1; Allocated: [01];", printed
    )
    assert re.search("Job state: (queued|running|succeeded) ", printed)
    assert report["job"]["state"] == "succeeded", report
    assert report["job"]["info"]["exit_code"] == 0
    files = report["files"]
    assert {file["status"] for file in files.values()} == {200}
    host = f"https://{service.account}.file.core.windows.net/batchaiquickstart/"
    assert [file["url"] for file in files.values() if not file["url"].startswith(host)] == []
    assert {"stdout.txt", "stderr.txt"} <= set(files)
    models = {name: file["content"] for name, file in files.items() if name.endswith(".dnn")}
    if trained:
        assert "Finished Epoch[40 of 40]: [Training]" in files["stderr.txt"]["content"]
        assert f"* {TEST_ROWS}" in files["stderr.txt"]["content"]
        assert all(content for content in models.values())
    else:
        assert f"{TRAIN_ROWS} rows" in files["stdout.txt"]["content"]
        assert set(models.values()) <= {bytes(range(256)).decode("latin-1")}
    if 'outputdirectoryid="MODEL"' in text:
        assert models
    assert report["group_deleted"] == ("resource_groups.delete" in text)


def forget_share(service):
    """The documents leave their files; the next one's job has the same name and, in 2017, directory."""
    from azure.storage.fileshare import ShareServiceClient

    url = f"{service.endpoint['file']}/{service.account}"
    with ShareServiceClient(url, credential=service.key) as client:
        client.get_share_client("batchaiquickstart").delete_share()
