"""Tokens: issued, verified, forged, out of date, of another tenant."""

import stat
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.services.identity import (
    Claims,
    GrantRefusal,
    GrantRefusedError,
    Identity,
    Principal,
    hash_secret,
    new_secret,
    verify_secret,
    www_authenticate,
)

ARM = "https://management.azure.com/"
TENANT = "72F988BF-86f1-41af-91ab-2d7cd011db47"
OTHER_TENANT = "0b2c8b9e-5a0e-4d62-9d5c-3f6f1c2a7d10"
SECRET = "correct horse"
PRINCIPAL = Principal("app", "object", TENANT.lower(), hash_secret(SECRET))


class Clock:
    moment = datetime(2018, 10, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


class Principals:
    def find(self, client_id: str) -> Principal | None:
        return PRINCIPAL if client_id == "app" else None


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def identity(tmp_path, clock):
    return Identity(TENANT, tmp_path / "keys", Principals(), clock)


@pytest.fixture
def token(identity) -> str:
    return identity.issue(TENANT, "app", SECRET, ARM).text


def _refusal(call, *arguments) -> Code:
    with pytest.raises(ServiceError) as caught:
        call(*arguments)
    assert caught.value.status == 401
    assert caught.value.message
    return caught.value.code


def _altered(identity, token: str, **changes) -> str:
    """The token with other claims, signed with the authority's own key; None leaves a claim out."""
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, identity._key, algorithm="RS256")


def test_a_token_says_who_and_how_long(identity, token, clock):
    now = clock.now()
    assert identity.verify(token) == Claims(
        "app", "object", TENANT.lower(), ARM, now, now + timedelta(seconds=3599)
    )


def test_the_header_of_a_request(identity, token):
    assert identity.authenticate(f"Bearer {token}").client_id == "app"
    assert identity.authenticate(f"bearer  {token}").client_id == "app"
    for header in (None, "", "Bearer", "Bearer ", "Basic abc", token):
        assert _refusal(identity.authenticate, header) == Code.AUTHENTICATION_FAILED


@pytest.mark.parametrize("text", ["x", "a.b.c", "..", "é", "e30.e30."])
def test_what_is_no_token(identity, text):
    assert _refusal(identity.verify, text) == Code.INVALID_TOKEN


def test_forged_tokens(identity, token):
    claims = jwt.decode(token, options={"verify_signature": False})
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = [
        jwt.encode(claims, foreign, algorithm="RS256"),
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims, "a" * 64, algorithm="HS256"),
        token[:-8] + "AAAAAAAA",
        token.rsplit(".", 1)[0] + ".",
    ]
    head, _, signature = token.split(".")
    forged.append(f"{head}.{jwt.encode(claims | {'appid': 'other'}, 'a' * 64).split('.')[1]}.{signature}")
    for text in forged:
        assert _refusal(identity.verify, text) == Code.INVALID_TOKEN


@pytest.mark.parametrize("claim", ["aud", "exp", "nbf", "oid", "tid", "appid"])
def test_a_token_that_lacks_a_claim(identity, token, claim):
    assert _refusal(identity.verify, _altered(identity, token, **{claim: None})) == Code.INVALID_TOKEN


@pytest.mark.parametrize(("claim", "value"), [("aud", [ARM]), ("exp", "soon"), ("exp", 10**30), ("tid", 5)])
def test_a_token_with_a_claim_of_the_wrong_type(identity, token, claim, value):
    code = _refusal(identity.verify, _altered(identity, token, **{claim: value}))
    assert code in (Code.INVALID_TOKEN, Code.EXPIRED_TOKEN)


def test_a_token_expires_also_when_it_was_seen_before(identity, token, clock):
    identity.verify(token)
    clock.moment += timedelta(seconds=3598)
    identity.verify(token)
    clock.moment += timedelta(seconds=1)
    assert _refusal(identity.verify, token) == Code.EXPIRED_TOKEN


def test_a_token_of_the_future(identity, token, clock):
    clock.moment -= timedelta(minutes=4)
    identity.verify(token)
    clock.moment -= timedelta(minutes=2)
    assert _refusal(identity.verify, token) == Code.INVALID_TOKEN


