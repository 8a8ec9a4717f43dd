"""Signatures as each generation of clients makes them, over requests as they arrive at the server."""

import base64
import hashlib
import hmac
from types import SimpleNamespace
from urllib.parse import quote, urlsplit

import pytest
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.transport import HttpRequest, RequestsTransport
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.dataplane.sharedkey import (
    SignedRequest,
    is_ambiguous,
    matches,
    shared_key_lite_strings,
    shared_key_strings,
)
from openbatchai.domain.ports import StorageService
from openbatchai.http.storage.target import parse_target, unread_target

KEY = base64.b64encode(b"k" * 64).decode()
DATE = "Fri, 20 Nov 2026 10:00:00 GMT"
HOST = "https://acct.blob.core.windows.net"
METHODS = st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"])
META = st.dictionaries(
    st.text("abcdefxyz019-_'!#$&*+.^`|~", min_size=1, max_size=6).map(lambda name: f"x-ms-meta-{name}"),
    # Clients refuse white space at the ends; what is inside is signed as it is.
    st.text("ab 0é:,=", max_size=8).map(str.strip),
    max_size=4,
)
STANDARD = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(["text/plain", "application/xml; charset=utf-8"]),
        "Content-Length": st.sampled_from(["0", "7", "10000000"]),
        "Content-MD5": st.just("1B2M2Y8AsgTpgAmY7PhCfg=="),
        "If-Match": st.just('"0x8D1"'),
        "If-None-Match": st.just("*"),
        "If-Modified-Since": st.just(DATE),
        "x-ms-range": st.just("bytes=0-7"),
    },
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["comp", "restype", "timeout", "prefix", "delimiter", "marker", "include", "maxresults"]),
    st.text("ab/ +%&=é,!", max_size=6).filter(bool),
    max_size=4,
)
NAMES = st.text("ab/ +%()$='~é,!", min_size=1, max_size=10)
STYLES = st.sampled_from([(HOST, ""), ("http://127.0.0.1:10000", "/acct")])


def target_of(scope):
    return parse_target(scope, StorageService.BLOB, unread_target(scope, StorageService.BLOB).signed.headers)


def arrived(request):
    """What the server makes of a request that was sent."""
    parts = urlsplit(request.url)
    scope = {
        "method": request.method,
        "scheme": parts.scheme,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(b"host", parts.netloc.encode())]
        + [(name.lower().encode(), value.encode()) for name, value in request.headers.items()],
    }
    return target_of(scope).signed


def accepted(request):
    signed = arrived(request)
    given_signature = signed.header("authorization").rpartition(":")[2]
    return not is_ambiguous(signed.query) and matches([KEY], shared_key_strings(signed), given_signature)


@given(METHODS, NAMES, PARAMETERS, META, STANDARD, STYLES)
def test_the_sdk_of_today(method, name, parameters, meta, standard, style):
    base, prefix = style
    url = f"{base}{prefix}/c/{quote(name, safe='~/')}"
    headers = {"x-ms-date": DATE, "x-ms-version": "2026-10-06", **standard, **meta}
    request = HttpRequest(method, url, headers=headers)
    request.format_parameters({key: quote(value, safe="~") for key, value in parameters.items()})
    context = PipelineContext(RequestsTransport())
    SharedKeyCredentialPolicy("acct", KEY).on_request(PipelineRequest(request, context))
    assert accepted(request)


