"""Who a client is: application secrets, and access tokens issued and verified with the home's own key.

Tokens are RS256 JWTs in the v1 form that AAD issues for ARM (shared/reference/clients.md section 4);
refusals carry the codes of batchai-service.md section 6. No password rounds anywhere: the 2018 CLI asks
for a token before each of its requests.
"""

import base64
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.types import Options

from openbatchai.domain.errors import Code, ServiceError
from openbatchai.domain.ports import Clock

# clients.md section 4; compared without trailing slashes, because clients send none, one or two.
ARM_AUDIENCES = ("https://management.core.windows.net/", "https://management.azure.com/")
# Tenant names that stand for the home tenant of whoever asks.
SHARED_TENANTS = ("common", "organizations")

_LIFETIME = timedelta(seconds=3599)
_REUSE_WHILE_LEFT = timedelta(minutes=50)
# A clock set back a little must not refuse a token issued a moment ago.
_NOT_BEFORE_TOLERANCE = timedelta(minutes=5)
_CACHE_SIZE = 1024
_K = TypeVar("_K")
_V = TypeVar("_V")
# Times and audience are checked in Identity._check: against our clock, and with ARM's error codes.
_DECODING: Options = {
    "require": ["aud", "exp", "nbf", "oid", "tid", "appid"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
}


@dataclass(frozen=True)
class Principal:
    """An application of the tenant. `secret_hash` is what hash_secret made."""

    client_id: str
    object_id: str
    tenant_id: str
    secret_hash: str


class PrincipalLookup(Protocol):
    def find(self, client_id: str) -> Principal | None:
        """The principal of an application id (any case), or None."""
        ...


@dataclass(frozen=True)
class IssuedToken:
    text: str
    issued: datetime
    expires: datetime


@dataclass(frozen=True)
class Claims:
    """What a verified token says."""

    client_id: str
    object_id: str
    tenant_id: str
    audience: str
    not_before: datetime
    expires: datetime


@dataclass(frozen=True)
class PublicKey:
    """The key that verifies our tokens; modulus and exponent as in RFC 7518 6.3.1."""

    key_id: str
    modulus: str
    exponent: str


class GrantRefusal(Enum):
    UNKNOWN_TENANT = auto()
    UNKNOWN_APPLICATION = auto()
    WRONG_SECRET = auto()


class GrantRefusedError(Exception):
    """A request for a token is refused; `subject` is the tenant or application it names."""

    def __init__(self, reason: GrantRefusal, subject: str) -> None:
        super().__init__(reason.name)
        self.reason = reason
        self.subject = subject


def new_secret() -> str:
    """A client secret of 256 random bits, of characters that survive shells, URLs and forms."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What is stored instead of a client secret.

    One salted SHA-256, no slow password hash: secrets come from new_secret, so there is no small space to
    search, while scrypt's 50 ms would be paid before each request of a 2018 CLI.
    """
    salt = secrets.token_hex(16)
    return f"sha256${salt}${_digest(salt, secret)}"


def verify_secret(secret: str, stored: str) -> bool:
    """Whether `secret` is the one `stored` was made from, in time that tells nothing of the difference."""
    scheme, _, rest = stored.partition("$")
    salt, _, digest = rest.partition("$")
    return scheme == "sha256" and hmac.compare_digest(_digest(salt, secret), digest)


def www_authenticate(tenant_id: str) -> str:
    """The WWW-Authenticate value that every 401 of ARM carries."""
    authority = f"https://login.microsoftonline.com/{tenant_id}"
    return f'Bearer authorization_uri="{authority}", error="invalid_token"'


class Identity:
    """The token authority of one installation and its one tenant."""

    def __init__(self, tenant_id: str, key_dir: Path, principals: PrincipalLookup, clock: Clock) -> None:
        self.tenant_id = tenant_id.lower()
        self.clock = clock
        self._principals = principals
        self._key = _load_or_create_key(key_dir / "token.pem")
        self._public = self._key.public_key()
        self.public_key = _describe(self._public)
        self._issued: dict[tuple[Principal, str], IssuedToken] = {}
        self._verified: dict[str, Claims] = {}

    def issue(self, tenant: str, client_id: str, client_secret: str, audience: str) -> IssuedToken:
        """A token for `audience`, or GrantRefusedError."""
        self.check_tenant(tenant)
        principal = self._principals.find(client_id)
        if principal is None or principal.tenant_id.lower() != self.tenant_id:
            raise GrantRefusedError(GrantRefusal.UNKNOWN_APPLICATION, client_id)
        if not verify_secret(client_secret, principal.secret_hash):
            raise GrantRefusedError(GrantRefusal.WRONG_SECRET, client_id)
        now = self.clock.now()
        token = self._issued.get((principal, audience))
        if token is None or not token.issued <= now < token.expires - _REUSE_WHILE_LEFT:
            token = self._sign(principal, audience, now)
            _remember(self._issued, (principal, audience), token)
        return token

    def check_tenant(self, tenant: str) -> None:
        """Raise GrantRefusedError unless `tenant` is ours or one of the shared names."""
        if tenant.lower() not in (self.tenant_id, *SHARED_TENANTS):
            raise GrantRefusedError(GrantRefusal.UNKNOWN_TENANT, tenant)

    def authenticate(self, authorization: str | None, audiences: Collection[str] = ARM_AUDIENCES) -> Claims:
        """Verify the Authorization header of a request."""
        if not authorization:
            raise _unauthorized(
                Code.AUTHENTICATION_FAILED,
                "Authentication failed. The 'Authorization' header is missing.",
            )
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unauthorized(
                Code.AUTHENTICATION_FAILED,
                "Authentication failed. The 'Authorization' header is provided in an invalid format.",
            )
        return self.verify(token.strip(), audiences)

    def verify(self, token: str, audiences: Collection[str] = ARM_AUDIENCES) -> Claims:
        """The claims of a token of ours that is in time and meant for one of `audiences`.

        Checks everything each time except the signature, whose result is remembered per token.
        """
        claims = self._verified.get(token)
        if claims is None:
            claims = self._decode(token)
            _remember(self._verified, token, claims)
        self._check(claims, audiences)
        return claims

    def _decode(self, token: str) -> Claims:
        try:
            content = jwt.decode(
                token,
                self._public,
                algorithms=["RS256"],
                options=_DECODING,
            )
            return _claims(content)
        except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError) as error:
            raise _unauthorized(
                Code.INVALID_TOKEN,
                "The access token is invalid: it was not issued by this service, or it is damaged.",
            ) from error

    def _check(self, claims: Claims, audiences: Collection[str]) -> None:
        now = self.clock.now()
        if claims.tenant_id != self.tenant_id:
            raise _unauthorized(
                Code.INVALID_TOKEN_TENANT,
                f"The access token is from the wrong issuer '{_issuer(claims.tenant_id)}'. It must match the"
                f" tenant '{_issuer(self.tenant_id)}' associated with this subscription.",
            )
        if now >= claims.expires:
            raise _unauthorized(
                Code.EXPIRED_TOKEN,
                f"The access token expiry UTC time '{_show(claims.expires)}' is earlier than current UTC"
                f" time '{_show(now)}'.",
            )
        if now < claims.not_before - _NOT_BEFORE_TOLERANCE:
            raise _unauthorized(
                Code.INVALID_TOKEN, f"The access token is not valid before '{_show(claims.not_before)}'."
            )
        if claims.audience.rstrip("/") not in {audience.rstrip("/") for audience in audiences}:
            raise _unauthorized(
                Code.INVALID_TOKEN_AUDIENCE,
                f"The access token has been obtained for wrong audience or resource '{claims.audience}'. It"
                f" should exactly match with one of the allowed audiences '{','.join(audiences)}'.",
            )

    def _sign(self, principal: Principal, audience: str, now: datetime) -> IssuedToken:
        issued = now.replace(microsecond=0)
        expires = issued + _LIFETIME
        claims = {
            "aud": audience,
            "iss": _issuer(self.tenant_id),
            "iat": int(issued.timestamp()),
            "nbf": int(issued.timestamp()),
            "exp": int(expires.timestamp()),
            "appid": principal.client_id,
            "appidacr": "1",
            "idp": _issuer(self.tenant_id),
            "oid": principal.object_id,
            "sub": principal.object_id,
            "tid": self.tenant_id,
            "ver": "1.0",
        }
        headers = {"kid": self.public_key.key_id}
        return IssuedToken(jwt.encode(claims, self._key, algorithm="RS256", headers=headers), issued, expires)


