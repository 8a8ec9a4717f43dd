"""Fetching MNIST from a mirror, here one of our own: checked before it is kept."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openbatchai.quickstart import mnist


@pytest.fixture
def originals(monkeypatch):
    """Four small files in the place of the real ones, which are 11 MB that no test should fetch."""
    contents = {name: f"content of {name}".encode() for name in mnist.SHA256}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(mnist, "SHA256", digests)
    return contents


@pytest.fixture
def mirror():
    """Starts a mirror with the files given; its URL."""
    servers = []

    def start(files):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                content = files.get(self.path.lstrip("/").removesuffix(".gz"))
                self.send_response(404 if content is None else 200)
                self.end_headers()
                if content is not None:
                    self.wfile.write(gzip.compress(content))

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def fetch(directory, *mirrors):
    told = []
    mnist.fetch(directory, told.append, mirrors, trust=False)
    return told


def test_what_is_fetched_is_kept(tmp_path, originals, mirror):
    told = fetch(tmp_path, mirror(originals))
    assert len(told) == 4
    assert mnist.complete(tmp_path)
    assert (
        gzip.decompress((tmp_path / "t10k-labels-idx1-ubyte.gz").read_bytes())
        == (originals["t10k-labels-idx1-ubyte"])
    )
    assert fetch(tmp_path, "http://127.0.0.1:1/") == []


def test_the_next_mirror_replaces_one_that_lies_or_lacks(tmp_path, originals, mirror):
    lying = mirror(dict.fromkeys(originals, b"other"))
    fetch(tmp_path, lying, mirror({}), mirror(originals))
    assert mnist.complete(tmp_path)


def test_nothing_unchecked_is_kept(tmp_path, originals, mirror):
    with pytest.raises(mnist.MnistError, match="SHA-256"):
        fetch(tmp_path, mirror(dict.fromkeys(originals, b"other")))
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_mirror_is_named(tmp_path, originals):
    with pytest.raises(mnist.MnistError, match=r"127\.0\.0\.1:1"):
        fetch(tmp_path, "http://127.0.0.1:1/")