def test_a_token_of_another_tenant(identity, token):
    other = _altered(identity, token, tid=OTHER_TENANT)
    assert _refusal(identity.verify, other) == Code.INVALID_TOKEN_TENANT


def test_audiences_ignore_trailing_slashes_and_nothing_else(identity):
    for audience in ("https://management.core.windows.net", "https://management.azure.com//"):
        assert identity.verify(identity.issue(TENANT, "app", SECRET, audience).text)
    storage = identity.issue(TENANT, "app", SECRET, "https://storage.azure.com").text
    assert _refusal(identity.verify, storage) == Code.INVALID_TOKEN_AUDIENCE
    assert identity.verify(storage, ["https://storage.azure.com/"])


@pytest.mark.parametrize(
    ("tenant", "client_id", "secret", "reason"),
    [
        (OTHER_TENANT, "app", SECRET, GrantRefusal.UNKNOWN_TENANT),
        (TENANT, "other", SECRET, GrantRefusal.UNKNOWN_APPLICATION),
        (TENANT, "app", "wrong", GrantRefusal.WRONG_SECRET),
        ("common", "app", "", GrantRefusal.WRONG_SECRET),
    ],
)
def test_refused_grants(identity, tenant, client_id, secret, reason):
    with pytest.raises(GrantRefusedError) as caught:
        identity.issue(tenant, client_id, secret, ARM)
    assert caught.value.reason == reason
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("tenant", [TENANT, TENANT.lower(), "common", "Organizations"])
def test_names_of_the_tenant(identity, tenant):
    assert identity.issue(tenant, "app", SECRET, ARM)


def test_a_token_is_used_again_while_it_has_long_to_live(identity, clock):
    first = identity.issue(TENANT, "app", SECRET, ARM)
    clock.moment += timedelta(minutes=9)
    assert identity.issue("common", "app", SECRET, ARM) is first
    assert identity.issue(TENANT, "app", SECRET, ARM + "other") is not first
    clock.moment += timedelta(minutes=1)
    second = identity.issue(TENANT, "app", SECRET, ARM)
    assert second.expires > first.expires
    clock.moment -= timedelta(hours=1)
    assert identity.issue(TENANT, "app", SECRET, ARM).expires < first.expires


def test_a_remembered_token_does_not_help_a_wrong_secret(identity, token):
    with pytest.raises(GrantRefusedError):
        identity.issue(TENANT, "app", "wrong", ARM)


def test_the_key_outlives_a_restart_and_only_its_owner_reads_it(identity, token, tmp_path, clock):
    path = tmp_path / "keys" / "token.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["token.pem"]
    again = Identity(TENANT, tmp_path / "keys", Principals(), clock)
    assert again.verify(token) == identity.verify(token)
    assert again.public_key == identity.public_key


def test_many_tokens_do_not_grow_the_service(identity):
    for number in range(3):
        identity.verify(identity.issue(TENANT, "app", SECRET, ARM + "/" * number).text)
    identity._verified.update({f"x{number}": identity._verified.copy() for number in range(1024)})
    identity.verify(identity.issue(TENANT, "app", SECRET, ARM + "////").text)
    assert len(identity._verified) == 1


def test_www_authenticate():
    assert www_authenticate("t") == (
        'Bearer authorization_uri="https://login.microsoftonline.com/t", error="invalid_token"'
    )


@given(st.text(), st.text())
def test_secrets(secret, other):
    stored = hash_secret(secret)
    assert verify_secret(secret, stored)
    assert verify_secret(other, stored) == (other == secret)
    assert stored != hash_secret(secret)


@pytest.mark.parametrize("stored", ["", "sha256", "sha256$", "sha256$salt$", "plain$a$b"])
def test_a_damaged_hash_matches_nothing(stored):
    assert not verify_secret("", stored)


def test_new_secrets_are_long_and_safe_in_shells():
    secret = new_secret()
    assert len(secret) >= 43
    assert secret.replace("-", "").replace("_", "").isalnum()
    assert secret != new_secret()
