"""The environment variables that bring a client to our proxy, for shells and for job processes.

Which client honours which variable was measured (shared/reference/clients.md section 1): requests wants
REQUESTS_CA_BUNDLE, curl CURL_CA_BUNDLE, urllib SSL_CERT_FILE, wget only the lower-case proxy names and a
wgetrc file. All of these replace the client's own list of CAs, so the bundle holds the public ones too.
"""

from collections.abc import Iterable

_LOCAL = ("localhost", "127.0.0.1", "::1")


def proxy_variables(proxy: str, ca_bundle: str, exceptions: Iterable[str] = ()) -> dict[str, str]:
    """`exceptions` are hosts to reach without the proxy, beside this machine itself."""
    no_proxy = ",".join(dict.fromkeys((*_LOCAL, *exceptions)))
    return {
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "REQUESTS_CA_BUNDLE": ca_bundle,
        "CURL_CA_BUNDLE": ca_bundle,
        "SSL_CERT_FILE": ca_bundle,
        "NODE_EXTRA_CA_CERTS": ca_bundle,
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
    }
