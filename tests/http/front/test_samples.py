"""The sample files in the proxy: two URLs answered, and nothing else of those hosts changed."""

import socket
import ssl

import pytest
import requests

from openbatchai.http.proxy import Proxy
from openbatchai.http.samples import RealHost, Sample, SampleApp, trusting

from .conftest import make_app

# Plays the script's host: its name leads to the stand-in upstream, whose authority is not ours.
SCRIPT = Sample("localhost", "/recipes/script.py", "script.py", "text/plain; charset=utf-8")
CONTENT = b"print('ours')\n" * 1000


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "samples"
    path.mkdir()
    return path


@pytest.fixture
def enabled(directory):
    (directory / SCRIPT.file).write_bytes(CONTENT)


@pytest.fixture
def real(loop, foreign_ca):
    host = RealHost(SCRIPT.host, lambda: trusting(str(foreign_ca.certificate_path)))
    yield host
    loop.run(host.close())


@pytest.fixture
def proxy(serve, ca, directory, real):
    app = SampleApp(SCRIPT, directory, real)
    return serve(Proxy(lambda host: app if host == SCRIPT.host and app.is_enabled() else None, ca))


@pytest.fixture
def ask(proxy, ca, session):
    def ask(method, url, trust=ca, **options):
        options["proxies"] = dict.fromkeys(("http", "https"), f"http://127.0.0.1:{proxy.port}")
        return session.request(method, url, verify=str(trust.bundle_path), timeout=30, **options)

    return ask


@pytest.mark.usefixtures("enabled")
class TestTheUrl:
    def test_gives_our_file_whatever_the_query(self, ask, foreign):
        url = f"https://localhost:{foreign.port}{SCRIPT.path}"
        answer = ask("GET", url)
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert ask("GET", f"{url}?sig=x").content == CONTENT
        head = ask("HEAD", url)
        assert (head.headers["content-length"], head.content) == (str(len(CONTENT)), b"")

    def test_gives_ranges(self, ask, foreign):
        url = f"https://localhost:{foreign.port}{SCRIPT.path}"
        answer = ask("GET", url, headers={"Range": "bytes=5-9"})
        assert (answer.status_code, answer.content) == (206, CONTENT[5:10])

    def test_is_read_only_by_get_and_head(self, ask, foreign):
        assert ask("PUT", f"https://localhost:{foreign.port}{SCRIPT.path}").json()["name"] == "foreign"


@pytest.mark.usefixtures("enabled")
class TestEveryOtherPath:
    def test_comes_from_the_real_host(self, ask, foreign):
        url = f"https://localhost:{foreign.port}/recipes/a%20b/script.py?x=%2F"
        seen = ask("PUT", url, data=b"body", headers={"X-Mine": "1"}).json()
        assert (seen["name"], seen["scheme"], seen["method"]) == ("foreign", "https", "PUT")
        assert (seen["target"], seen["query"]) == ("/recipes/a%20b/script.py", "x=%2F")
        assert (seen["headers"]["x-mine"], seen["size"]) == ("1", 4)

    def test_streams(self, ask, foreign):
        answer = ask("GET", f"https://localhost:{foreign.port}/big?mib=20")
        assert len(answer.content) == 20 * 2**20

    def test_that_cannot_prove_itself_is_a_502(self, serve, loop, ca, directory, foreign, session):
        """The public authorities do not know the stand-in."""
        real = RealHost(SCRIPT.host, lambda: trusting(None))
        app = SampleApp(SCRIPT, directory, real)
        proxy = serve(Proxy({SCRIPT.host: app}.get, ca))
        proxies = {"https": f"http://127.0.0.1:{proxy.port}"}
        url = f"https://localhost:{foreign.port}/x"
        answer = session.get(url, proxies=proxies, verify=str(ca.bundle_path), timeout=30)
        loop.run(real.close())
        assert answer.status_code == 502
        assert "certificate verify failed" in answer.text

    def test_of_another_host_is_misdirected(self, ask, foreign):
        url = f"https://localhost:{foreign.port}/x"
        # The last two are hosts with a user name before them.
        names = ("elsewhere.example", "localhost:@127.0.0.1", f"localhost:x@127.0.0.1:{foreign.port}")
        for name in (*names, "localhost:80x", "localhost:/", f"localhost:{foreign.port}/x"):
            answer = ask("GET", url, headers={"Host": name})
            assert (name, answer.status_code) == (name, 421)

    def test_after_the_file_is_gone_in_a_connection_that_is_open(self, ask, foreign, directory):
        url = f"https://localhost:{foreign.port}{SCRIPT.path}"
        assert ask("GET", url).content == CONTENT
        (directory / SCRIPT.file).unlink()
        assert ask("GET", url).json()["name"] == "foreign"


def shown_certificate(proxy, port):
    """Of whoever ends TLS behind CONNECT."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as client:
        client.sendall(f"CONNECT localhost:{port} HTTP/1.1\r\n\r\n".encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        with context.wrap_socket(client, server_hostname="localhost") as tls:
            return tls.getpeercert(binary_form=True)


def test_without_the_file_the_host_is_tunnelled_untouched(proxy, ask, foreign, foreign_ca, directory):
    with socket.create_connection(("127.0.0.1", foreign.port), 20) as client:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(client, server_hostname="localhost") as tls:
            its_own = tls.getpeercert(binary_form=True)
    assert shown_certificate(proxy, foreign.port) == its_own
    url = f"https://localhost:{foreign.port}{SCRIPT.path}"
    assert ask("GET", url, trust=foreign_ca).json()["name"] == "foreign"
    (directory / SCRIPT.file).write_bytes(CONTENT)
    assert shown_certificate(proxy, foreign.port) != its_own


@pytest.mark.usefixtures("enabled")
def test_the_sample_accounts_other_paths_are_as_in_any_account(serve, ca, directory, session):
    data = Sample("batchaisamples.blob.core.windows.net", "/samples/d.zip", "d.zip", "application/zip")
    (directory / data.file).write_bytes(b"PK")
    app = SampleApp(data, directory, make_app("blob"))
    proxy = serve(Proxy({data.host: app}.get, ca))
    options = {"proxies": {"https": f"http://127.0.0.1:{proxy.port}"}, "verify": str(ca.bundle_path)}
    assert session.get(f"{data.url}?sig=x", **options).content == b"PK"
    other = session.get(f"https://{data.host}/samples/e.zip", **options)
    assert other.json()["name"] == "blob"


def test_an_authority_that_cannot_be_read_is_a_502(serve, loop, ca, directory, tmp_path):
    real = RealHost(SCRIPT.host, lambda: trusting(str(tmp_path / "none.pem")))
    proxy = serve(Proxy({SCRIPT.host: SampleApp(SCRIPT, directory, real)}.get, ca))
    answer = requests.get(
        "https://localhost/x",
        proxies={"https": f"http://127.0.0.1:{proxy.port}"},
        verify=str(ca.bundle_path),
        timeout=30,
    )
    assert answer.status_code == 502
    assert "No such file" in answer.text
    loop.run(real.close())
