"""The names that the certificate of a port of ours holds."""

import ipaddress
import socket
from collections.abc import Iterable

_LOCAL_NAMES = ("localhost", "127.0.0.1")
_WILDCARDS = ("", "0.0.0.0", "::")


def certified_names(host: str, names: Iterable[str], sock: socket.socket) -> tuple[str, ...]:
    """This machine's own, the `host` that is listened on, `names`, and the address that the client reached.

    The last is asked of the accepted socket: on 0.0.0.0 a machine has several, which come and go.
    """
    listening = () if host in _WILDCARDS else (host,)
    return tuple(dict.fromkeys((*_LOCAL_NAMES, *listening, *names, *_reached(sock))))


def _reached(sock: socket.socket) -> tuple[str, ...]:
    """The address, unless it is a loopback one: there are 16 million of those, with a certificate each."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return ()
    address = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return () if address.is_loopback else (str(address),)


def own_host_name() -> tuple[str, ...]:
    """What this machine calls itself, without asking the network; nothing that no certificate can hold."""
    name = socket.gethostname()
    return (name,) if name and name.isascii() else ()
