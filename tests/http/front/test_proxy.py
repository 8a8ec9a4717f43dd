"""The proxy, met by real clients: our hosts answered, everything else passed on untouched."""

import base64
import contextlib
import hashlib
import shutil
import socket
import ssl
import subprocess
import sys
import threading

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbatchai.http.listeners import Listener, PortInUseError
from openbatchai.http.proxy import Proxy, azure_host_kind, certificate_name

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def through(proxy, ca, session):
    """A requests session set up as the environment of `batchai env` sets it up."""
    session.proxies = dict.fromkeys(("http", "https"), f"http://127.0.0.1:{proxy.port}")
    session.verify = str(ca.bundle_path)
    return session


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("management.azure.com", "arm"),
        ("Management.Azure.com.", "arm"),
        ("login.microsoftonline.com", "aad"),
        ("login.windows.net", "aad"),
        ("login.microsoft.com", "aad"),
        ("sts.windows.net", "aad"),
        ("acct.blob.core.windows.net", "blob"),
        ("acct-secondary.file.core.windows.net", "file"),
        ("blob.core.windows.net", None),
        (".blob.core.windows.net", None),
        ("a.b.blob.core.windows.net", None),
        ("acct.queue.core.windows.net", "unserved"),
        ("acct.table.core.windows.net", "unserved"),
        ("acct.dfs.core.windows.net", "unserved"),
        ("acct.web.core.windows.net", None),
        ("management.azure.com.example.org", None),
        ("", None),
    ],
)
def test_host_table(host, kind):
    assert azure_host_kind(host) == kind


def test_all_accounts_share_one_certificate():
    assert certificate_name("one.blob.core.windows.net") == "*.blob.core.windows.net"
    assert certificate_name("MANAGEMENT.azure.com") == "management.azure.com"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://management.azure.com/subscriptions?api-version=1", "arm"),
        ("https://login.microsoftonline.com/common/oauth2/token", "aad"),
        ("https://acct.blob.core.windows.net/c/b", "blob"),
        ("https://acct-secondary.file.core.windows.net/s/f", "file"),
    ],
)
def test_our_hosts_reach_our_apps_with_host_and_scheme_intact(through, url, name):
    seen = through.get(url).json()
    assert (seen["name"], seen["scheme"], seen["host"]) == (name, "https", url.split("/")[2])


def test_a_query_may_hold_a_url(through):
    url = "https://login.microsoftonline.com/common/discovery/instance?x=https://localhost/T"
    assert through.get(url).json()["query"] == "x=https://localhost/T"


def test_many_requests_use_one_connection(through, proxy):
    for number in range(300):
        assert through.get(f"https://management.azure.com/{number}").json()["target"] == f"/{number}"
    (connection,) = proxy._connections.connections
    sock = connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # else 40 ms each, measured


