"""A port of our own: http and TLS side by side, its end, and what must not hold it."""

import asyncio
import contextlib
import hashlib
import socket
import ssl
import time

import httpx
import pytest
from starlette.responses import PlainTextResponse

from openbatchai.http.connections import Limits
from openbatchai.http.listeners import Listener, PortInUseError

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def listener(serve, app, ca) -> Listener:
    return serve(Listener(app, ca))


def test_one_port_speaks_http_and_tls(listener, ca, session):
    plain = session.get(f"http://127.0.0.1:{listener.port}/a%2Fb?c=d%20e").json()
    assert (plain["scheme"], plain["target"], plain["query"]) == ("http", "/a%2Fb", "c=d%20e")
    for host in ("127.0.0.1", "localhost"):
        url = f"https://{host}:{listener.port}/x"
        tls = session.get(url, verify=str(ca.bundle_path)).json()
        assert (tls["scheme"], tls["host"]) == ("https", f"{host}:{listener.port}")


def test_strict_verification_accepts_the_certificate(listener, ca):
    """Python 3.13 and later verify with VERIFY_X509_STRICT."""
    context = ssl.create_default_context(cafile=str(ca.bundle_path))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with httpx.Client(verify=context, trust_env=False) as client:
        assert client.get(f"https://localhost:{listener.port}/").status_code == 200


def test_answers_carry_a_date_and_no_server_name(listener, session):
    headers = session.get(f"http://127.0.0.1:{listener.port}/").headers
    assert headers["date"].endswith("GMT")
    assert "server" not in headers


def test_bodies_of_64_mib_both_ways_over_tls(listener, ca, session):
    session.verify = str(ca.bundle_path)
    base = f"https://127.0.0.1:{listener.port}"
    body = b"".join(bytes([number]) * 2**20 for number in range(64))
    sent = session.put(f"{base}/up", data=body).json()
    assert (sent["size"], sent["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert session.get(f"{base}/big?mib=64").content == body


def test_a_taken_port_is_named(serve, listener, app, ca):
    with pytest.raises(PortInUseError) as caught:
        serve(Listener(app, ca, port=listener.port))
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", listener.port)
    assert str(listener.port) in str(caught.value)


def test_a_port_can_be_taken_again_after_a_stop(loop, app, ca, session):
    first = Listener(app, ca)
    loop.run(first.start())
    session.get(f"http://127.0.0.1:{first.port}/")
    loop.run(first.stop(grace_s=2))
    again = Listener(app, ca, port=first.port)
    loop.run(again.start())
    assert session.get(f"http://127.0.0.1:{first.port}/").status_code == 200
    loop.run(again.stop(grace_s=2))


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"\x16\x03\x01"], ids=["silent", "half head", "half hello"]
)
def test_a_connection_that_says_too_little_is_closed(serve, app, ca, raw_exchange, sent):
    listener = serve(Listener(app, ca, head_deadline_s=0.05))
    assert raw_exchange(listener.port, sent) == b""


