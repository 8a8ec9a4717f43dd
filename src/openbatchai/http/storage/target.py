"""Which account, container and item a storage request means (storage.md section 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.filenames import without_trailing_dots
from openbatchai.dataplane.names import check_container_name, check_path
from openbatchai.dataplane.sharedkey import SignedRequest
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.http.connections import SPELLED_NAMES

_SECONDARY = "-secondary"
_TRAILING_DOTS_SINCE = "2022-11-02"
_NOWHERE = {service: ItemRef(service, "", "") for service in StorageService}


@dataclass(frozen=True)
class Target:
    """`signed` keeps what came over the wire; `ref` and `query` are decoded, once."""

    ref: ItemRef
    signed: SignedRequest
    query: Mapping[str, str]
    endpoint: str
    is_secondary: bool


def unread_target(scope: Mapping[str, Any], service: StorageService) -> Target:
    """What an error can be answered with before anything of the URL is understood."""
    return Target(
        _NOWHERE[service],
        SignedRequest(scope["method"], "/", (), _headers(scope), ""),
        {},
        "",
        False,
    )


def parse_target(scope: Mapping[str, Any], service: StorageService, headers: Mapping[str, str]) -> Target:
    """`headers` are those of the unread target."""
    raw_path = _raw_path(scope)
    host = headers.get("host", "")
    account, path_style = host_account(host, service), False
    in_container = raw_path
    if account is None:
        path_style = True
        account, _, rest = raw_path[1:].partition("/")
        account, in_container = _decode(account), f"/{rest}"
    pairs = _pairs(scope["query_string"].decode("latin-1"))
    query = _decoded_query(pairs)
    container, path = _split(service, in_container, query)
    if service is StorageService.FILE and not _keeps_trailing_dots(headers):
        path = without_trailing_dots(path)
    endpoint = f"{scope['scheme']}://{host}/" + (f"{account}/" if path_style else "")
    is_secondary = account.endswith(_SECONDARY)
    account = account.removesuffix(_SECONDARY)
    signed = SignedRequest(scope["method"], raw_path, pairs, headers, account, path_style)
    snapshot = query.get("snapshot" if service is StorageService.BLOB else "sharesnapshot", "")
    ref = ItemRef(service, account, container, path, snapshot)
    return Target(ref, signed, query, endpoint, is_secondary)


def _keeps_trailing_dots(headers: Mapping[str, str]) -> bool:
    allowed = headers.get("x-ms-allow-trailing-dot", "").lower() == "true"
    return allowed and headers.get("x-ms-version", "") >= _TRAILING_DOTS_SINCE


def check_target_path(ref: ItemRef) -> None:
    """Names that nothing can have are refused as such, not as missing."""
    if ref.container:
        check_container_name(ref.container)
    if ref.path:
        check_path(ref.service, ref.path)


def _raw_path(scope: Mapping[str, Any]) -> str:
    """The path as received: clients sign their own percent-encoding of it."""
    raw = scope.get("raw_path")
    text = raw.decode("latin-1") if raw else quote(scope["path"])
    return text if text.startswith("/") else f"/{text}"


class Headers(dict[str, str]):
    """Header values by lower-case name. `spelled` has the names of metadata that came with capitals."""

    def __init__(self, spelled: Mapping[str, str]) -> None:
        super().__init__()
        self.spelled = spelled


def _headers(scope: Mapping[str, Any]) -> Headers:
    headers = Headers(scope.get(SPELLED_NAMES, {}))
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            # http.client sends Latin-1 but signs the UTF-8 of the same text.
            value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value.strip()
    return headers


def host_account(host: str, service: StorageService) -> str | None:
    """The account of `{account}.{service}.{suffix}`; None for any other host."""
    labels = host.rpartition(":")[0].split(".") if ":" in host else host.split(".")
    if len(labels) >= 3 and labels[1].lower() == service.value:
        return labels[0].lower()
    return None


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = (part.partition("=") for part in text.split("&") if part)
    return [(name, value) for name, _, value in parts]


def _decoded_query(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Several values of one parameter are joined as they are for a signature, sorted and with commas: what is
    done must be what was signed. A signature may leave out what has no value, so that counts for nothing."""
    values: dict[str, list[str]] = {}
    for raw_name, raw_value in pairs:
        found = values.setdefault(_decode(raw_name).lower(), [])
        if raw_value:
            found.append(_decode(raw_value.replace("+", " ")))
    return {name: ",".join(sorted(found)) for name, found in values.items()}


def _decode(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise StorageError(StorageCode.INVALID_URI, "The URI is not percent-encoded UTF-8.") from None


def _split(service: StorageService, path: str, query: Mapping[str, str]) -> tuple[str, str]:
    container, slash, rest = path[1:].partition("/")
    container, rest = _decode(container), _decode(rest)
    if service is StorageService.FILE:
        # The SDKs leave doubled and trailing slashes where a directory name is empty.
        return container, "/".join(part for part in rest.split("/") if part)
    if container and not slash and query.get("restype") not in ("container", "account"):
        return "$root", container
    return container, rest
