"""Fetching MNIST from a mirror, here one of our own: checked before it is kept."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openbatchai.quickstart import mnist

# Four small files in the place of the real ones, which are 11 MB that no test should fetch.
ORIGINALS = {name: f"content of {name}".encode() for name in mnist.SHA256}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in ORIGINALS.items()}


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
    mnist.fetch(directory, told.append, mirrors, DIGESTS, trust=False)
    return told


def test_what_is_fetched_is_kept(tmp_path, mirror):
    told = fetch(tmp_path, mirror(ORIGINALS))
    assert len(told) == 4
    assert mnist.complete(tmp_path)
    assert (
        gzip.decompress((tmp_path / "t10k-labels-idx1-ubyte.gz").read_bytes())
        == (ORIGINALS["t10k-labels-idx1-ubyte"])
    )
    assert fetch(tmp_path, "http://127.0.0.1:1/") == []


def test_the_next_mirror_replaces_one_that_lies_or_lacks(tmp_path, mirror):
    lying = mirror(dict.fromkeys(ORIGINALS, b"other"))
    fetch(tmp_path, lying, mirror({}), mirror(ORIGINALS))
    assert mnist.complete(tmp_path)


def test_nothing_unchecked_is_kept(tmp_path, mirror):
    with pytest.raises(mnist.MnistError, match="SHA-256"):
        fetch(tmp_path, mirror(dict.fromkeys(ORIGINALS, b"other")))
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_mirror_is_named(tmp_path):
    with pytest.raises(mnist.MnistError, match=r"127\.0\.0\.1:1"):
        fetch(tmp_path, "http://127.0.0.1:1/")
