"""Who may do what: from the credentials of a request to a Grant (storage.md section 4 and 8).

Both services share it; their differences are in the strings that sas.py and sharedkey.py build.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from openbatchai.dataplane import sas
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.sharedkey import (
    SignedRequest,
    matches,
    shared_key_lite_strings,
    shared_key_strings,
)
from openbatchai.domain.ports import ItemRef, StorageService

MAX_SKEW = timedelta(minutes=15)

VerifyBearer = Callable[[str], str | None]
FindPolicies = Callable[[ItemRef], tuple[sas.StoredPolicy, ...]]


@dataclass(frozen=True)
class Grant:
    """What the credentials allow. `permissions=None` is the owner of the account.

    `scopes` are the resource types of an account SAS: s(ervice), c(ontainer), o(bject). `overrides` are
    response headers that a service SAS sets on GET.
    """

    permissions: frozenset[str] | None = None
    scopes: frozenset[str] = frozenset("sco")
    is_sas: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)

    def demand(self, scope: str, any_of: str) -> None:
        """403 unless one of the permissions is given for one of the resource types in `scope`."""
        if self.permissions is None:
            return
        if not self.scopes.intersection(scope):
            raise StorageError(StorageCode.RESOURCE_TYPE_MISMATCH)
        if not self.permissions.intersection(any_of):
            raise StorageError(StorageCode.PERMISSION_MISMATCH)


@dataclass(frozen=True)
class Credentials:
    """Everything about a request that authorisation looks at. `query` holds decoded values."""

    signed: SignedRequest
    ref: ItemRef
    query: Mapping[str, str]
    client_ip: str
    scheme: str


@dataclass(frozen=True)
class Authority:
    """The rules of one server; `challenge` is the WWW-Authenticate value of a 401."""

    verify_bearer: VerifyBearer
    find_policies: FindPolicies
    challenge: str
    max_skew: timedelta = MAX_SKEW

    def authorise(self, credentials: Credentials, keys: tuple[str, ...], now: datetime) -> Grant:
        header = credentials.signed.header("authorization")
        if header:
            return self._by_header(credentials, header, keys, now)
        if sas.is_sas(credentials.query):
            return self._by_sas(credentials, keys, now)
        raise StorageError(StorageCode.NO_AUTHENTICATION, headers={"WWW-Authenticate": self.challenge})

    def _by_header(
        self, credentials: Credentials, header: str, keys: tuple[str, ...], now: datetime
    ) -> Grant:
        scheme, _, value = header.strip().partition(" ")
        if scheme.lower() == "bearer":
            return self._by_bearer(credentials, value.strip())
        if scheme not in ("SharedKey", "SharedKeyLite"):
            raise StorageError(StorageCode.INVALID_AUTHENTICATION)
        account, _, given = value.strip().partition(":")
        if account.removesuffix("-secondary") != credentials.ref.account:
            raise _failed("The account of the Authorization header is not the account of the URL.")
        self._check_clock(credentials.signed, now)
        make = shared_key_strings if scheme == "SharedKey" else shared_key_lite_strings
        if not matches(keys, make(credentials.signed), given):
            raise _failed(
                "The MAC signature found in the HTTP request is not the same as any computed signature."
            )
        return Grant()

    def _by_bearer(self, credentials: Credentials, token: str) -> Grant:
        if self.verify_bearer(token) is None:
            raise StorageError(
                StorageCode.NO_AUTHENTICATION,
                "The access token is not valid here.",
                headers={"WWW-Authenticate": self.challenge},
            )
        is_file = credentials.ref.service is StorageService.FILE
        if is_file and credentials.signed.header("x-ms-file-request-intent").lower() != "backup":
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-file-request-intent"})
        return Grant()

    def _check_clock(self, signed: SignedRequest, now: datetime) -> None:
        text = signed.header("x-ms-date") or signed.header("date")
        try:
            sent = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            raise _failed("The request has no valid x-ms-date or Date header.") from None
        if sent.tzinfo is None or abs(sent - now) > self.max_skew:
            raise _failed(f"Request date header too old or too new: '{text}'.")

    def _by_sas(self, credentials: Credentials, keys: tuple[str, ...], now: datetime) -> Grant:
        query = credentials.query
        if not sas.is_well_formed(query):
            raise _failed("A field of the token is not in the correct format.")
        if sas.is_account_sas(query):
            texts = (sas.account_string(credentials.ref.account, query),)
        else:
            resource = sas.canonical_resource(credentials.ref, query)
            texts = (sas.service_string(credentials.ref.service, resource, query),)
        if not matches(keys, texts, query["sig"].replace(" ", "+")):
            raise _failed("Signature did not match.")
        fields = query if sas.is_account_sas(query) else self._with_policy(credentials)
        _check_window(fields, now)
        _check_origin(credentials)
        if sas.is_account_sas(query):
            if credentials.ref.service.value[0] not in query.get("ss", ""):
                raise StorageError(StorageCode.SERVICE_MISMATCH)
            return Grant(frozenset(query.get("sp", "")), frozenset(query.get("srt", "")), is_sas=True)
        overrides = {name: query[key] for key, name in sas.RESPONSE_HEADERS.items() if query.get(key)}
        return Grant(
            frozenset(fields.get("sp", "")), _service_scopes(query), is_sas=True, overrides=overrides
        )

    def _with_policy(self, credentials: Credentials) -> Mapping[str, str]:
        """The token's fields, completed by the stored access policy that `si` names."""
        query, identifier = credentials.query, credentials.query.get("si")
        if not identifier:
            return query
        for policy in self.find_policies(credentials.ref):
            if policy.id == identifier:
                stored = {"st": policy.start, "se": policy.expiry, "sp": policy.permission}
                stored = {name: value for name, value in stored.items() if value}
                if any(query.get(name) for name in stored):
                    raise _failed("A field stands both in the token and in its stored access policy.")
                return {**query, **stored}
        raise _failed("The stored access policy of the token does not exist.")


def _service_scopes(query: Mapping[str, str]) -> frozenset[str]:
    """A token for a container also lists it (scope c, permission l); it never manages it."""
    return frozenset("lo") if query.get("sr") in ("c", "s") else frozenset("o")


def _check_window(fields: Mapping[str, str], now: datetime) -> None:
    expiry = sas.parse_time(fields.get("se", ""))
    if expiry is None:
        raise _failed("Signed expiry time is missing or not in the correct format.")
    if expiry <= now:
        raise _failed(f"Signature not valid in the specified time frame: expired at {fields['se']}.")
    if fields.get("st"):
        start = sas.parse_time(fields["st"])
        if start is None or start > now:
            raise _failed(f"Signature not valid in the specified time frame: starts at {fields['st']}.")
    if not fields.get("sp"):
        raise _failed("The token grants no permission.")


def _check_origin(credentials: Credentials) -> None:
    query = credentials.query
    if query.get("spr") and credentials.scheme not in query["spr"].split(","):
        raise StorageError(StorageCode.PROTOCOL_MISMATCH)
    if query.get("sip") and not sas.ip_allowed(query["sip"], credentials.client_ip):
        raise StorageError(StorageCode.SOURCE_IP_MISMATCH)


def _failed(detail: str) -> StorageError:
    return StorageError(StorageCode.AUTHENTICATION_FAILED, detail={"AuthenticationErrorDetail": detail})
