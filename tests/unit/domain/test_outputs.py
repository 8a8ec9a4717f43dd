"""Where a job's files are, on the node and in storage."""

import pytest

from openbatchai.domain.mounts import share_of_url
from openbatchai.domain.outputs import (
    FLAT_LAYOUT,
    STANDARD_LAYOUT,
    expand,
    locate,
    output_directories,
    path_variables,
    stdouterr_directory,
)
from openbatchai.domain.ports import ItemRef, StorageService


def a_share(path, name="share"):
    return {
        "accountName": "acct",
        "azureFileUrl": f"https://acct.file.core.windows.net/{name}",
        "relativeMountPath": path,
    }


JOB = {
    "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
    "inputDirectories": [{"id": "IN", "path": "${AZ_BATCHAI_MOUNT_ROOT}/afs/data"}],
    "outputDirectories": [
        {"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs", "pathSuffix": "Models"},
        {"id": "BARE", "pathPrefix": "$AZ_BATCHAI_INPUT_IN/"},
    ],
    "mountVolumes": {
        "azureBlobFileSystems": [
            {"accountName": "acct", "containerName": "logs", "relativeMountPath": "bfs"},
        ]
    },
}
SETUP = {"mountVolumes": {"azureFileShares": [a_share("afs"), a_share("afs/deep", "other")]}}


def test_layouts_of_the_versions():
    assert stdouterr_directory(JOB, "seg", STANDARD_LAYOUT) == "$AZ_BATCHAI_MOUNT_ROOT/afs/seg/stdouterr"
    assert stdouterr_directory(JOB, "seg", FLAT_LAYOUT) == "$AZ_BATCHAI_MOUNT_ROOT/afs/seg"


def test_output_directories_with_and_without_suffix_and_create_new():
    legacy = {"outputDirectories": {"BARE": {"createNew": False}}}
    assert output_directories(JOB, {}, "seg") == {
        "MODEL": ("$AZ_BATCHAI_MOUNT_ROOT/afs/seg/outputs/Models", True),
        "BARE": ("$AZ_BATCHAI_INPUT_IN/seg/outputs", True),
    }
    assert output_directories(JOB, legacy, "seg")["BARE"] == ("$AZ_BATCHAI_INPUT_IN", False)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$AZ_BATCHAI_MOUNT_ROOT/afs/x/y", ItemRef(StorageService.FILE, "acct", "share", "x/y")),
        ("$AZ_BATCHAI_MOUNT_ROOT/afs/deep/y", ItemRef(StorageService.FILE, "acct", "other", "y")),
        ("$AZ_BATCHAI_JOB_MOUNT_ROOT/bfs", ItemRef(StorageService.BLOB, "acct", "logs", "")),
        ("$AZ_BATCHAI_INPUT_IN/../z", ItemRef(StorageService.FILE, "acct", "share", "z")),
        ("$AZ_BATCHAI_MOUNT_ROOT/afsx", None),
        ("$AZ_BATCHAI_MOUNT_ROOT", None),
        ("$AZ_BATCHAI_MOUNT_ROOT/afs/../../etc", None),
        ("/tmp/x", None),
        ("./out", None),
    ],
)
def test_items_behind_paths(path, expected):
    variables = path_variables(JOB, {}, "seg", STANDARD_LAYOUT)
    assert locate(path, variables, JOB, SETUP) == expected


def test_unknown_names_expand_to_nothing_as_in_a_shell():
    assert expand("a$X/${Y}b$Z", {"Y": "1"}) == "a/1b"


@pytest.mark.parametrize(
    ("url", "share"),
    [
        ("https://acct.file.core.windows.net/share", "share"),
        ("https://acct.file.core.windows.net/share/sub", "share"),
        ("http://127.0.0.1:27183/acct/share", "share"),
    ],
)
def test_share_names_in_both_url_styles(url, share):
    assert share_of_url(url) == share
