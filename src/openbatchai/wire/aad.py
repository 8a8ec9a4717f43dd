"""The token authority on the wire: requests, replies, discovery documents and AADSTS errors.

The request shapes are those of shared/reference/clients.md section 4: client credentials in a Basic
header (msrestazure 0.4) or in the form (adal, MSAL), v1 with `resource`, v2 with `scope`.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

# Scopes of user sign-in that libraries add of themselves; they name no resource.
_OPENID_SCOPES = {"openid", "profile", "email", "offline_access"}
_DEFAULT = "/.default"
_ALIASES = ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"]


@dataclass(frozen=True)
class TokenRequest:
    client_id: str
    client_secret: str = field(repr=False)
    audience: str


class AuthorityError(Exception):
    """An OAuth error (RFC 6749 5.2) with AAD's number and wording."""

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.error = error
        self.number = number
        self.text = text


def missing_parameter(name: str) -> AuthorityError:
    text = f"The request body must contain the following parameter: '{name}'."
    return AuthorityError(400, "invalid_request", 900144, text)


def no_address(name: str) -> AuthorityError:
    text = f"The value of the parameter '{name}' is not a valid address."
    return AuthorityError(400, "invalid_request", 90013, text)


def unsupported_grant_type(grant_type: str) -> AuthorityError:
    text = f"The app requested an unsupported grant type '{grant_type}'."
    return AuthorityError(400, "unsupported_grant_type", 70003, text)


def unknown_tenant(tenant: str) -> AuthorityError:
    text = f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID."
    return AuthorityError(400, "invalid_request", 90002, text)


def unknown_application(client_id: str, tenant: str) -> AuthorityError:
    text = f"Application with identifier '{client_id}' was not found in the directory '{tenant}'."
    return AuthorityError(400, "unauthorized_client", 700016, text)


def wrong_secret(client_id: str) -> AuthorityError:
    text = (
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret"
        f" value, not the client secret ID, for a secret added to app '{client_id}'."
    )
    return AuthorityError(401, "invalid_client", 7000215, text)


def post_only(method: str) -> AuthorityError:
    text = f"The endpoint only accepts POST requests. Received a {method} request."
    return AuthorityError(400, "invalid_request", 900561, text)


def request_too_large() -> AuthorityError:
    return AuthorityError(413, "invalid_request", 90100, "The request body is too large.")


def parse_token_request(body: bytes, authorization: str | None, *, v2: bool) -> TokenRequest:
    """The client credentials and the audience that a token request asks for."""
    # A field given twice is malformed (RFC 6749 3.2); the last one wins here, as nothing depends on it.
    form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    header_id, header_secret = _basic_credentials(authorization)
    client_id = form.get("client_id") or header_id
    client_secret = form.get("client_secret") or header_secret
    grant_type = form.get("grant_type")
    if not grant_type:
        raise missing_parameter("grant_type")
    if not client_id:
        raise missing_parameter("client_id")
    if grant_type != "client_credentials":
        raise unsupported_grant_type(grant_type)
    if not client_secret:
        text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
        raise AuthorityError(401, "invalid_client", 7000218, text)
    return TokenRequest(client_id, client_secret, _scope_audience(form) if v2 else _resource(form))


def _basic_credentials(authorization: str | None) -> tuple[str, str]:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    # RFC 6749 2.3.1 has both form-encoded first; requests-oauthlib does not do it, and the characters of
    # our ids and secrets stay the same either way.
    user, _, password = text.partition(":")
    return user, password


def _resource(form: Mapping[str, str]) -> str:
    resource = form.get("resource")
    if not resource:
        raise missing_parameter("resource")
    return resource


def _scope_audience(form: Mapping[str, str]) -> str:
    """`https://management.azure.com/.default` asks for that resource; one slash belongs to the suffix."""
    scope = form.get("scope", "")
    if not scope.strip():
        raise missing_parameter("scope")
    resources = [item for item in scope.split() if item not in _OPENID_SCOPES]
    if len(resources) != 1 or not resources[0].endswith(_DEFAULT) or resources[0] == _DEFAULT:
        text = (
            f"The provided value for scope {scope} is not valid. Client credential flows must have a scope"
            " value with /.default suffixed to the resource identifier (application ID URI)."
        )
        raise AuthorityError(400, "invalid_scope", 1002012, text)
    return resources[0].removesuffix(_DEFAULT)


def token_reply(
    access_token: str, audience: str, *, issued: datetime, expires: datetime, now: datetime, v2: bool
) -> dict[str, Any]:
    """v1 sends its numbers as strings, v2 as numbers."""
    left = max(0, int((expires - now).total_seconds()))
    if v2:
        return {
            "token_type": "Bearer",
            "expires_in": left,
            "ext_expires_in": left,
            "access_token": access_token,
        }
    return {
        "token_type": "Bearer",
        "expires_in": str(left),
        "ext_expires_in": str(left),
        "expires_on": str(int(expires.timestamp())),
        "not_before": str(int(issued.timestamp())),
        "resource": audience,
        "access_token": access_token,
    }


def error_reply(error: AuthorityError, now: datetime, trace_id: str, correlation_id: str) -> dict[str, Any]:
    timestamp = now.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    description = (
        f"AADSTS{error.number}: {error.text} Trace ID: {trace_id} Correlation ID: {correlation_id}"
        f" Timestamp: {timestamp}"
    )
    return {
        "error": error.error,
        "error_description": description,
        "error_codes": [error.number],
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
    }


def openid_configuration(base: str, tenant: str, issuer_tenant: str, *, v2: bool) -> dict[str, Any]:
    """MSAL needs `token_endpoint` and `authorization_endpoint`. `base` is where the client reached us."""
    here = f"{base}/{tenant}"
    version = "/v2.0" if v2 else ""
    issuer = f"{base}/{issuer_tenant}/v2.0" if v2 else f"https://sts.windows.net/{issuer_tenant}/"
    return {
        "token_endpoint": f"{here}/oauth2{version}/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "jwks_uri": f"{here}/discovery{version}/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "authorization_endpoint": f"{here}/oauth2{version}/authorize",
        "tenant_region_scope": None,
        "cloud_instance_name": "microsoftonline.com",
    }


def key_set(key_id: str, modulus: str, exponent: str) -> dict[str, Any]:
    key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key_id, "n": modulus, "e": exponent}
    return {"keys": [key]}


def instance_discovery(base: str, tenant: str) -> dict[str, Any]:
    """What libraries ask before they trust an authority they do not know."""
    return {
        "tenant_discovery_endpoint": f"{base}/{tenant}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [
            {
                "preferred_network": "login.microsoftonline.com",
                "preferred_cache": "login.windows.net",
                "aliases": _ALIASES,
            }
        ],
    }
