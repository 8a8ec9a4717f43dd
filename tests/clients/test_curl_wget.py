"""curl and wget, as people use them with a link."""

import hashlib
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas
from azure.storage.fileshare import ShareClient, ShareSasPermissions, generate_share_sas
from harness.arm import unique
from harness.service import clean_environment

DATA = bytes(range(256)) * 4096
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_wget = pytest.mark.skipif(shutil.which("wget") is None, reason="wget is not installed")


def soon():
    return datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def links(service):
    """Links of a container and of a share with every right, each with the file `d/a b.bin` in it."""
    name = unique("links")
    client = BlobServiceClient(f"{service.endpoint['blob']}/{service.account}", credential=service.key)
    client.create_container(name).upload_blob("d/a b.bin", DATA)
    rights = ContainerSasPermissions(read=True, list=True, write=True, delete=True, create=True, add=True)
    tokens = {
        "blob": generate_container_sas(
            service.account, name, account_key=service.key, permission=rights, expiry=soon()
        )
    }
    share = ShareClient(f"{service.endpoint['file']}/{service.account}", name, credential=service.key)
    share.create_share()
    share.create_directory("d").upload_file("a b.bin", DATA)
    rights = ShareSasPermissions(read=True, list=True, write=True, delete=True, create=True)
    tokens["file"] = generate_share_sas(service.account, name, service.key, permission=rights, expiry=soon())

    def link(kind, path, proxied=False, more=""):
        host = f"https://{service.account}.{kind}.core.windows.net"
        base = host if proxied else f"{service.endpoint[kind]}/{service.account}"
        return f"{base}/{name}/{path}?{more}{tokens[kind]}"

    return link


@pytest.fixture
def run(service):
    def run(command, proxied, expect=0):
        if proxied:
            done = service.run(command, timeout=120)
        else:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=120, env=clean_environment()
            )
        assert done.returncode == expect, (command, done.stdout[-1000:], done.stderr[-1000:])
        return done.stdout

    return run


def head(text):
    """The last head of `curl -i`'s answer, by lower-case name; the status under `status`."""
    lines = text.replace("\r", "").split("\n\n")
    last = [part for part in lines if part.startswith("HTTP/")][-1].splitlines()
    fields = dict(line.split(": ", 1) for line in last[1:] if ": " in line)
    return {"status": last[0].split()[1], **{name.lower(): value for name, value in fields.items()}}


WAYS = pytest.mark.parametrize("proxied", [False, True], ids=["by URL", "through the proxy"])
KINDS = pytest.mark.parametrize("kind", ["blob", "file"])


@needs_curl
@KINDS
@WAYS
def test_curl_downloads(links, run, tmp_path, kind, proxied):
    url = links(kind, "d/a%20b.bin", proxied)
    out = tmp_path / "out"
    run(["curl", "-sS", "--fail", "-o", str(out), url], proxied)
    assert hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(DATA).digest()

    seen = head(run(["curl", "-sS", "-D", "-", "-o", str(out), "-r", "100-199", url], proxied))
    assert (seen["status"], seen["content-range"]) == ("206", f"bytes 100-199/{len(DATA)}")
    assert out.read_bytes() == DATA[100:200]

    seen = head(run(["curl", "-sS", "-I", url], proxied))
    assert (seen["status"], seen["content-length"], seen["accept-ranges"]) == ("200", str(len(DATA)), "bytes")

    out.write_bytes(DATA[:5000])
    run(["curl", "-sS", "--fail", "-C", "-", "-o", str(out), url], proxied)
    assert out.read_bytes() == DATA

    seen = head(run(["curl", "-sS", "-D", "-", "-o", str(out), "-r", f"{len(DATA)}-", url], proxied))
    assert (seen["status"], seen["content-range"]) == ("416", f"bytes */{len(DATA)}")

    tampered = url.replace("sp=r", "sp=rx")
    assert "AuthenticationFailed" in run(["curl", "-sS", tampered], proxied)


@needs_curl
@WAYS
def test_curl_uploads_a_blob(links, run, tmp_path, proxied):
    source = tmp_path / "up"
    source.write_bytes(os.urandom(3_000_000))
    url = links("blob", "up%2Bé.bin".replace("é", "%C3%A9"), proxied)
    put = ["curl", "-sS", "-D", "-", "-T", str(source), "-H", "x-ms-blob-type: BlockBlob"]
    # A body this large makes curl wait for the 100.
    text = run([*put, "-H", "Expect: 100-continue", url], proxied)
    assert "100 Continue" in text
    seen = head(text)
    assert seen["status"] == "201"
    assert seen["etag"].startswith('"0x')
    out = tmp_path / "out"
    run(["curl", "-sS", "--fail", "-o", str(out), url], proxied)
    assert out.read_bytes() == source.read_bytes()
    seen = head(run(["curl", "-sS", "-i", "-X", "DELETE", url], proxied))
    assert seen["status"] == "202"
    seen = head(run(["curl", "-sS", "-i", url], proxied))
    assert (seen["status"], seen["x-ms-error-code"]) == ("404", "BlobNotFound")


@needs_curl
def test_curl_is_refused_before_it_sends(links, run, tmp_path):
    """Without rights the answer comes instead of the 100: no byte of the body is on its way."""
    source = tmp_path / "up"
    source.write_bytes(bytes(2_000_000))
    url = links("blob", "no.bin").replace("sig=", "sig=A")
    write_out = ["-o", "/dev/null", "-w", "%{http_code} %{size_upload}"]
    words = [
        "curl",
        "-sS",
        "-T",
        str(source),
        "-H",
        "x-ms-blob-type: BlockBlob",
        "-H",
        "Expect: 100-continue",
    ]
    assert run([*words, *write_out, url], False) == "403 0"


@needs_curl
def test_curl_lists(links, run):
    url = links("blob", "", more="restype=container&comp=list&").replace("/?", "?")
    assert "<Name>d/a b.bin</Name>" in run(["curl", "-sS", "--fail", url], False)
    url = links("file", "d", more="restype=directory&comp=list&")
    assert "<Name>a b.bin</Name>" in run(["curl", "-sS", "--fail", url], False)


@needs_wget
@KINDS
@WAYS
def test_wget_downloads_and_continues(links, run, tmp_path, kind, proxied):
    url = links(kind, "d/a%20b.bin", proxied)
    out = tmp_path / "out"
    run(["wget", "-q", "-O", str(out), url], proxied)
    assert out.read_bytes() == DATA
    out.write_bytes(DATA[:1000])
    run(["wget", "-q", "-c", "-O", str(out), url], proxied)
    assert out.read_bytes() == DATA
    # 8: the server answered with an error
    run(["wget", "-q", "-O", str(out), url.replace("sp=r", "sp=rx")], proxied, expect=8)
