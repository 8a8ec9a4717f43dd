"""What shares the management port: token authority, ARM, health, metrics and a page for browsers."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from openbatchai import __version__

from .aad import is_aad_path

_LOCAL = ("/healthz", "/metrics", "/", "/portal", "/portal/")

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>OpenBatchAI</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}</style>
<h1>OpenBatchAI {version}</h1>
<p>The service is running. Talk to it with <code>az batchai</code>, the Azure SDKs or
<code>batchai</code>; <code>batchai status</code> shows its addresses.</p></html>
"""


class Front:
    """Dispatches by path. Health and metrics carry no credential and answer this machine only."""

    def __init__(self, aad: ASGIApp, arm: ASGIApp, metrics: Callable[[], bytes]) -> None:
        self._aad = aad
        self._arm = arm
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path in _LOCAL:
            answer = (
                await self._local(path) if _is_this_machine(scope) else PlainTextResponse("Forbidden", 403)
            )
            await answer(scope, receive, send)
        elif is_aad_path(path):
            await self._aad(scope, receive, send)
        else:
            await self._arm(scope, receive, send)

    async def _local(self, path: str) -> Response:
        if path == "/healthz":
            return JSONResponse({"status": "ok", "version": __version__})
        if path == "/metrics":
            # It reads the store, which may wait for its disk.
            content = await run_in_threadpool(self._metrics)
            return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")
        return HTMLResponse(_PAGE.format(version=__version__))


class TlsOnly:
    """Off loopback nothing is served over plain http. A request without a client's address has come through
    TLS to the proxy, whose inner end is a socket pair."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = scope["type"] == "http" and scope["scheme"] != "https"
        if plain and scope.get("client") is not None and not _is_this_machine(scope):
            await PlainTextResponse("Use https here.", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_this_machine(scope: Scope) -> bool:
    """Whether the request came from here: over loopback, or from the very address that it was sent to."""
    client, server = scope.get("client"), scope.get("server")
    if client is None:
        return False
    return (server is not None and client[0] == server[0]) or _is_loopback_address(client[0])


@lru_cache(maxsize=256)
def _is_loopback_address(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
