"""adlfs: pandas reads and writes abfs:// addresses, and a file system over a container."""

import sys
import uuid

import checks
import fsspec
import pandas
from azure.storage.blob import BlobServiceClient

GIVEN = checks.load()
if GIVEN["proxied"]:
    OPTIONS = {"account_name": GIVEN["account"], "account_key": GIVEN["key"]}
else:
    OPTIONS = {"connection_string": GIVEN["connection_string"]}
HOME = "c" + uuid.uuid4().hex[:12]
BlobServiceClient(GIVEN["blob"], credential=GIVEN["key"]).create_container(HOME)
FRAME = pandas.DataFrame({"step": range(50000), "loss": [1 / (n + 1) for n in range(50000)]})


def check_pandas():
    address = f"abfs://{HOME}/runs/losses.csv"
    FRAME.to_csv(address, index=False, storage_options=OPTIONS)
    back = pandas.read_csv(address, storage_options=OPTIONS)
    pandas.testing.assert_frame_equal(back, FRAME)
    FRAME.to_csv(f"abfs://{HOME}/runs/losses.csv.gz", index=False, storage_options=OPTIONS)
    assert len(pandas.read_csv(f"abfs://{HOME}/runs/losses.csv.gz", storage_options=OPTIONS)) == 50000


def check_file_system():
    files = fsspec.filesystem("abfs", **OPTIONS)
    assert HOME in files.ls("")
    for name in ("a.csv", "b.csv", "deep/c.csv", "deep/er/d.txt"):
        with files.open(f"{HOME}/data/{name}", "wb") as stream:
            stream.write(name.encode() * 1000)
    assert files.ls(HOME + "/data") == [HOME + "/data/" + n for n in ("a.csv", "b.csv", "deep")]
    assert files.glob(HOME + "/data/*.csv") == [HOME + "/data/a.csv", HOME + "/data/b.csv"]
    assert files.glob(HOME + "/data/**/*.csv")[-1] == HOME + "/data/deep/c.csv"
    assert sorted(files.find(HOME + "/data/deep")) == [
        HOME + "/data/deep/c.csv",
        HOME + "/data/deep/er/d.txt",
    ]
    info = files.info(HOME + "/data/a.csv")
    assert (info["size"], info["type"]) == (5000, "file")
    assert files.isdir(HOME + "/data")
    assert files.exists(HOME + "/data/a.csv")
    assert files.cat_file(HOME + "/data/a.csv", start=3, end=8) == b"sva.c"
    with files.open(HOME + "/data/a.csv", "rb") as stream:
        stream.seek(-5, 2)
        assert stream.read() == b"a.csv"
    files.cp_file(HOME + "/data/a.csv", HOME + "/data/copy.csv")
    assert files.cat(HOME + "/data/copy.csv") == b"a.csv" * 1000
    files.mv(HOME + "/data/copy.csv", HOME + "/data/moved.csv")
    assert not files.exists(HOME + "/data/copy.csv")
    files.rm(HOME + "/data", recursive=True)
    assert not files.exists(HOME + "/data/a.csv")


def check_large_writes():
    files = fsspec.filesystem("abfs", **OPTIONS)
    block = bytes(range(256)) * 4096
    with files.open(HOME + "/large.bin", "wb", block_size=len(block)) as stream:
        for _ in range(9):
            stream.write(block)
    assert files.info(HOME + "/large.bin")["size"] == 9 * len(block)
    assert (
        files.cat_file(HOME + "/large.bin", start=len(block) - 2, end=len(block) + 2) == b"\xfe\xff\x00\x01"
    )


if __name__ == "__main__":
    checks.drive(sys.modules[__name__])
