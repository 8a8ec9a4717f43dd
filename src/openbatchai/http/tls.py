"""The certificate authority of one installation, and TLS server contexts signed by it.

The CA's key stays in `<home>/ca/ca.key` and is never installed system-wide; clients trust it through
`bundle.pem`, which holds the public CAs as well because these variables replace the public list instead
of adding to it (shared/reference/clients.md section 1). Keys are P-256: an RSA leaf makes each handshake
several times dearer. The extensions are those that RFC 5280 4.2.1 demands, because Python 3.13 verifies
with VERIFY_X509_STRICT by default.
"""

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=397)
# A certificate must already be valid for a client whose clock is a little behind.
_BACKDATE = timedelta(days=1)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` in one step, so that a reader or a crash never meets half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@dataclass(frozen=True)
class _Leaf:
    context: ssl.SSLContext
    renew_at: datetime


class CertificateAuthority:
    """Signs a certificate per set of names, on demand, and keeps the contexts in memory."""

    def __init__(
        self,
        directory: Path,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        now: Callable[[], datetime],
    ) -> None:
        self._directory = directory
        self._now = now
        self._key = key
        self._certificate = certificate
        self._leaves: dict[tuple[str, ...], _Leaf] = {}

    @classmethod
    def load_or_create(
        cls, directory: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> "CertificateAuthority":
        """The CA kept in `directory`; a missing or damaged one is made anew, an ageing one renewed."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = _load_or_create_key(directory / "ca.key")
        certificate = _load_or_create_certificate(directory / "ca.pem", key)
        authority = cls(directory, key, certificate, now)
        authority._write_bundle()
        return authority

    @property
    def certificate_path(self) -> Path:
        return self._directory / "ca.pem"

    @property
    def bundle_path(self) -> Path:
        """Public CAs plus ours: what REQUESTS_CA_BUNDLE and its relatives point to."""
        return self._directory / "bundle.pem"

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server context whose certificate is valid for all `names` (DNS names, wildcards, addresses)."""
        leaf = self._leaves.get(names)
        if leaf is None or self._now() >= leaf.renew_at:
            leaf = self._issue(names)
            self._leaves[names] = leaf
        return leaf.context

    def _issue(self, names: tuple[str, ...]) -> _Leaf:
        now = self._now()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign_leaf(names, key, self._certificate, self._key, now)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The protocol behind is HTTP/1.1; without this, a client that offers h2 would have to guess.
        context.set_alpn_protocols(["http/1.1"])
        chain = _key_pem(key) + _certificate_pem(certificate)
        # The ssl module reads key and chain only from a file; this one is 0600 and gone at once.
        with tempfile.NamedTemporaryFile(dir=self._directory, prefix=".leaf.") as file:
            file.write(chain)
            file.flush()
            context.load_cert_chain(file.name)
        return _Leaf(context, now + _LEAF_LIFE / 2)

    def _write_bundle(self) -> None:
        public = Path(certifi.where()).read_bytes()
        bundle = public.rstrip() + b"\n\n# OpenBatchAI\n" + _certificate_pem(self._certificate)
        if _read(self.bundle_path) != bundle:
            write_file(self.bundle_path, bundle, 0o644)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _load_or_create_key(path: Path) -> ec.EllipticCurvePrivateKey:
    content = _read(path)
    if content is not None:
        key = serialization.load_pem_private_key(content, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{path} does not hold the elliptic-curve key of a local CA")
        return key
    key = ec.generate_private_key(ec.SECP256R1())
    write_file(path, _key_pem(key), 0o600)
    return key


def _load_or_create_certificate(path: Path, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A certificate of another key (an interrupted start) or near its end is replaced under the same key."""
    now = datetime.now(UTC)
    content = _read(path)
    if content is not None:
        certificate = x509.load_pem_x509_certificate(content)
        outlives_leaves = certificate.not_valid_after_utc > now + _LEAF_LIFE
        if certificate.public_key() == key.public_key() and outlives_leaves:
            return certificate
    certificate = _sign_ca(key, now)
    write_file(path, _certificate_pem(certificate), 0o644)
    return certificate


def _sign_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # The key's identifier in the name keeps the CAs of two installations apart in one trust store.
    name = _name(f"OpenBatchAI local CA {identifier.digest.hex()[:8]}")
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(key, hashes.SHA256())
    )


def _sign_leaf(
    names: tuple[str, ...],
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    issuer_identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(_name(names[0][:64]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + _LEAF_LIFE)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
