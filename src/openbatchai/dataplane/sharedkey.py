"""SharedKey and SharedKeyLite: the strings that clients sign, and their check (storage.md 4.1, 4.2).

Clients disagree about details of the string: the order of headers, white space in them, parameters with an
empty value, how often the account stands in a path-style URL. Every one of these spellings covers the whole
request, so trying each in turn is no weaker than insisting on one. What one spelling could make of two
different requests is refused (`is_ambiguous`). Pure functions; nothing here reads a clock or a file.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from urllib.parse import unquote

_SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)

# The service's collation, first pass: what is not listed weighs nothing and is skipped.
_PUNCTUATION = dict(
    zip(
        "!#$%&*.^_`|~+",
        (0x71C, 0x71F, 0x721, 0x723, 0x725, 0x72D, 0x733, 0x743, 0x744, 0x748, 0x74C, 0x750, 0x803),
        strict=True,
    )
)
_DIGITS = {digit: 0xD03 + index for index, digit in enumerate("0123456789")}
_LETTERS = {letter: 0xE02 + index for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
_FIRST_PASS = _PUNCTUATION | _DIGITS | _LETTERS
_WHITE_SPACE = re.compile(r"\s+")
# Second pass, on a tie: only these two weigh, by position.
_SECOND_PASS = {"'": 0x8012, "-": 0x8212}
_END = 1


@dataclass(frozen=True)
class SignedRequest:
    """A request as received: `path` percent-encoded as sent, header names lower-case, `query` as sent.

    `path_style` tells that `path` begins with the account.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    account: str
    path_style: bool = False

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