def era_signature(request, parameters, *, signs_empty, path, scheme="SharedKey"):
    """The generations up to 2.1: code-point order, values as given, no Content-Length of zero."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    names = ("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date")
    names += ("if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "byte_range")
    values = [headers.get(name, "") if headers.get(name) != "0" else "" for name in names]
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
    pairs = sorted(parameters.items())
    resource = "".join(f"\n{name}:{value}" for name, value in pairs if value or signs_empty)
    if scheme == "SharedKeyLite":
        values = [headers.get("content-md5", ""), headers.get("content-type", ""), headers.get("date", "")]
        resource = f"?comp={parameters['comp']}" if parameters.get("comp") else ""
    text = "\n".join([request.method, *values]) + f"\n{lines}/acct{path}{resource}"
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()


@given(METHODS, NAMES, PARAMETERS, META, STANDARD, st.booleans(), st.sampled_from(["once", "twice", "host"]))
def test_the_generations_of_2017_to_2019(method, name, parameters, meta, standard, signs_empty, account):
    parameters = {**parameters, "marker": ""}
    path = f"/c/{quote(name, safe='/()$=,~')}"
    base = HOST if account == "host" else "http://127.0.0.1:10000/acct"
    headers = {"x-ms-date": DATE, "x-ms-version": "2016-05-31", **standard, **meta}
    request = SimpleNamespace(method=method, headers=headers)
    request.url = f"{base}{path}?" + "&".join(f"{key}={quote(value)}" for key, value in parameters.items())
    for scheme, strings in (("SharedKey", shared_key_strings), ("SharedKeyLite", shared_key_lite_strings)):
        made = era_signature(
            request,
            parameters,
            signs_empty=signs_empty,
            path=f"/acct{path}" if account == "twice" else path,
            scheme=scheme,
        )
        assert matches([KEY], strings(arrived(request)), made)


def signed(**changes):
    fields = {"method": "GET", "path": "/c/b", "query": [], "headers": {"x-ms-date": DATE}, "account": "acct"}
    return SignedRequest(**{**fields, **changes})


def test_white_space_may_be_folded():
    texts = list(shared_key_strings(signed(headers={"x-ms-date": DATE, "x-ms-meta-a": "b \t c"})))
    assert {line for text in texts for line in text.split("\n") if "meta" in line} == {
        "x-ms-meta-a:b \t c",
        "x-ms-meta-a:b c",
    }


def test_a_repeated_header_is_one_with_commas():
    scope = {
        "method": "GET",
        "scheme": "https",
        "raw_path": b"/acct/c/b",
        "query_string": b"",
        "headers": [(b"x-ms-meta-a", b"one"), (b"x-ms-meta-a", b"two"), (b"host", b"h")],
    }
    target = target_of(scope)
    assert "x-ms-meta-a:one,two\n" in next(shared_key_strings(target.signed))


@pytest.mark.parametrize(
    ("headers", "lines"),
    [
        ({"x-ms-date": DATE}, {""}),
        ({"date": DATE}, {DATE}),
        # A proxy may have added it, and some clients sign it.
        ({"x-ms-date": DATE, "date": DATE}, {"", DATE}),
    ],
)
def test_dates(headers, lines):
    assert {text.split("\n")[6] for text in shared_key_strings(signed(headers=headers))} == lines


@pytest.mark.parametrize(
    "query",
    [
        [("comp", "list%0Aprefix:x")],
        [("a:b", "c")],
        [("a%3Ab", "c")],
        [("a%0A", "c")],
        [("comp", "%0Arestype:service")],
    ],
)
def test_a_parameter_that_could_pass_for_another_is_ambiguous(query):
    assert is_ambiguous(query)


@pytest.mark.parametrize("query", [[("prefix", "a%0Ab")], [("prefix", "a:b")], [("a", ""), ("b", "c%3Ad")]])
def test_other_parameters_are_not(query):
    assert not is_ambiguous(query)


def test_what_is_done_is_what_was_signed():
    """`prefix=a&prefix=b` has the signature of `prefix=a,b`; it must not list `a`."""
    scope = {
        "method": "GET",
        "scheme": "https",
        "raw_path": b"/c",
        "query_string": b"prefix=b&PREFIX=a&prefix=",
        "headers": [(b"host", b"acct.blob.core.windows.net")],
    }
    target = target_of(scope)
    assert target.query == {"prefix": "a,b"}
    assert any(text.endswith("\nprefix:a,b") for text in shared_key_strings(target.signed))
