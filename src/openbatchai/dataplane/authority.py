"""Who may do what: from the credentials of a request to a Grant (storage.md section 4 and 8).

Both services share it; their differences are in the strings that sas.py and sharedkey.py build.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache

from openbatchai.dataplane import sas
from openbatchai.dataplane.delegation import SERVICE_LETTERS, DelegationKey
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.grants import Grant, Means
from openbatchai.dataplane.sharedkey import (
    SignedRequest,
    is_ambiguous,
    matches,
    shared_key_lite_strings,
    shared_key_strings,
)
from openbatchai.domain.ports import AccountRules, ItemRef, StorageService

__all__ = ["Authority", "ContainerRules", "Credentials", "Grant", "Means", "VerifyBearer"]

MAX_SKEW = timedelta(minutes=15)
STORAGE_RESOURCE = "https://storage.azure.com"
# From this version on, who shows no credentials is told where to get a token.
_CHALLENGED_SINCE = "2019-12-12"

# The object id behind a token that is meant for one of the audiences; None for any other token.
VerifyBearer = Callable[[str, Collection[str]], str | None]


@dataclass(frozen=True)
class ContainerRules:
    """What a container itself says about access to it; `public_access` is "", "blob" or "container"."""

    public_access: str = ""
    policies: tuple[sas.StoredPolicy, ...] = ()


FindRules = Callable[[ItemRef], ContainerRules]
# What the account of this name says of access to it; asked per request, so it answers from memory.
FindAccountRules = Callable[[str], AccountRules]

_BY_KEY = frozenset({Means.SHARED_KEY, Means.ACCOUNT_SAS, Means.SERVICE_SAS})


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
    """The rules of one server. `find_rules` reads the side store. `delegation_secret` makes user delegation
    keys; `tenant` is the one they are of."""

    verify_bearer: VerifyBearer
    find_rules: FindRules
    tenant: str = ""
    delegation_secret: bytes = b""
    account_rules: FindAccountRules = lambda account: AccountRules()
    max_skew: timedelta = MAX_SKEW

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate value of a 401, in the form that the 12.x SDKs parse."""
        return (
            f"Bearer authorization_uri=https://login.microsoftonline.com/{self.tenant}/oauth2/authorize"
            f" resource_id={STORAGE_RESOURCE}"
        )

    @staticmethod
    def reads_rules(credentials: Credentials) -> bool:
        """Whether `authorise` will call `find_rules`, which may wait for the disk."""
        return bool(credentials.query.get("si")) or not (
            credentials.signed.header("authorization") or sas.is_sas(credentials.query)
        )

    def authorise(self, credentials: Credentials, keys: tuple[str, ...], now: datetime) -> Grant:
        """Raises the services' 400, 401, 403 and 404 for credentials that are none, or that the account does
        not take."""
        rules = self.account_rules(credentials.ref.account)
        if rules.https_only and credentials.scheme != "https":
            raise StorageError(StorageCode.ACCOUNT_REQUIRES_HTTPS)
        grant = self._granted(credentials, keys, now)
        if grant.means in _BY_KEY and not rules.shared_key:
            raise StorageError(StorageCode.KEY_NOT_PERMITTED)
        if grant.means is Means.ANONYMOUS and not rules.public_access:
            raise StorageError(StorageCode.PUBLIC_ACCESS_NOT_PERMITTED)
        return grant

    def _granted(self, credentials: Credentials, keys: tuple[str, ...], now: datetime) -> Grant:
        header = credentials.signed.header("authorization")
        query = credentials.query
        if sas.is_sas(query) and (not header or query.get("sduoid")):
            return self._by_sas(credentials, keys, now)
        if header:
            return self._by_header(credentials, header, keys, now)
        return self._by_nothing(credentials)

    # --- the Authorization header

    def _by_header(
        self, credentials: Credentials, header: str, keys: tuple[str, ...], now: datetime
    ) -> Grant:
        scheme, _, value = header.strip().partition(" ")
        if scheme.lower() == "bearer":
            return self._by_bearer(credentials, value.strip())
        account, colon, given = value.strip().partition(":")
        if scheme not in ("SharedKey", "SharedKeyLite") or not colon:
            raise StorageError(StorageCode.INVALID_AUTHENTICATION)
        if account.removesuffix("-secondary") != credentials.ref.account:
            raise _failed("The account of the Authorization header is not the account of the URL.")
        self._check_clock(credentials.signed, now)
        if is_ambiguous(credentials.signed.query):
            raise _failed("A query parameter could pass for another one.")
        make = shared_key_strings if scheme == "SharedKey" else shared_key_lite_strings
        if not matches(keys, make(credentials.signed), given):
            text = next(iter(make(credentials.signed)))
            raise _failed(
                "The MAC signature found in the HTTP request is not the same as any computed signature. "
                f"Server used following string to sign: '{text}'."
            )
        return Grant(means=Means.SHARED_KEY)

    def _by_bearer(self, credentials: Credentials, token: str) -> Grant:
        if credentials.scheme != "https":
            raise StorageError(StorageCode.PROTOCOL_MISMATCH)
        principal = self._principal(credentials.ref, token)
        needs_intent = (
            credentials.ref.service is StorageService.FILE
            and credentials.query.get("comp", "").lower() != "userdelegationkey"
        )
        if needs_intent and credentials.signed.header("x-ms-file-request-intent").lower() != "backup":
            raise StorageError(StorageCode.MISSING_HEADER, detail={"HeaderName": "x-ms-file-request-intent"})
        return Grant(means=Means.BEARER, principal=principal)

    def _principal(self, ref: ItemRef, token: str) -> str:
        own = f"https://{ref.account}.{ref.service}.core.windows.net"
        principal = self.verify_bearer(token, (STORAGE_RESOURCE, own))
        if principal is None:
            raise StorageError(StorageCode.INVALID_TOKEN, headers={"WWW-Authenticate": self.challenge})
        return principal

    def _check_clock(self, signed: SignedRequest, now: datetime) -> None:
        text = signed.header("x-ms-date") or signed.header("date")
        try:
            sent = _parsed_date(text)
        except (ValueError, OverflowError):
            raise _failed("The request has no valid x-ms-date or Date header.") from None
        if sent.tzinfo is None or abs(sent - now) > self.max_skew:
            raise _failed(f"Request date header too old or too new: '{text}'.")

    # --- shared access signatures

    def _by_sas(self, credentials: Credentials, keys: tuple[str, ...], now: datetime) -> Grant:
        query, ref = credentials.query, credentials.ref
        problem = sas.malformation(ref.service, query)
        if problem is None and "\n" in ref.path:
            problem = "The path holds a line break."
        if problem is not None:
            raise _failed(problem)
        if sas.is_account_sas(query):
            return self._by_account_sas(credentials, keys, now)
        if sas.is_delegated(query):
            return self._by_delegation_sas(credentials, now)
        resources = sas.canonical_resources(ref, query)
        _check_signature(keys, [sas.service_string(ref.service, each, query) for each in resources], query)
        fields = self._with_policy(credentials)
        _check_window(fields, now)
        _check_origin(credentials)
        return _of_token(query, fields.get("sp", ""), Means.SERVICE_SAS)

    def _by_account_sas(self, credentials: Credentials, keys: tuple[str, ...], now: datetime) -> Grant:
        query, ref = credentials.query, credentials.ref
        _check_signature(keys, [sas.account_string(ref.account, query)], query)
        _check_window(query, now)
        _check_origin(credentials)
        if SERVICE_LETTERS[ref.service] not in query["ss"]:
            raise StorageError(StorageCode.SERVICE_MISMATCH)
        return Grant(frozenset(query["sp"]), frozenset(query["srt"]), Means.ACCOUNT_SAS)

    def _by_delegation_sas(self, credentials: Credentials, now: datetime) -> Grant:
        query, ref = credentials.query, credentials.ref
        key = DelegationKey.of_token(query)
        if not self.delegation_secret or key.tenant_id != self.tenant:
            raise _failed("The tenant of the user delegation key is not the one of this account.")
        if key.service != SERVICE_LETTERS[ref.service]:
            raise _failed("The user delegation key is for another service.")
        resources = sas.canonical_resources(ref, query)
        texts = [
            text
            for each in resources
            for text in sas.delegation_strings(ref.service, each, query, credentials.signed.headers)
        ]
        _check_signature((self._delegation_value(key, ref.account),), texts, query)
        _check_window({"st": key.start, "se": key.expiry, "sp": "key"}, now)
        _check_window(query, now)
        _check_origin(credentials)
        self._check_delegated_user(credentials)
        if query.get("suoid"):
            # Such an agent has what access control lists of directories give it, and there are none here.
            raise StorageError(StorageCode.PERMISSION_MISMATCH)
        return _of_token(query, query["sp"], Means.DELEGATION_SAS)

    def _delegation_value(self, key: DelegationKey, account: str) -> str:
        return key.value(self.delegation_secret, account, self.account_rules(account).delegation_generation)

    def _check_delegated_user(self, credentials: Credentials) -> None:
        """A token for one user works only beside a bearer token of that user."""
        wanted = credentials.query.get("sduoid")
        tenant = credentials.query.get("skdutid")
        if tenant and tenant != self.tenant:
            raise _failed("The delegated user's tenant is not the one of this account.")
        if not wanted:
            return
        scheme, _, token = credentials.signed.header("authorization").strip().partition(" ")
        if scheme.lower() != "bearer":
            raise self._challenged()
        if credentials.scheme != "https":
            raise StorageError(StorageCode.PROTOCOL_MISMATCH)
        if self._principal(credentials.ref, token.strip()) != wanted:
            raise _failed("The bearer token is not one of the user that the signature names.")

    def _with_policy(self, credentials: Credentials) -> Mapping[str, str]:
        """The token's fields, completed by the stored access policy that `si` names."""
        query, identifier = credentials.query, credentials.query.get("si")
        if not identifier:
            return query
        for policy in self.find_rules(credentials.ref).policies:
            if policy.id == identifier:
                stored = {"st": policy.start, "se": policy.expiry, "sp": policy.permission}
                stored = {name: value for name, value in stored.items() if value}
                if any(query.get(name) for name in stored):
                    raise _failed("A field stands both in the token and in its stored access policy.")
                return {**query, **stored}
        raise _failed("Access policy defined in the signed identifier does not exist.")

    # --- no credentials

    def _by_nothing(self, credentials: Credentials) -> Grant:
        """What a container gives to everybody: its blobs, and with `container` also the list of them."""
        ref = credentials.ref
        refusal = self._refusal(credentials)
        access = ""
        if ref.service is StorageService.BLOB and ref.container:
            access = self.find_rules(ref).public_access
        if access == "container":
            return Grant(frozenset("rl"), frozenset("clo"), Means.ANONYMOUS, refusal=refusal)
        if access == "blob":
            return Grant(frozenset("r"), frozenset("o"), Means.ANONYMOUS, refusal=refusal)
        raise refusal

    def _refusal(self, credentials: Credentials) -> StorageError:
        if credentials.signed.header("x-ms-version") >= _CHALLENGED_SINCE:
            return self._challenged()
        return StorageError(StorageCode.RESOURCE_NOT_FOUND)

    def _challenged(self) -> StorageError:
        return StorageError(StorageCode.NO_AUTHENTICATION, headers={"WWW-Authenticate": self.challenge})


