"""What the storage benchmark measures: a running server with an account; ours, and others beside it."""

import base64
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from measuring import environment, free_port

CACHE = Path.home() / ".cache" / "openbatchai-bench"
AZURITE = "3.35"
CONTAINER = "benchmark"
_START_S = 120.0


@dataclass(frozen=True)
class Server:
    """`url` is the Blob endpoint of the account; `pid` the process whose time and memory count."""

    name: str
    url: str
    account: str
    key: str
    pid: int

    def container(self) -> ContainerClient:
        return ContainerClient(self.url, CONTAINER, credential=self.key)

    def token(self) -> str:
        """A SAS for everything in the container, for clients that do not sign."""
        permission = ContainerSasPermissions(read=True, write=True, create=True, list=True, delete=True)
        expiry = datetime.now(UTC) + timedelta(days=1)
        return generate_container_sas(self.account, CONTAINER, self.key, permission=permission, expiry=expiry)

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def pss_mib(self) -> float:
        return float(psutil.Process(self.pid).memory_full_info().pss) / 2**20


def ours(endpoint: dict[str, Any]) -> Server:
    account = endpoint["storage_account"]
    url = f"{endpoint['blob']}/{account}"
    return Server("ours", url, account, endpoint["storage_key"], endpoint["pid"])


@contextlib.contextmanager
def azurite() -> Iterator[Server | None]:
    """Azurite's Blob service with its data on disk; None, and a line that says why, when it cannot be had."""
    main = _azurite()
    if main is None:
        yield None
        return
    account, key = "benchmark", base64.b64encode(os.urandom(64)).decode()
    port = free_port()
    with scratch() as home:
        words = ["--blobPort", str(port), "--location", str(home), "--silent", "--disableTelemetry"]
        command = ["node", str(main), *words, "--skipApiVersionCheck"]
        with running(command, port, AZURITE_ACCOUNTS=f"{account}:{key}") as pid:
            yield Server(f"Azurite {AZURITE}", f"http://127.0.0.1:{port}/{account}", account, key, pid)


def _azurite() -> Path | None:
    main = CACHE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    if main.exists():
        return main
    if shutil.which("npm") is None:
        print("  Azurite is left out: there is no npm here")
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(CACHE), f"azurite@{AZURITE}"]
    if subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        print("  Azurite is left out: npm cannot install it")
        return None
    return main


@dataclass(frozen=True)
class Ceiling:
    """A server that does nothing but send a file; `tls_port` is 0 where it has no TLS."""

    name: str
    port: int
    tls_port: int


@contextlib.contextmanager
def ceiling(directory: Path) -> Iterator[Ceiling]:
    """nginx over the files of `directory`, or a bare sendfile(2) where there is no nginx."""
    if shutil.which("nginx") is None:
        print("  nginx is left out: it is not installed (apt-get install nginx-light)")
        port = free_port()
        with running([sys.executable, __file__, str(directory), str(port)], port):
            yield Ceiling("sendfile", port, 0)
        return
    port = free_port()
    with scratch() as home:
        certificate(home)
        (home / "nginx.conf").write_text(_NGINX.format(home=home, root=directory, port=port, tls=port + 1))
        command = ["nginx", "-p", str(home), "-e", "stderr", "-c", str(home / "nginx.conf")]
        with running(command, port):
            yield Ceiling("nginx", port, port + 1)


_NGINX = """
daemon off;
user root;
worker_processes 1;
pid {home}/pid;
events {{ }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {home}/1; proxy_temp_path {home}/2; fastcgi_temp_path {home}/3;
    uwsgi_temp_path {home}/4; scgi_temp_path {home}/5;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {home}/cert.pem;
        ssl_certificate_key {home}/key.pem;
        root {root};
    }}
}}
"""


def certificate(home: Path) -> None:
    """A self-signed P-256 certificate, as our own CA's are."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    (home / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (home / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="openbatchai-benchmark-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running(command: list[str], port: int, **variables: str) -> Iterator[int]:
    """A server process, once it listens on `port`."""
    variables = environment() | variables
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=variables) as process:
        try:
            deadline = time.monotonic() + _START_S
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"{command[0]} does not start") from None
                    time.sleep(0.02)
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """A client's context; without a bundle it takes any certificate."""
    context = ssl.create_default_context(cafile=ca_bundle)
    if ca_bundle is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _serve_files(directory: Path, port: int) -> None:
    """The ceiling without nginx: answers each request with the file's bytes by sendfile(2)."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            connection, _ = listening.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
                    head += data
                if not head:
                    continue
                file = directory / head.split()[1].decode().lstrip("/")
                with file.open("rb") as content:
                    size = os.fstat(content.fileno()).st_size
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                    connection.sendfile(content)


if __name__ == "__main__":
    _serve_files(Path(sys.argv[1]), int(sys.argv[2]))
