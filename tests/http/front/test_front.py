"""Who may see what on the management port, by the address of the client."""

import asyncio
import threading

import httpx
import pytest
from starlette.responses import PlainTextResponse

from openbatchai.http.front import Front, TlsOnly

HERE, ELSEWHERE, WITHIN_TLS = ("127.0.0.1", 1), ("192.0.2.1", 1), None


def ask(app, path, client, scheme="http"):
    async def get():
        transport = httpx.ASGITransport(app, client=client)
        async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://x") as session:
            return await session.get(path)

    return asyncio.run(get())


@pytest.fixture
def counted():
    """The threads in which the metrics were read."""
    return []


@pytest.fixture
def front(counted):
    def metrics():
        counted.append(threading.current_thread())
        return b"batchai_clusters 0"

    return Front(PlainTextResponse("aad"), PlainTextResponse("arm"), metrics)


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/%6detrics"])
@pytest.mark.parametrize("client", [ELSEWHERE, WITHIN_TLS])
def test_metrics_are_for_this_machine_and_not_even_read_for_others(front, counted, path, client):
    assert ask(front, path, client).status_code == 403
    assert counted == []


def test_metrics_are_read_outside_the_event_loop(front, counted):
    assert ask(front, "/metrics", HERE).text == "batchai_clusters 0"
    assert counted != [threading.current_thread()]


@pytest.mark.parametrize(
    ("client", "scheme", "status"),
    [
        (HERE, "http", 200),
        (ELSEWHERE, "http", 403),
        (ELSEWHERE, "https", 200),
        # The inner end of TLS to the proxy.
        (WITHIN_TLS, "http", 200),
    ],
)
def test_nobody_elsewhere_is_served_without_tls(front, client, scheme, status):
    assert ask(TlsOnly(front), "/subscriptions", client, scheme).status_code == status