def test_half_a_head_after_an_answer_is_closed(serve, app, ca, raw_exchange):
    listener = serve(Listener(app, ca, head_deadline_s=0.05))
    received = raw_exchange(listener.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT")
    assert received.startswith(b"HTTP/1.1 200")
    assert received.count(b"HTTP/1.1") == 1


def test_line_breaks_after_an_answer_do_not_hold_the_connection(serve, app, ca):
    """They are no head, yet uvicorn takes them for a sign of life and drops its own timer."""
    listener = serve(Listener(app, ca, head_deadline_s=0.05))
    with _ask(listener.port) as client:
        received = client.recv(65536)
        while not received.endswith(b"}"):
            received += client.recv(65536)
        client.sendall(b"\r\n")
        assert client.recv(65536) == b""


def test_a_client_that_stops_in_the_middle_of_a_body_is_cut(serve, app, ca, raw_exchange):
    listener = serve(Listener(app, ca, limits=Limits(stalled_s=0.05)))
    assert raw_exchange(listener.port, b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf") == b""


def test_a_client_that_takes_no_answer_is_cut(serve, loop, ca):
    gone = asyncio.Event()

    async def endless(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        watch = asyncio.ensure_future(_disconnected(receive))
        while not watch.done():
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        gone.set()

    listener = serve(Listener(endless, ca, limits=Limits(stalled_s=0.05)))
    with _ask(listener.port):
        loop.run(gone.wait())


async def _disconnected(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def test_a_slow_answer_is_not_the_clients_fault(serve, ca, raw_exchange):
    """The app takes several times what a client may take, before it reads the body and after."""

    async def slow(scope, receive, send):
        await asyncio.sleep(0.3)
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.3)
        await PlainTextResponse("finished", headers={"connection": "close"})(scope, receive, send)

    listener = serve(Listener(slow, ca, limits=Limits(stalled_s=0.05)))
    head = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 16777216\r\n\r\n"
    assert raw_exchange(listener.port, head + bytes(2**24)).endswith(b"finished")


def test_a_body_that_comes_slowly_but_steadily_is_taken(serve, app, ca):
    listener = serve(Listener(app, ca, limits=Limits(stalled_s=1.0)))
    with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as client:
        client.sendall(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\nConnection: close\r\n\r\n")
        for _ in range(24):
            client.sendall(b"x")
            # The slowness is the case: the whole takes longer than any pause may.
            time.sleep(0.05)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_more_connections_than_allowed_are_told_so(serve, ca, raw_exchange, loop):
    gate = _Gate()
    listener = serve(Listener(gate, ca, limits=Limits(connections=2)))
    with _ask(listener.port) as client:
        loop.run(gate.entered.wait())
        assert raw_exchange(listener.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 503")
        loop.run(gate.open())
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connections_kept_for_later_give_way_to_new_ones(serve, app, ca, scheme):
    listener = serve(Listener(app, ca, limits=Limits(connections=3)))
    verify = ssl.create_default_context(cafile=str(ca.bundle_path))
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(httpx.Client(verify=verify, trust_env=False)) for _ in range(6)]
        # The first ones come back, too, on new connections.
        answers = [client.get(f"{scheme}://localhost:{listener.port}/") for client in [*kept, *kept]]
    assert [answer.status_code for answer in answers] == [200] * 12


@pytest.mark.parametrize("line", [b"a: b\r\n", b"b" * 1000], ids=["lines", "one line"])
def test_an_endless_head_is_cut(listener, session, line):
    with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\na: ")
        with pytest.raises(ConnectionError):
            client.sendall(line * (2**24 // len(line)))
    assert session.get(f"http://127.0.0.1:{listener.port}/").status_code == 200


@pytest.mark.parametrize("start", [b"0\r\n", b"0\r\na: ", b"1;"], ids=["lines", "one line", "extension"])
def test_an_endless_end_of_a_body_is_cut(listener, session, start):
    line = b"a: b\r\n" if start == b"0\r\n" else b"b" * 1000
    head = b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as client:
        client.sendall(head + start)
        with pytest.raises(ConnectionError):
            client.sendall(line * (2**24 // len(line)))
    assert session.get(f"http://127.0.0.1:{listener.port}/").status_code == 200


def test_a_trailer_is_no_header(listener, raw_exchange):
    head = b"PUT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw_exchange(listener.port, head + b"1\r\nb\r\n0\r\nx-late: 1\r\n\r\n")
    assert b'"size":1' in answer
    assert b"x-late" not in answer


def test_a_target_cannot_pass_for_tls(listener, raw_exchange):
    """What the target of a request says is not how the request came."""
    head = b"GET https://127.0.0.1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert b'"scheme":"http"' in raw_exchange(listener.port, head)


def test_a_client_that_does_not_trust_us_harms_nobody(listener, session):
    with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as client:
        client.get(f"https://127.0.0.1:{listener.port}/")
    assert session.get(f"http://127.0.0.1:{listener.port}/").status_code == 200


class _Gate:
    """An app that answers when told to."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.entered.set()
        await self.opened.wait()
        await PlainTextResponse("finished")(scope, receive, send)

    async def open(self) -> None:
        self.opened.set()


def _ask(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


def test_a_stop_lets_a_request_in_flight_finish(loop, ca):
    gate = _Gate()
    listener = Listener(gate, ca)
    loop.run(listener.start())
    with _ask(listener.port) as client:
        loop.run(gate.entered.wait())
        stopping = asyncio.run_coroutine_threadsafe(listener.stop(grace_s=20), loop.loop)
        loop.run(asyncio.sleep(0))  # the loop is past the first step of stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listener.port))
        loop.run(gate.open())
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    assert b"connection: close" in received
    assert received.endswith(b"finished")
    stopping.result(timeout=20)


def test_a_stop_cuts_a_request_that_outlasts_the_grace(loop, ca):
    gate = _Gate()
    listener = Listener(gate, ca)
    loop.run(listener.start())
    with _ask(listener.port) as client:
        loop.run(gate.entered.wait())
        loop.run(listener.stop(grace_s=0.01))
        assert client.recv(65536) == b""


def test_a_stop_does_not_wait_for_idle_clients(loop, app, ca):
    """An idle TLS client never answers close_notify; a silent one never says anything."""
    listener = Listener(app, ca)
    loop.run(listener.start())
    context = ssl.create_default_context(cafile=str(ca.bundle_path))
    with (
        socket.create_connection(("127.0.0.1", listener.port)),
        socket.create_connection(("127.0.0.1", listener.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as tls,
    ):
        tls.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert tls.recv(4096).startswith(b"HTTP/1.1 200")
        loop.run(listener.stop(grace_s=20))


def test_the_certificate_names_the_address_that_was_reached(serve, app, ca, session, outside):
    listener = serve(Listener(app, ca, host="0.0.0.0", names=("box.example",)))
    answer = session.get(f"https://{outside}:{listener.port}/x", verify=str(ca.bundle_path))
    assert answer.json()["scheme"] == "https"
    context = ssl.create_default_context(cafile=str(ca.bundle_path))
    with (
        socket.create_connection((outside, listener.port), 20) as client,
        context.wrap_socket(client, server_hostname="box.example") as tls,
    ):
        names = {value for _, value in tls.getpeercert()["subjectAltName"]}
    assert names == {"localhost", "127.0.0.1", "box.example", outside}