def _issuer(tenant_id: str) -> str:
    return f"https://sts.windows.net/{tenant_id}/"


def _claims(content: Mapping[str, Any]) -> Claims:
    for name in ("appid", "oid", "tid", "aud"):
        if not isinstance(content[name], str):
            raise TypeError(f"claim {name} is not a string")
    return Claims(
        client_id=content["appid"],
        object_id=content["oid"],
        tenant_id=content["tid"].lower(),
        audience=content["aud"],
        not_before=datetime.fromtimestamp(content["nbf"], UTC),
        expires=datetime.fromtimestamp(content["exp"], UTC),
    )


def _unauthorized(code: Code, message: str) -> ServiceError:
    return ServiceError(401, code, message)


def _show(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _digest(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}${secret}".encode()).hexdigest()


def _remember(cache: dict[_K, _V], key: _K, value: _V) -> None:
    """Keep at most _CACHE_SIZE entries. Emptying it costs each client one signature."""
    if len(cache) >= _CACHE_SIZE:
        cache.clear()
    cache[key] = value


def _load_or_create_key(path: Path) -> rsa.RSAPrivateKey:
    """The signing key; created once. Its appearance is atomic and never replaces another one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _create_key(path)
    # Our own file: the primality checks that a foreign key would deserve take 30 ms of every start.
    key = serialization.load_pem_private_key(
        path.read_bytes(), password=None, unsafe_skip_rsa_key_validation=True
    )
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{path} does not hold an RSA key")
    return key


def _create_key(path: Path) -> None:
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # mkstemp makes the file 0600.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".token.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _describe(key: rsa.RSAPublicKey) -> PublicKey:
    numbers = key.public_numbers()
    exponent, modulus = _base64url(numbers.e), _base64url(numbers.n)
    # RFC 7638: the key's thumbprint is the digest of its required members in this order.
    canonical = f'{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}'
    digest = hashlib.sha256(canonical.encode()).digest()
    return PublicKey(_encode(digest), modulus, exponent)


def _base64url(number: int) -> str:
    return _encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
