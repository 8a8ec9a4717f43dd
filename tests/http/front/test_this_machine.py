"""Health and metrics are for this machine: asked over loopback, or by an address of its own."""

import asyncio

import pytest

from openbatchai.http.front import Front, TlsOnly


async def nothing(scope, receive, send):
    raise AssertionError("not asked for")


async def ask(app, client, server, path="/healthz"):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [],
        "client": client,
        "server": server,
    }
    await app(scope, receive, send)
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("client", "server", "status"),
    [
        ("127.0.0.1", "127.0.0.1", 200),
        ("::1", "::1", 200),
        ("192.0.2.2", "192.0.2.2", 200),
        ("192.0.2.3", "192.0.2.2", 403),
        ("192.0.2.2", "127.0.0.1", 403),
    ],
)
def test_who_may_ask(client, server, status):
    app = TlsOnly(Front(nothing, nothing, lambda: b""))
    assert asyncio.run(ask(app, (client, 40000), (server, 27180))) == status