def _of_token(query: Mapping[str, str], permissions: str, means: Means) -> Grant:
    """The grant of a service SAS. One for a container also lists it (scope l); none manages it."""
    return Grant(
        frozenset(permissions),
        frozenset("lo") if sas.covers_container(query) else frozenset("o"),
        means,
        {name: query[key] for key, name in sas.RESPONSE_HEADERS.items() if query.get(key)},
        pinned=sas.is_pinned(query),
    )


def _check_signature(keys: Iterable[str], texts: list[str], query: Mapping[str, str]) -> None:
    if not texts:
        raise _failed("The request is not one that the token is for.")
    if not matches(keys, texts, query["sig"].replace(" ", "+")):
        raise _failed(f"Signature did not match. String to sign used was {texts[0]}")


def _check_window(fields: Mapping[str, str], now: datetime) -> None:
    expiry = sas.parse_time(fields.get("se", ""))
    if expiry is None:
        raise _failed("Signed expiry time is missing or not in the correct format.")
    start = sas.parse_time(fields["st"]) if fields.get("st") else None
    if fields.get("st") and start is None:
        raise _failed("Signed start time is not in the correct format.")
    if expiry <= now or (start is not None and start > now):
        shown = f"Start [{_show(start)}] - " if start else ""
        raise _failed(
            f"Signature not valid in the specified time frame: {shown}Expiry [{_show(expiry)}]"
            f" - Current [{_show(now)}]"
        )
    if not fields.get("sp"):
        raise _failed("The token grants no permission.")


def _show(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _check_origin(credentials: Credentials) -> None:
    query = credentials.query
    if query.get("spr") and credentials.scheme not in query["spr"].split(","):
        raise StorageError(StorageCode.PROTOCOL_MISMATCH)
    if query.get("sip") and not sas.ip_allowed(query["sip"], credentials.client_ip):
        raise StorageError(StorageCode.SOURCE_IP_MISMATCH)


def _failed(detail: str) -> StorageError:
    return StorageError(StorageCode.AUTHENTICATION_FAILED, detail={"AuthenticationErrorDetail": detail})


@lru_cache(maxsize=256)
def _parsed_date(text: str) -> datetime:
    """Cached: clients send the same date for a second, and parsing costs as much as the signature."""
    return parsedate_to_datetime(text)