def test_bodies_of_64_mib_both_ways(through):
    body = b"".join(bytes([number]) * 2**20 for number in range(64))
    sent = through.put("https://acct.file.core.windows.net/s/f", data=body).json()
    assert (sent["size"], sent["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert through.get("https://acct.blob.core.windows.net/big?mib=64").content == body


def test_concurrent_clients_of_several_hosts(proxy, ca):
    results = []

    def work(host):
        with httpx.Client(
            proxy=f"http://127.0.0.1:{proxy.port}",
            verify=ssl.create_default_context(cafile=str(ca.bundle_path)),
            trust_env=False,
        ) as client:
            results.extend(client.get(f"https://{host}/").json()["host"] == host for _ in range(20))

    hosts = ["management.azure.com", "a.blob.core.windows.net", "b.file.core.windows.net"]
    threads = [threading.Thread(target=work, args=(host,)) for host in hosts * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 180


def _peer_certificate(sock: socket.socket, name: str) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(sock, server_hostname=name) as tls:
        return tls.getpeercert(binary_form=True)


def _connect(proxy, target: str, more: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode() + more)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head == b"HTTP/1.1 200 Connection established\r\n\r\n"
    return sock


def test_a_foreign_host_shows_its_own_certificate(proxy, foreign):
    direct = _peer_certificate(socket.create_connection(("127.0.0.1", foreign.port)), "localhost")
    tunnelled = _peer_certificate(_connect(proxy, f"localhost:{foreign.port}"), "localhost")
    assert tunnelled == direct


def test_a_foreign_host_is_reached_through_the_tunnel(through, proxy, foreign, foreign_ca):
    through.verify = str(foreign_ca.bundle_path)
    base = f"https://localhost:{foreign.port}"
    body = b"".join(bytes([number]) * 2**20 for number in range(64))
    assert through.get(f"{base}/x").json()["name"] == "foreign"
    assert through.put(f"{base}/up", data=body).json()["sha256"] == hashlib.sha256(body).hexdigest()
    assert through.get(f"{base}/big?mib=64").content == body


def _half_closing_server() -> socket.socket:
    """Answers only after the client has ended its side, as `nc -N` clients expect."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer():
        with listening, listening.accept()[0] as sock:
            received = b""
            while chunk := sock.recv(65536):
                received += chunk
            sock.sendall(b"got " + received)

    threading.Thread(target=answer, daemon=True).start()
    return listening


def test_a_tunnel_passes_on_half_closes(proxy):
    port = _half_closing_server().getsockname()[1]
    with _connect(proxy, f"127.0.0.1:{port}", b"early ") as sock:
        sock.sendall(b"late")
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
    assert received == b"got early late"


def test_a_server_that_hangs_up_at_once_ends_the_tunnel(proxy):
    """Also when it does so before the client's side of the tunnel is joined to it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up():
            for _ in range(20):
                with listening.accept()[0] as sock:
                    sock.sendall(b"bye")

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        for _ in range(20):
            with _connect(proxy, f"127.0.0.1:{listening.getsockname()[1]}") as sock:
                assert sock.recv(10) == b"bye"
                assert sock.recv(10) == b""
        thread.join(timeout=20)


def test_bytes_right_behind_a_connect_are_not_lost(proxy, ca):
    """A client may send its ClientHello without waiting for our 200."""
    context = ssl.create_default_context(cafile=str(ca.bundle_path))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="management.azure.com")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with _connect(proxy, "management.azure.com:443", outgoing.read()) as sock:
        while tls.version() is None or not tls.getpeercert():
            incoming.write(sock.recv(65536))
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert tls.getpeercert()["subjectAltName"] == (("DNS", "management.azure.com"),)


def test_our_hosts_speak_plain_http_in_a_tunnel_too(proxy):
    """`curl -p http://…`: never a reason to ask the real host."""
    with _connect(proxy, "acct.blob.core.windows.net:80") as sock:
        sock.sendall(b"GET /c HTTP/1.1\r\nHost: acct.blob.core.windows.net\r\nConnection: close\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_an_unreachable_host_is_a_502_that_says_why(proxy, raw_exchange):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    answer = raw_exchange(proxy.port, f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert f"127.0.0.1:{port}".encode() in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("target", ["nonsense", "host:", ":443", "host:99999", "host:0", "host:٣"], ids=ascii)
def test_a_malformed_connect_is_refused(proxy, raw_exchange, target):
    answer = raw_exchange(proxy.port, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_an_endless_connect_head_is_refused(proxy, raw_exchange):
    answer = raw_exchange(proxy.port, b"CONNECT host:443 HTTP/1.1\r\n" + b"A: b\r\n" * 11000)
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("host", [b"a" * 70 + b".example", b"a\0b.example"])
def test_a_bad_host_name_is_a_502(proxy, raw_exchange, host):
    answer = raw_exchange(proxy.port, b"CONNECT " + host + b":443 HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502 ")


def test_absolute_form_for_our_hosts(through):
    seen = through.put("http://acct.file.core.windows.net/s/a%2Fb?restype=share", data=b"abc").json()
    assert (seen["name"], seen["scheme"], seen["host"]) == ("file", "http", "acct.file.core.windows.net")
    assert (seen["target"], seen["query"], seen["size"]) == ("/s/a%2Fb", "restype=share", 3)


def test_one_connection_may_ask_for_several_hosts(proxy, foreign, raw_exchange):
    def head(host, more=""):
        return f"GET http://{host}/ HTTP/1.1\r\nHost: misleading\r\n{more}\r\n"

    requests_ = head("a.blob.core.windows.net") + head(f"127.0.0.1:{foreign.port}")
    requests_ += head("management.azure.com?x", "Connection: close\r\n")
    answer = raw_exchange(proxy.port, requests_.encode()).decode()
    assert answer.count("HTTP/1.1 200") == 3
    names = [answer.index(f'"name":"{name}"') for name in ("blob", "foreign", "arm")]
    assert names == sorted(names)
    assert "misleading" not in answer


def test_absolute_form_for_a_foreign_host_is_forwarded(through, foreign):
    base = f"http://127.0.0.1:{foreign.port}"
    headers = {"X-Own": "1", "X-Hop": "2", "Connection": "keep-alive, X-Hop"}
    response = through.put(f"{base}/a%2Fb//c?d=%2Fe", data=b"x" * 2**22, headers=headers)
    seen = response.json()
    assert (seen["name"], seen["target"], seen["query"]) == ("foreign", "/a%2Fb//c", "d=%2Fe")
    assert seen["sha256"] == hashlib.sha256(b"x" * 2**22).hexdigest()
    assert seen["headers"]["x-own"] == "1"
    assert "x-hop" not in seen["headers"]
    assert response.raw.headers.getlist("date") == [response.headers["date"]]
    body = through.get(f"{base}/big?mib=8").content
    assert body == b"".join(bytes([number]) * 2**20 for number in range(8))


def test_forwarding_bodies_without_length_and_answers_without_body(through, foreign):
    base = f"http://127.0.0.1:{foreign.port}"
    assert through.post(f"{base}/x", data=iter([b"ab", b"c"])).json()["size"] == 3
    assert through.head(f"{base}/big?mib=1").headers["content-length"] == str(2**20)
    assert through.get(f"{base}/not-modified").status_code == 304


def test_forwarding_to_nowhere_is_a_502_that_says_why(through):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    response = through.get(f"http://127.0.0.1:{port}/")
    assert response.status_code == 502
    assert "cannot forward" in response.text


def test_a_browser_on_the_proxy_port_learns_what_it_is(proxy, session):
    response = session.get(f"http://127.0.0.1:{proxy.port}/")
    assert response.status_code == 400
    assert "proxy" in response.text


def test_a_taken_port_is_named(serve, proxy, ca):
    with pytest.raises(PortInUseError):
        serve(Proxy(lambda host: None, ca, port=proxy.port))


def test_a_proxy_off_loopback_needs_credentials(ca):
    with pytest.raises(ValueError, match="credentials"):
        Proxy(lambda host: None, ca, host="0.0.0.0")


@pytest.fixture
def guarded(serve, app, ca) -> Proxy:
    ours = {"management.azure.com": app}
    return serve(Proxy(ours.get, ca, credentials=("user", "päss")))


def test_proxy_authentication(guarded, foreign, foreign_ca, session, raw_exchange):
    answer = raw_exchange(guarded.port, b"CONNECT management.azure.com:443 HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 407 ")
    assert b"Proxy-Authenticate: Basic realm=" in answer
    session.proxies = {"http": f"http://127.0.0.1:{guarded.port}"}
    refused = session.get("http://management.azure.com/")
    assert refused.status_code == 407
    assert refused.headers["proxy-authenticate"].startswith("Basic")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_clients_with_the_password_get_through(guarded, foreign, ca, scheme):
    """https: the way to a proxy off loopback; TLS to a host is then inside TLS to the proxy."""
    context = ssl.create_default_context(cafile=str(ca.bundle_path))
    url = f"{scheme}://localhost:{guarded.port}"
    proxy = httpx.Proxy(url, auth=("user", "päss"), ssl_context=context if scheme == "https" else None)
    with httpx.Client(proxy=proxy, verify=context, trust_env=False) as client:
        for address in ("https://management.azure.com/", "http://management.azure.com/"):
            seen = client.get(address).json()
            assert (seen["name"], seen["host"]) == ("ours", "management.azure.com")
            assert "proxy-authorization" not in seen["headers"]
        plain = client.get(f"http://127.0.0.1:{foreign.port}/big?mib=2")
        assert len(plain.content) == 2 * 2**20
        assert "proxy-authorization" not in client.get(f"http://127.0.0.1:{foreign.port}/").json()["headers"]


def test_a_wrong_password_is_refused(guarded, raw_exchange):
    wrong = base64.b64encode(b"user:wrong").decode()
    head = f"CONNECT management.azure.com:443 HTTP/1.1\r\nProxy-Authorization: Basic {wrong}\r\n\r\n"
    assert raw_exchange(guarded.port, head.encode()).startswith(b"HTTP/1.1 407 ")


@pytest.mark.parametrize(
    "request_", [b"CONNECT management.azure.com:443", b"GET http://management.azure.com/", b"GET /"]
)
def test_other_machines_get_nothing_without_tls(serve, app, ca, outside, request_):
    """The password would cross the network in the clear, and with it whatever an http request carries."""
    proxy = serve(Proxy({"management.azure.com": app}.get, ca, host="0.0.0.0", credentials=("user", "pw")))
    known = base64.b64encode(b"user:pw")
    head = request_ + b" HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic " + known + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), 20, source_address=(outside, 0)) as client:
        client.sendall(head)
        received = client.recv(65536)
        assert received.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert b"TLS" in received
    # From this machine, by whichever of its addresses, nothing crosses a network.
    with socket.create_connection((outside, proxy.port), 20) as client:
        client.sendall(head)
        assert not client.recv(65536).startswith(b"HTTP/1.1 403")


def test_other_machines_get_through_with_tls(serve, app, ca, outside):
    proxy = serve(Proxy({"management.azure.com": app}.get, ca, host="0.0.0.0", credentials=("user", "pw")))
    context = ssl.create_default_context(cafile=str(ca.bundle_path))
    with (
        socket.create_connection(("127.0.0.1", proxy.port), 20, source_address=(outside, 0)) as client,
        context.wrap_socket(client, server_hostname="localhost") as tls,
    ):
        known = base64.b64encode(b"user:pw").decode()
        head = f"CONNECT management.azure.com:443 HTTP/1.1\r\nProxy-Authorization: Basic {known}\r\n\r\n"
        tls.sendall(head.encode())
        assert tls.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_the_certificate_names_the_address_that_was_reached(serve, app, ca, outside):
    names = ("box.example",)
    resolve = {"management.azure.com": app}.get
    proxy = serve(Proxy(resolve, ca, host="0.0.0.0", credentials=("user", "pw"), names=names))
    context = ssl.create_default_context(cafile=str(ca.bundle_path))
    for name in (outside, "box.example", "localhost"):
        with (
            socket.create_connection((outside, proxy.port), 20) as client,
            context.wrap_socket(client, server_hostname=name) as tls,
        ):
            assert tls.version()
    with (
        socket.create_connection(("127.0.0.1", proxy.port), 20) as client,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(client, server_hostname=outside)


def test_the_scheme_of_a_forwarded_request_is_that_of_its_target(proxy, foreign, raw_exchange):
    """A target of https is asked by TLS, whose certificate this proxy does not trust."""
    head = f"GET https://127.0.0.1:{foreign.port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw_exchange(proxy.port, head.encode())
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"certificate" in answer.lower()


def test_a_stop_cuts_tunnels_and_silent_connections(loop, ca, foreign):
    proxy = Proxy(lambda host: None, ca)
    loop.run(proxy.start())
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as silent,
        _connect(proxy, f"127.0.0.1:{foreign.port}") as tunnel,
    ):
        loop.run(proxy.stop(grace_s=0.1))
        assert (silent.recv(1), tunnel.recv(1)) == (b"", b"")


def test_stopping_what_never_started(loop, ca):
    loop.run(Proxy(lambda host: None, ca).stop())
    loop.run(Listener(None, ca).stop())


def _heads():
    """Requests as the proxy expects them, damaged in one place."""
    good = st.sampled_from(
        [
            b"CONNECT management.azure.com:443 HTTP/1.1\r\n\r\n",
            b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
            b"GET http://a.blob.core.windows.net/c?d HTTP/1.1\r\nHost: x\r\n\r\n",
            b"PUT http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        ]
    )

    def damaged(head, place, junk, cut):
        return head[:place] + junk + head[place + cut :]

    return st.builds(damaged, good, st.integers(0, 70), st.binary(max_size=9), st.integers(0, 9))


def test_damaged_requests_are_answered_or_dropped(serve, app, ca, session):
    """Whatever arrives, the connection ends, nothing stays open and the next client is served."""
    ours = {"management.azure.com": app, "a.blob.core.windows.net": app}
    proxy = serve(Proxy(ours.get, ca))

    @given(st.one_of(_heads(), st.binary(max_size=40)))
    @settings(max_examples=150, deadline=None)
    def send(sent):
        received = b""
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as client:
            client.sendall(sent)
            # uvicorn closes over unread bytes, which resets the connection.
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
                while chunk := client.recv(65536):
                    received += chunk
        assert not received or received.startswith((b"HTTP/1.1 ", b"\x15\x03"))

    send()
    session.proxies = {"http": f"http://127.0.0.1:{proxy.port}"}
    assert session.get("http://a.blob.core.windows.net/").status_code == 200


# --- command-line clients and the environment of `batchai env` --------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on PATH")
def test_curl(environment, run_tool, foreign):
    done = run_tool(["curl", "-sS", "https://management.azure.com/x"], environment)
    assert '"name":"arm"' in done.stdout, done.stderr
    body = run_tool(["curl", "-sSf", "-T", sys.executable, "https://a.blob.core.windows.net/c/"], environment)
    assert '"method":"PUT"' in body.stdout, body.stderr
    refused = run_tool(["curl", "-sS", f"https://localhost:{foreign.port}/"], environment)
    assert refused.returncode != 0  # NO_PROXY: straight there, and its CA is not in our bundle


@pytest.mark.skipif(shutil.which("wget") is None, reason="no wget on PATH")
def test_wget(environment, run_tool):
    """wget knows no CA variable; it is the wgetrc file that lets this work."""
    done = run_tool(["wget", "-qO-", "https://acct.blob.core.windows.net/c/b"], environment)
    assert '"name":"blob"' in done.stdout, done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "import requests; print(requests.get(URL).json()['name'])",
        "import httpx; print(httpx.get(URL).json()['name'])",
        "import json, urllib.request as u; print(json.load(u.urlopen(URL))['name'])",
    ],
    ids=["requests", "httpx", "urllib"],
)
def test_python_clients(environment, run_tool, script):
    code = f"URL = 'https://management.azure.com/x'; {script}"
    done: subprocess.CompletedProcess = run_tool([sys.executable, "-c", code], environment)
    assert done.stdout == "arm\n", done.stderr


def test_local_services_are_not_proxied(environment, run_tool, serve, app, ca):
    direct = serve(Listener(app, ca))
    code = f"import httpx; print(httpx.get('http://127.0.0.1:{direct.port}/').json()['name'])"
    assert run_tool([sys.executable, "-c", code], environment).stdout == "ours\n"