def collation_key(name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sort key of a header name in the service's collation, which the 12.x Python SDKs copy."""
    first = tuple(_FIRST_PASS[char] for char in name if char in _FIRST_PASS)
    second = tuple(_SECOND_PASS.get(char, 0) for char in name)
    return (*first, _END), (*second, _END)


def signature(key: bytes, text: str) -> str:
    return base64.b64encode(hmac.digest(key, text.encode("utf-8"), "sha256")).decode("ascii")


def matches(keys: Iterable[str], texts: Iterable[str], given: str) -> bool:
    """Whether `given` signs one of `texts` with one of the base64 `keys`, compared in constant time."""
    decoded = [_key_bytes(key) for key in keys]
    try:
        digest = base64.b64decode(given, validate=True)
    except (ValueError, binascii.Error):
        return False
    for text in texts:
        data = text.encode("utf-8")
        for key in decoded:
            if hmac.compare_digest(hmac.digest(key, data, "sha256"), digest):
                return True
    return False


@lru_cache(maxsize=256)
def _key_bytes(key: str) -> bytes:
    return base64.b64decode(key)


def shared_key_strings(request: SignedRequest) -> Iterator[str]:
    """The accepted strings to sign of a SharedKey request, the commonest spelling first."""
    commonest = _commonest(request)
    yield commonest
    seen = {commonest}
    # No itertools.product, which makes everything before it gives the first.
    for headers in _header_forms(request):
        for resource in _resources(request):
            for standard in _standard_headers(request):
                text = f"{request.method}\n{standard}\n{headers}{resource}"
                if text not in seen:
                    seen.add(text)
                    yield text


def _commonest(request: SignedRequest) -> str:
    """What nearly every request signs: the first of every form below, at a third of their cost."""
    headers, get = request.headers, request.headers.get
    names = sorted([name for name in headers if name.startswith("x-ms-")])
    date = "" if "x-ms-date" in headers else get("date", "")
    length = get("content-length", "")
    special = {"date": date, "content-length": "" if length == "0" else length}
    standard = "\n".join([special[name] if name in special else get(name, "") for name in _SIGNED_HEADERS])
    lines = "".join([f"{name}:{headers[name].strip()}\n" for name in names])
    query = [(_decode(name), _decode(value)) for name, value in request.query]
    resource = f"/{request.account}{request.path}{_canonical_query(query)}"
    return f"{request.method}\n{standard}\n{lines}{resource}"


def shared_key_lite_strings(request: SignedRequest) -> Iterator[str]:
    """The accepted strings to sign of a SharedKeyLite request: of the parameters only `comp` is signed."""
    comps = [_decode(value) for name, value in request.query if _decode(name).lower() == "comp"]
    comp = f"?comp={','.join(sorted(filter(None, comps)))}" if any(comps) else ""
    paths = dict.fromkeys(_paths(request))
    for headers, path, date in product(_header_forms(request), paths, _dates(request)):
        fields = (request.method, request.header("content-md5"), request.header("content-type"), date)
        yield "\n".join(fields) + f"\n{headers}{path}{comp}"


def is_ambiguous(query: Sequence[tuple[str, str]]) -> bool:
    """Whether a parameter could pass for another, or for two: the string to sign writes each as a line
    `name:value`."""
    for raw_name, raw_value in query:
        name, value = _decode(raw_name), _decode(raw_value)
        if ":" in name or "\n" in name or any(":" in line for line in value.split("\n")[1:]):
            return True
    return False


def _standard_headers(request: SignedRequest) -> Iterator[str]:
    length = request.header("content-length")
    # A zero length is signed as nothing since 2015-02-21, before that as "0", also where no body is sent.
    lengths = ("", "0") if length in ("", "0") else (length,)
    for date, size in product(_dates(request), lengths):
        special = {"date": date, "content-length": size}
        yield "\n".join(special.get(name, request.header(name)) for name in _SIGNED_HEADERS)


def _dates(request: SignedRequest) -> tuple[str, ...]:
    date = request.header("date")
    # With x-ms-date the Date line is empty; proxies may still add the header, and some clients sign it.
    return ("", date) if "x-ms-date" in request.headers and date else (date,)


def _header_forms(request: SignedRequest) -> Iterator[str]:
    """The x-ms- lines in both orders, with white space inside values as it came and folded to one space."""
    names = sorted(name for name in request.headers if name.startswith("x-ms-"))
    values = {name: request.headers[name].strip() for name in names}
    yield _lines(names, values)
    collated = sorted(names, key=collation_key)
    yield _lines(collated, values)
    folded = {name: _WHITE_SPACE.sub(" ", value) for name, value in values.items()}
    if folded != values:
        yield _lines(names, folded)
        yield _lines(collated, folded)


def _lines(names: Iterable[str], values: Mapping[str, str]) -> str:
    return "".join([f"{name}:{values[name]}\n" for name in names])


def _paths(request: SignedRequest) -> tuple[str, ...]:
    """`/{account}` and the path as sent; in path style also without the account that the URL repeats."""
    as_sent = f"/{request.account}{request.path}"
    if not request.path_style:
        return (as_sent,)
    first, slash, rest = request.path[1:].partition("/")
    return (
        as_sent,
        f"/{request.account}{slash}{rest}",
        f"/{request.account}/{first.removesuffix('-secondary')}{slash}{rest}",
    )


def _resources(request: SignedRequest) -> Iterator[str]:
    for query in dict.fromkeys(_query_forms(request.query)):
        for path in dict.fromkeys(_paths(request)):
            yield path + query


def _query_forms(query: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The 2017 generation leaves parameters without a value out; a bare `+` is a space or itself."""
    for plus_is_space in (True, False):
        decoded = [(_decode(name, plus_is_space), _decode(value, plus_is_space)) for name, value in query]
        yield _canonical_query(decoded)
        yield _canonical_query([pair for pair in decoded if pair[1]])
        if not any("+" in value for _, value in query):
            return


def _canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.lower(), []).append(value)
    return "".join(f"\n{name}:{','.join(sorted(values[name]))}" for name in sorted(values))


def _decode(text: str, plus_is_space: bool = True) -> str:
    return unquote(text.replace("+", " ") if plus_is_space else text)
