"""Shared access signatures: strings per version, times, addresses, and what a grant allows."""

import base64
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qsl

import pytest

from openbatchai.dataplane import sas
from openbatchai.dataplane.authority import Authority, ContainerRules, Credentials
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.sharedkey import SignedRequest
from openbatchai.domain.ports import ItemRef, StorageService

KEY = b"k" * 64
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
FILE = ItemRef(StorageService.FILE, "acct", "share", "dir/stdout é.txt")


def authorise(query: dict[str, str], ref: ItemRef = FILE, *, scheme: str = "http", ip: str = "10.0.0.7"):
    signed = SignedRequest("GET", "/", [], {}, ref.account)
    authority = Authority(lambda token, audiences: None, lambda ref: ContainerRules())
    keys = (base64.b64encode(KEY).decode(),)
    return authority.authorise(Credentials(signed, ref, query, ip, scheme), keys, NOW)


def token(ref: ItemRef = FILE, **fields: str) -> dict[str, str]:
    query = {"sv": "2019-12-12", "sr": "f", "sp": "r", "se": "2026-11-20T11:00:00Z"} | fields
    text = sas.service_string(ref.service, sas.canonical_resources(ref, query)[0], query)
    return query | {"sig": sas.signature(KEY, text)}


def test_read_token_has_the_fields_and_order_of_the_real_service():
    text = sas.read_token(FILE, KEY, datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=1))))
    assert [name for name, _ in parse_qsl(text)] == ["sv", "sr", "sig", "se", "sp"]
    fields = dict(parse_qsl(text))
    assert (fields["sv"], fields["sr"], fields["sp"], fields["se"]) == (
        "2016-05-31", "f", "rl", "2026-11-20T11:00:00Z",
    )  # fmt: skip
    assert "se=2026-11-20T11%3A00%3A00Z" in text
    grant = authorise(fields)
    assert grant.is_sas
    grant.demand("o", "r")


def test_string_to_sign_of_file_and_blob_versions():
    query = {"sp": "r", "se": "e", "sv": "2016-05-31", "sr": "b"}
    plain = sas.service_string(StorageService.BLOB, "/blob/a/c/b", query)
    assert plain == "r\n\ne\n/blob/a/c/b\n\n\n\n2016-05-31\n\n\n\n\n"
    newer = sas.service_string(StorageService.BLOB, "/blob/a/c/b", query | {"sv": "2018-11-09"})
    assert newer == "r\n\ne\n/blob/a/c/b\n\n\n\n2018-11-09\nb\n\n\n\n\n\n"
    newest = sas.service_string(StorageService.BLOB, "/blob/a/c/b", query | {"sv": "2026-10-06"})
    assert newest.count("\n") == newer.count("\n") + 1
    file = sas.service_string(StorageService.FILE, "/file/a/c/b", query | {"sv": "2026-10-06"})
    assert file.count("\n") == plain.count("\n")


def test_account_string_ends_with_a_line_break():
    query = {"sp": "rl", "ss": "bf", "srt": "so", "se": "e", "sv": "2019-12-12"}
    assert sas.account_string("acct", query) == "acct\nrl\nbf\nso\n\ne\n\n\n2019-12-12\n"
    assert sas.account_string("acct", query | {"sv": "2021-01-01"}).endswith("2021-01-01\n\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T10:11Z", datetime(2026, 11, 20, 10, 11, tzinfo=UTC)),
        ("2026-11-20T10:11:12Z", datetime(2026, 11, 20, 10, 11, 12, tzinfo=UTC)),
        ("2026-11-20T10:11:12.1234567Z", datetime(2026, 11, 20, 10, 11, 12, tzinfo=UTC)),
        ("2099-13-01", None),
        ("tomorrow", None),
        ("", None),
    ],
)
def test_times(text, expected):
    assert sas.parse_time(text) == expected


def test_a_token_for_one_file_opens_no_other():
    other = ItemRef(StorageService.FILE, "acct", "share", "dir/other.txt")
    with pytest.raises(StorageError) as refused:
        authorise(token(), other)
    assert refused.value.code.code == "AuthenticationFailed"


@pytest.mark.parametrize(
    "fields",
    [
        {"se": "2026-11-20T09:59:59Z"},
        {"se": ""},
        {"st": "2026-11-20T10:00:01Z"},
        {"sp": ""},
        {"si": "no-such"},
    ],
)
def test_out_of_time_or_incomplete(fields):
    with pytest.raises(StorageError) as refused:
        authorise(token(**fields))
    assert refused.value.code.code == "AuthenticationFailed"


def test_protocol_and_address():
    authorise(token(spr="https"), scheme="https")
    authorise(token(spr="https,http", sip="10.0.0.1-10.0.0.9"))
    for query in (token(spr="https"), token(sip="10.0.0.8"), token(sip="nonsense")):
        with pytest.raises(StorageError) as refused:
            authorise(query)
        assert refused.value.code.status == 403


def test_a_token_for_the_share_lists_and_reads_but_manages_nothing():
    grant = authorise(token(sr="s", sp="rwdl"))
    grant.demand("cl", "l")
    grant.demand("o", "r")
    with pytest.raises(StorageError):
        grant.demand("c", "d")
    with pytest.raises(StorageError):
        authorise(token(sp="r")).demand("cl", "l")


@pytest.mark.parametrize("name", ["sv", "sr", "sp", "se", "sig"])
def test_any_changed_field_breaks_the_signature(name):
    query = token(ItemRef(StorageService.BLOB, "acct", "share", "x"), sr="b")
    query[name] = {"sv": "2018-11-09", "sr": "bs", "sp": "rw", "se": "2099-01-01", "sig": "AAAA"}[name]
    with pytest.raises(StorageError):
        authorise(query, ItemRef(StorageService.BLOB, "acct", "share", "x"))


def account_token(**fields: str) -> dict[str, str]:
    query = {"sv": "2022-11-02", "ss": "f", "srt": "o", "sp": "r", "se": "2026-11-20T11:00:00Z"} | fields
    return query | {"sig": sas.signature(KEY, sas.account_string("acct", query))}


def test_fields_cannot_be_cut_another_way():
    """Versions differ in their number of lines: one field with a line break would stand for two."""
    honest = account_token(spr="https")
    authorise(honest, scheme="https")
    forged = honest | {"spr": "https\n2022-11-02", "sv": ""}
    assert sas.account_string("acct", forged) == sas.account_string("acct", honest)
    with pytest.raises(StorageError) as refused:
        authorise(forged)
    assert refused.value.code.status == 403


@pytest.mark.parametrize("fields", [{"sv": ""}, {"sv": "newest"}, {"rscd": "a\nb"}, {"spr": "HTTPS"}])
def test_malformed_fields_are_refused_though_signed(fields):
    for query in (token(**fields), account_token(**fields)):
        with pytest.raises(StorageError) as refused:
            authorise(query)
        assert refused.value.code.code == "AuthenticationFailed"


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2020 00:00:00 +99999999999999999999",
        "yesterday",
    ],
)
def test_a_date_that_is_none_is_an_authentication_failure(date):
    signed = SignedRequest(
        "GET", "/", [], {"authorization": "SharedKey acct:AAAA", "x-ms-date": date}, "acct"
    )
    authority = Authority(lambda token, audiences: None, lambda ref: ContainerRules())
    with pytest.raises(StorageError) as refused:
        authority.authorise(Credentials(signed, FILE, {}, "", "http"), (), NOW)
    assert refused.value.code.code == "AuthenticationFailed"
