"""Our strings to sign beside those of the SDK of today, and tokens that it makes."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from azure.storage.blob import (
    UserDelegationKey,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)
from azure.storage.fileshare import UserDelegationKey as FileDelegationKey
from azure.storage.fileshare import generate_file_sas, generate_share_sas

from openbatchai.dataplane import sas
from openbatchai.dataplane.authority import Authority, ContainerRules, Credentials
from openbatchai.dataplane.delegation import DelegationKey
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.grants import Means
from openbatchai.dataplane.sharedkey import SignedRequest
from openbatchai.domain.ports import ItemRef, StorageService

KEY = base64.b64encode(b"k" * 64).decode()
SECRET = b"secret of a home"
TENANT = "b1a2c3d4-0000-4000-8000-0000000000bb"
ME = "d2b0e3a1-0000-4000-8000-0000000000aa"
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
START, EXPIRY = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
BLOB, FILE = StorageService.BLOB, StorageService.FILE
POLICY = sas.StoredPolicy("own", permission="r", expiry="2099-01-01")
SNAPSHOT = "2026-11-20T09:00:00.1234567Z"
OVERRIDES = {
    "cache_control": "no-cache",
    "content_disposition": "inline; filename=é",
    "content_encoding": "x-own",
    "content_language": "de",
    "content_type": "text/plain; charset=utf-8",
}


def grant_of(token, ref, *, headers=None, more=None, ip="10.0.0.7", scheme="https"):
    query = dict(parse_qsl(token, keep_blank_values=True)) | (more or {})
    signed = SignedRequest("GET", "/", [], headers or {}, ref.account)
    authority = Authority(
        lambda text, audiences: ME if text == "mine" else None,
        lambda where: ContainerRules(
            policies=(sas.StoredPolicy("own", permission="r", expiry="2099-01-01"),)
        ),
        TENANT,
        SECRET,
    )
    return authority.authorise(Credentials(signed, ref, query, ip, scheme), (KEY,), NOW)


def delegation_key(kind, service, delegated_tenant=""):
    start, expiry = "2026-11-20T08:00:00Z", "2026-11-21T08:00:00Z"
    own = DelegationKey(ME, TENANT, start, expiry, service, "2026-10-06", delegated_tenant)
    key = kind()
    key.signed_oid, key.signed_tid = own.object_id, own.tenant_id
    key.signed_start, key.signed_expiry = own.start, own.expiry
    key.signed_service, key.signed_version = own.service, own.version
    key.signed_delegated_user_tid = own.delegated_tenant or None
    key.value = own.value(SECRET, "acct")
    return key


ITEM = ItemRef(BLOB, "acct", "c", "dir/b é+%")
BASE = {"permission": "r", "expiry": EXPIRY}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"start": START, "ip": "10.0.0.1-10.0.0.9", "protocol": "https"},
        {"protocol": "https,http"},
        {"encryption_scope": "own"},
        OVERRIDES,
    ],
)
@pytest.mark.parametrize("delegated", [False, True])
class TestBlobTokens:
    def signer(self, delegated):
        if delegated:
            return {"user_delegation_key": delegation_key(UserDelegationKey, "b")}
        return {"account_key": KEY}

    def test_blob(self, options, delegated):
        token = generate_blob_sas("acct", "c", ITEM.path, **self.signer(delegated), **BASE, **options)
        grant = grant_of(token, ITEM)
        assert grant.means is (Means.DELEGATION_SAS if delegated else Means.SERVICE_SAS)
        assert grant.permissions == frozenset("r")
        assert set(grant.overrides.values()) == (set(OVERRIDES.values()) if options is OVERRIDES else set())
        with pytest.raises(StorageError):
            grant_of(token, ItemRef(BLOB, "acct", "c", "dir/other"))

    def test_container(self, options, delegated):
        token = generate_container_sas("acct", "c", **self.signer(delegated), **BASE, **options)
        for path in ("", ITEM.path):
            assert grant_of(token, ItemRef(BLOB, "acct", "c", path)).scopes == frozenset("lo")
        with pytest.raises(StorageError):
            grant_of(token, ItemRef(BLOB, "acct", "d", ITEM.path))

    def test_snapshot_and_version(self, options, delegated):
        for parameter, name in (("snapshot", "snapshot"), ("version_id", "versionid")):
            token = generate_blob_sas(
                "acct", "c", ITEM.path, **{parameter: SNAPSHOT}, **self.signer(delegated), **BASE, **options
            )
            assert grant_of(token, ITEM, more={name: SNAPSHOT}).pinned
            for wrong in ({}, {name: SNAPSHOT.replace("1", "2")}):
                with pytest.raises(StorageError):
                    grant_of(token, ITEM, more=wrong)

    def test_directory(self, options, delegated):
        token = generate_blob_sas(
            "acct", "c", "dir/sub", is_directory=True, **self.signer(delegated), **BASE, **options
        )
        for path in ("dir/sub", "dir/sub/b", "dir/sub/b/c"):
            assert grant_of(token, ItemRef(BLOB, "acct", "c", path)).scopes == frozenset("o")
        for path in ("", "dir", "dir/sub2", "dir/subx/b", "other/sub/b", "dir//sub/b"):
            with pytest.raises(StorageError):
                grant_of(token, ItemRef(BLOB, "acct", "c", path))


@pytest.mark.parametrize(
    ("fields", "request_part"),
    [
        ({"preauthorized_agent_object_id": "a", "correlation_id": "c"}, {}),
        ({"request_headers": {"x-Own": "v"}}, {"headers": {"x-own": "v"}}),
        ({"request_query_params": {"timeout": "7"}}, {"more": {"timeout": "7"}}),
        (
            {"request_headers": {"a": "1", "b": "2"}, "request_query_params": {"timeout": "7", "x": "8"}},
            {"headers": {"a": "1", "b": "2"}, "more": {"timeout": "7", "x": "8"}},
        ),
        ({"user_delegation_oid": ME}, {"headers": {"authorization": "Bearer mine"}}),
    ],
)
def test_fields_of_delegated_tokens(fields, request_part):
    key = delegation_key(UserDelegationKey, "b", TENANT)
    token = generate_blob_sas("acct", "c", ITEM.path, user_delegation_key=key, **BASE, **fields)
    assert grant_of(token, ITEM, **request_part).permissions == frozenset("r")
    if request_part:
        with pytest.raises(StorageError):
            grant_of(token, ITEM)


def test_an_agent_without_rights_of_its_own_gets_none():
    key = delegation_key(UserDelegationKey, "b")
    token = generate_blob_sas(
        "acct", "c", ITEM.path, user_delegation_key=key, **BASE, agent_object_id="somebody"
    )
    with pytest.raises(StorageError) as refused:
        grant_of(token, ITEM)
    assert refused.value.code.code == "AuthorizationPermissionMismatch"


@pytest.mark.parametrize("delegated", [False, True])
@pytest.mark.parametrize("options", [{}, {"start": START, "ip": "10.0.0.7"}, OVERRIDES])
def test_file_tokens(options, delegated):
    signer = (
        {"user_delegation_key": delegation_key(FileDelegationKey, "f")} if delegated else {"account_key": KEY}
    )
    file = ItemRef(FILE, "acct", "s", "dir/sub/f é")
    token = generate_file_sas("acct", "s", ["dir", "sub", "f é"], **signer, **BASE, **options)
    assert grant_of(token, file).scopes == frozenset("o")
    share = generate_share_sas("acct", "s", **signer, **BASE, **options)
    for path in ("", file.path):
        assert grant_of(share, ItemRef(FILE, "acct", "s", path)).scopes == frozenset("lo")
    for wrong in (ItemRef(FILE, "acct", "s", "dir/f é"), ItemRef(BLOB, "acct", "s", file.path)):
        with pytest.raises(StorageError):
            grant_of(token, wrong)


def test_a_token_for_a_snapshot_does_not_change_its_blob():
    token = generate_blob_sas(
        "acct", "c", ITEM.path, SNAPSHOT, account_key=KEY, permission="rwd", expiry=EXPIRY
    )
    grant = grant_of(token, ITEM, more={"snapshot": SNAPSHOT})
    for method, comp in (("GET", ""), ("HEAD", "metadata"), ("DELETE", ""), ("PUT", "tier"), ("PUT", "tags")):
        grant.check_pinned(method, comp)
    for comp in ("", "metadata", "properties", "block", "blocklist", "appendblock", "lease", "snapshot"):
        with pytest.raises(StorageError) as refused:
            grant.check_pinned("PUT", comp)
        assert refused.value.code.code == "AuthorizationFailure"


def test_stored_policies():
    token = generate_container_sas("acct", "c", account_key=KEY, policy_id="own")
    assert grant_of(token, ITEM).permissions == frozenset("r")
    for wrong in (
        generate_container_sas("acct", "c", account_key=KEY, policy_id="other"),
        generate_container_sas("acct", "c", account_key=KEY, policy_id="own", permission="r"),
    ):
        with pytest.raises(StorageError):
            grant_of(wrong, ITEM)


@pytest.mark.parametrize("options", [{}, {"start": START, "ip": "10.0.0.7", "protocol": "https"}])
@pytest.mark.parametrize("scope", [None, "own"])
def test_account_tokens(options, scope):
    more = {"encryption_scope": scope} if scope else {}
    token = generate_account_sas("acct", KEY, "sco", "rwdlacupfxti", EXPIRY, services="bf", **options, **more)
    for ref in (ITEM, ItemRef(FILE, "acct", "s", "f"), ItemRef(BLOB, "acct", "")):
        assert grant_of(token, ref).means is Means.ACCOUNT_SAS
    blobs = generate_account_sas("acct", KEY, "o", "r", EXPIRY, services="b")
    with pytest.raises(StorageError) as refused:
        grant_of(blobs, ItemRef(FILE, "acct", "s", "f"))
    assert refused.value.code.code == "AuthorizationServiceMismatch"


# Layouts as the REST reference of each version gives them; `RES` stands for the resource.
LAYOUTS = [
    (BLOB, "2012-02-12", "sp st se RES si sv"),
    (BLOB, "2013-08-15", "sp st se RES si sv rscc rscd rsce rscl rsct"),
    (BLOB, "2014-02-14", "sp st se RES si sv rscc rscd rsce rscl rsct"),
    (BLOB, "2015-02-21", "sp st se RES si sv rscc rscd rsce rscl rsct"),
    (BLOB, "2015-04-05", "sp st se RES si sip spr sv rscc rscd rsce rscl rsct"),
    (BLOB, "2018-03-28", "sp st se RES si sip spr sv rscc rscd rsce rscl rsct"),
    (BLOB, "2018-11-09", "sp st se RES si sip spr sv sr snapshot rscc rscd rsce rscl rsct"),
    (BLOB, "2020-10-02", "sp st se RES si sip spr sv sr snapshot rscc rscd rsce rscl rsct"),
    (BLOB, "2020-12-06", "sp st se RES si sip spr sv sr snapshot ses rscc rscd rsce rscl rsct"),
    (BLOB, "2026-10-06", "sp st se RES si sip spr sv sr snapshot ses rscc rscd rsce rscl rsct"),
    (FILE, "2015-02-21", "sp st se RES si sv rscc rscd rsce rscl rsct"),
    (FILE, "2015-04-05", "sp st se RES si sip spr sv rscc rscd rsce rscl rsct"),
    (FILE, "2026-10-06", "sp st se RES si sip spr sv rscc rscd rsce rscl rsct"),
]


@pytest.mark.parametrize(("service", "version", "layout"), LAYOUTS)
def test_layout_of_each_version(service, version, layout):
    names = [name for name in layout.split() if name != "RES"]
    query = {name: f"<{name}>" for name in {*names, "ses", "sip", "rscc", "snapshot"}}
    query |= {"sv": version, "sr": "bs"}
    wanted = [query.get(name, "RES") for name in layout.split()]
    assert sas.service_string(service, "RES", query).split("\n") == wanted


DELEGATED = [
    (
        "2018-11-09",
        "sp st se RES skoid sktid skt ske sks skv sip spr sv sr snapshot rscc rscd rsce rscl rsct",
    ),
    (
        "2020-02-10",
        "sp st se RES skoid sktid skt ske sks skv saoid suoid scid sip spr sv sr snapshot"
        " rscc rscd rsce rscl rsct",
    ),
    (
        "2020-12-06",
        "sp st se RES skoid sktid skt ske sks skv saoid suoid scid sip spr sv sr snapshot ses"
        " rscc rscd rsce rscl rsct",
    ),
]


@pytest.mark.parametrize(("version", "layout"), DELEGATED)
def test_layout_of_delegated_tokens(version, layout):
    query = {name: f"<{name}>" for name in layout.split() if name != "RES"} | {"sv": version, "sr": "bs"}
    wanted = [query.get(name, "RES") for name in layout.split()]
    assert [text.split("\n") for text in sas.delegation_strings(BLOB, "RES", query, {})] == [wanted]


@pytest.mark.parametrize(
    ("service", "fields"),
    [
        (BLOB, {"sv": "2018-03-28", "sr": "d", "sdd": "1"}),
        (BLOB, {"sv": "2019-12-12", "sr": "d", "sdd": "1"}),
        (BLOB, {"sv": "2018-03-28", "sr": "bs"}),
        (BLOB, {"sv": "2026-10-06", "sr": "d"}),
        (BLOB, {"sv": "2026-10-06", "sr": "d", "sdd": "-1"}),
        (BLOB, {"sv": "2026-10-06", "sr": "d", "sdd": "9" * 5000}),
        (BLOB, {"sv": "2026-10-06", "sr": "f"}),
        (BLOB, {"sv": "2026-10-06", "sr": ""}),
        (FILE, {"sv": "2026-10-06", "sr": "b"}),
        (FILE, {"sv": "2014-02-14", "sr": "f"}),
        (FILE, {"sv": "2022-11-02", "sr": "f", "skoid": "x"}),
        (BLOB, {"sv": "2017-07-29", "sr": "b", "skoid": "x"}),
        (BLOB, {"sv": "2014-02-14", "ss": "b", "srt": "o"}),
        (BLOB, {"sv": "2026-10-06", "ss": "b", "srt": "/x"}),
        (BLOB, {"sv": "2026-10-06", "ss": "b"}),
        (BLOB, {"sv": "2026-10-06", "sr": "b", "sp": "GET"}),
    ],
)
def test_what_could_be_read_two_ways_is_malformed(service, fields):
    assert sas.malformation(service, {"sp": "r", "se": "2099-01-01"} | fields)
