"""The CA's files and certificates."""

import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from openbatchai.http import tls
from openbatchai.http.tls import CertificateAuthority


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "ca"


def _load(path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _handshake(server: ssl.SSLContext, bundle, name: str) -> dict:
    """A strict TLS handshake in memory; the certificate that the client accepted."""
    client = ssl.create_default_context(cafile=str(bundle))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    done = 0
    while done < 2:
        done = 0
        for side in (near, far):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
    return near.getpeercert()


def test_files_and_modes(directory):
    ca = CertificateAuthority.load_or_create(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["bundle.pem", "ca.key", "ca.pem"]
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    ca.server_context("localhost")
    assert len(list(directory.iterdir())) == 3  # no leaf stays on disk


def test_the_bundle_holds_the_public_authorities_and_ours(directory):
    ca = CertificateAuthority.load_or_create(directory)
    bundle = ca.bundle_path.read_text()
    assert bundle.count("BEGIN CERTIFICATE") == 1 + certifi.contents().count("BEGIN CERTIFICATE")
    assert ca.certificate_path.read_text() in bundle


def test_the_authority_survives_a_restart(directory):
    first = CertificateAuthority.load_or_create(directory)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}
    second = CertificateAuthority.load_or_create(directory)
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}
    _handshake(second.server_context("localhost"), first.bundle_path, "localhost")


def test_a_changed_public_list_rewrites_the_bundle(directory):
    CertificateAuthority.load_or_create(directory)
    good = (directory / "bundle.pem").read_bytes()
    (directory / "bundle.pem").write_bytes(b"an older list")
    CertificateAuthority.load_or_create(directory)
    assert (directory / "bundle.pem").read_bytes() == good


def test_a_start_cut_between_key_and_certificate_is_completed(directory):
    CertificateAuthority.load_or_create(directory)
    key = (directory / "ca.key").read_bytes()
    (directory / "ca.pem").unlink()
    (directory / "bundle.pem").unlink()
    ca = CertificateAuthority.load_or_create(directory)
    assert (directory / "ca.key").read_bytes() == key
    _handshake(ca.server_context("localhost"), ca.bundle_path, "localhost")


def test_a_certificate_of_another_key_is_replaced(directory, tmp_path):
    CertificateAuthority.load_or_create(directory)
    other = CertificateAuthority.load_or_create(tmp_path / "other")
    (directory / "ca.pem").write_bytes(other.certificate_path.read_bytes())
    ca = CertificateAuthority.load_or_create(directory)
    _handshake(ca.server_context("localhost"), ca.bundle_path, "localhost")


def test_an_ageing_certificate_is_renewed_under_the_same_key(directory):
    directory.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    tls.write_file(directory / "ca.key", tls._key_pem(key), 0o600)
    old = tls._sign_ca(key, datetime.now(UTC) - timedelta(days=3600))
    tls.write_file(directory / "ca.pem", tls._certificate_pem(old), 0o644)
    ca = CertificateAuthority.load_or_create(directory)
    new = _load(ca.certificate_path)
    assert new.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3000)
    assert new.public_key() == key.public_key()
    assert ca.certificate_path.read_text() in ca.bundle_path.read_text()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "acct.blob.core.windows.net"])
def test_strict_clients_accept_every_kind_of_name(directory, name):
    ca = CertificateAuthority.load_or_create(directory)
    context = ca.server_context("localhost", "127.0.0.1", "::1", "*.blob.core.windows.net")
    assert _handshake(context, ca.bundle_path, name)


def test_another_name_is_refused(directory):
    ca = CertificateAuthority.load_or_create(directory)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(ca.server_context("localhost"), ca.bundle_path, "management.azure.com")


def test_contexts_are_kept_per_names(directory):
    ca = CertificateAuthority.load_or_create(directory)
    assert ca.server_context("a", "b") is ca.server_context("a", "b")
    assert ca.server_context("a") is not ca.server_context("b")


def test_a_leaf_is_renewed_in_the_middle_of_its_life(directory):
    times = [datetime.now(UTC)]
    ca = CertificateAuthority.load_or_create(directory, lambda: times[-1])
    first = ca.server_context("a")
    times.append(times[0] + timedelta(days=190))
    assert ca.server_context("a") is first
    times.append(times[0] + timedelta(days=200))
    assert ca.server_context("a") is not first


def test_a_failed_write_leaves_the_old_file(directory, monkeypatch):
    directory.mkdir()
    path = directory / "file"
    tls.write_file(path, b"old", 0o600)
    monkeypatch.setattr(tls.os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        tls.write_file(path, b"new", 0o600)
    assert [entry.name for entry in directory.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_openssl_finds_the_chain_in_order(directory, tmp_path):
    """A second opinion beside Python's: the purposes and the strict checks of the openssl tool."""
    ca = CertificateAuthority.load_or_create(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = _load(ca.certificate_path)
    leaf = tls._sign_leaf(("localhost",), key, issuer, ca._key, datetime.now(UTC))
    (tmp_path / "leaf.pem").write_bytes(tls._certificate_pem(leaf))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
    done = subprocess.run(
        [*command, str(ca.certificate_path), str(tmp_path / "leaf.pem")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
