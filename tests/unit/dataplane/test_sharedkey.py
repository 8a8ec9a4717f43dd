"""Signatures: known strings, and agreement with the SDK's own collation."""

import base64
from functools import cmp_to_key

import pytest
from azure.storage.blob._shared.authentication import compare
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.dataplane.sharedkey import (
    SignedRequest,
    collation_key,
    matches,
    shared_key_lite_strings,
    shared_key_strings,
    signature,
)

KEY = base64.b64encode(b"k" * 64).decode()
TOKEN_CHARS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
DATED = {"x-ms-date": "Fri, 20 Nov 2026 10:00:00 GMT", "x-ms-version": "2017-07-29"}


def a_request(**changes) -> SignedRequest:
    fields = {
        "method": "PUT",
        "path": "/share",
        "query": [("restype", "share")],
        "headers": DATED,
        "account": "acct",
    }
    return SignedRequest(**(fields | changes))


def test_string_of_create_share():
    first = next(shared_key_strings(a_request()))
    ours = "x-ms-date:Fri, 20 Nov 2026 10:00:00 GMT\nx-ms-version:2017-07-29\n"
    assert first == "PUT" + "\n" * 12 + ours + "/acct/share\nrestype:share"


def test_zero_length_signs_as_nothing_or_as_zero():
    texts = list(shared_key_strings(a_request(headers=DATED | {"content-length": "0"})))
    assert [text.split("\n")[3] for text in texts] == ["", "0"]


def test_path_style_counts_the_account_once_or_twice():
    texts = list(shared_key_strings(a_request(path="/acct/share", path_style=True)))
    assert {text.split("\n")[-2] for text in texts} == {"/acct/acct/share", "/acct/share"}


def test_secondary_may_be_named_or_not():
    texts = list(shared_key_strings(a_request(path="/acct-secondary/share", path_style=True)))
    assert "/acct/acct-secondary/share" in {text.split("\n")[-2] for text in texts}
    assert "/acct/acct/share" in {text.split("\n")[-2] for text in texts}


def test_query_is_sorted_lowered_and_joined():
    query = [("Timeout", "30"), ("comp", "list"), ("include", "b"), ("include", "a"), ("prefix", "a%20b%2Bc")]
    first = next(shared_key_strings(a_request(query=query)))
    assert first.endswith("/acct/share\ncomp:list\ninclude:a,b\nprefix:a b+c\ntimeout:30")


def test_bare_plus_is_a_space_or_itself():
    tails = {text.rpartition("\n")[2] for text in shared_key_strings(a_request(query=[("prefix", "a+b")]))}
    assert tails == {"prefix:a b", "prefix:a+b"}


def test_path_is_signed_as_sent():
    first = next(shared_key_strings(a_request(path="/c/a%2Fb(1)%20", query=[])))
    assert first.endswith("/acct/c/a%2Fb(1)%20")


def test_lite_string():
    request = a_request(
        query=[("comp", "list"), ("prefix", "x")], headers=DATED | {"content-type": "text/plain"}
    )
    first = next(shared_key_lite_strings(request))
    ours = "x-ms-date:Fri, 20 Nov 2026 10:00:00 GMT\nx-ms-version:2017-07-29\n"
    assert first == f"PUT\n\ntext/plain\n\n{ours}/acct/share?comp=list"


def test_both_header_orders_are_offered():
    headers = DATED | {"x-ms-meta-a-c": "1", "x-ms-meta-ab": "2"}
    texts = list(shared_key_strings(a_request(headers=headers)))
    orders = {tuple(line[:13] for line in text.split("\n") if line.startswith("x-ms-meta")) for text in texts}
    assert orders == {("x-ms-meta-a-c", "x-ms-meta-ab:"), ("x-ms-meta-ab:", "x-ms-meta-a-c")}


@given(st.lists(st.text(TOKEN_CHARS, max_size=12), max_size=8))
def test_collation_agrees_with_the_sdk(names):
    assert [collation_key(name) for name in sorted(names, key=collation_key)] == [
        collation_key(name) for name in sorted(names, key=cmp_to_key(compare))
    ]


def test_matches_tries_each_key_and_text():
    good = signature(base64.b64decode(KEY), "text")
    other = base64.b64encode(b"o" * 64).decode()
    assert matches([other, KEY], ["no", "text"], good)
    assert not matches([other], ["text"], good)
    assert not matches([KEY], ["other text"], good)


@pytest.mark.parametrize("given_signature", ["", "=", "not base64!", "é", "AAAA"])
def test_malformed_signatures_do_not_match(given_signature):
    assert not matches([KEY], ["text"], given_signature)
