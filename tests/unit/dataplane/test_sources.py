"""Which copy sources a request may read, decided without HTTP."""

import base64
from datetime import UTC, datetime

import pytest

from openbatchai.dataplane import FsyncPolicy, Storage
from openbatchai.dataplane.authority import Authority, ContainerRules
from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.grants import Grant, Means
from openbatchai.domain.ports import ItemRef, StorageService
from openbatchai.http.storage.copying import without_signature
from openbatchai.http.storage.sources import SourceRequest, Sources

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
LATER = datetime(2026, 11, 20, 11, tzinfo=UTC)
BLOB, FILE = StorageService.BLOB, StorageService.FILE
SOURCE = ItemRef(BLOB, "acct", "con", "dir/b é")
URL = "https://acct.blob.core.windows.net/con/dir/b%20%C3%A9"
HERE = "http://127.0.0.1:9001/acct/con/dir/b%20%C3%A9"
OWNER = Grant()
HOLDER = Grant(frozenset("cw"), frozenset("o"), Means.SERVICE_SAS)


class Clock:
    def now(self):
        return NOW


class Ring:
    def keys(self, account):
        known = {"acct": b"k" * 64, "other": b"o" * 64}
        return (base64.b64encode(known[account]).decode(),) if account in known else None


@pytest.fixture
def storage(tmp_path):
    storage = Storage(tmp_path, Ring(), Clock(), FsyncPolicy.NEVER)
    yield storage
    storage.close()


@pytest.fixture
def sources(storage):
    def verify(token, audiences):
        return "me" if token == "mine" and "https://storage.azure.com" in audiences else None

    def rules(ref):
        return ContainerRules(public_access="blob" if ref.container == "public" else "")

    authority = Authority(verify, rules, "tenant")
    return Sources(authority, storage, lambda: {BLOB: 9001, FILE: 9002})


def resolve(sources, url, grant=HOLDER, *, account="acct", authorization="", any_of="r"):
    target = ItemRef(BLOB, account, "target", "new")
    request = SourceRequest(url, grant, target, authorization, "10.0.0.7", "2021-12-02", "backup")
    return sources.resolve(request, any_of)


def refused(sources, url, **options):
    with pytest.raises(StorageError) as refusal:
        resolve(sources, url, **options)
    return refusal.value.code.code, refusal.value.code.status


@pytest.mark.parametrize("url", [URL, HERE])
def test_a_token_on_the_source_is_enough(sources, storage, url):
    token = storage.read_sas(SOURCE, LATER)
    assert resolve(sources, f"{url}?{token}").ref == SOURCE


def test_a_file_may_be_the_source_of_a_blob(sources, storage):
    ref = ItemRef(FILE, "acct", "sha", "dir/f")
    token = storage.read_sas(ref, LATER)
    for url in ("https://acct.file.core.windows.net/sha/dir/f", "http://127.0.0.1:9002/acct/sha/dir/f"):
        assert resolve(sources, f"{url}?{token}").ref == ref
    # The same words at the port of the Blob service are a blob.
    elsewhere = f"http://127.0.0.1:9001/acct/sha/dir/f?{token}"
    assert refused(sources, elsewhere) == ("CannotVerifyCopySource", 403)


def test_a_broken_token_is_refused_even_for_an_owner(sources, storage):
    token = storage.read_sas(SOURCE, LATER)
    for broken in (token.replace("sig=", "sig=A"), storage.read_sas(SOURCE, NOW)):
        for grant in (OWNER, HOLDER):
            assert refused(sources, f"{URL}?{broken}", grant=grant) == ("CannotVerifyCopySource", 403)
    assert refused(sources, f"{URL}x?{token}") == ("CannotVerifyCopySource", 403)
    assert refused(sources, f"{URL}?{token}", any_of="d") == ("CannotVerifyCopySource", 403)


def test_an_owner_reads_what_is_in_the_same_account(sources):
    assert resolve(sources, URL, OWNER).ref == SOURCE
    assert resolve(sources, f"{URL}?snapshot=2026-11-20T09:00:00.0000000Z", OWNER).ref.snapshot
    assert refused(sources, URL, grant=OWNER, account="other") == ("CannotVerifyCopySource", 401)
    assert refused(sources, URL) == ("CannotVerifyCopySource", 401)


def test_a_public_container_needs_nothing(sources):
    url = "https://other.blob.core.windows.net/public/b"
    assert resolve(sources, url).ref == ItemRef(BLOB, "other", "public", "b")


def test_a_bearer_token_for_the_source(sources):
    assert resolve(sources, URL, account="other", authorization="Bearer mine").ref == SOURCE
    for wrong in ("Bearer theirs", "Basic mine"):
        assert refused(sources, URL, authorization=wrong)[0] == "CannotVerifyCopySource"


@pytest.mark.parametrize(
    "url",
    ["", "no url", "/con/b", "ftp://acct.blob.core.windows.net/con/b", "https://acct.blob.core.windows.net/"],
)
def test_what_is_no_url_of_an_item_is_a_bad_header(sources, url):
    assert refused(sources, url, grant=OWNER) == ("InvalidHeaderValue", 400)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/acct/con/b",
        "http://127.0.0.1:9003/acct/con/b",
        "https://nobody.blob.core.windows.net/con/b",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_nothing_is_fetched_from_elsewhere(sources, url):
    assert refused(sources, url, grant=OWNER) == ("CannotVerifyCopySource", 404)


def test_names_may_come_unencoded(sources, storage):
    token = storage.read_sas(SOURCE, LATER)
    assert resolve(sources, f"https://acct.blob.core.windows.net/con/dir/b é?{token}").ref == SOURCE


def test_a_refusal_does_not_repeat_the_token(sources, storage):
    token = storage.read_sas(SOURCE, LATER)
    for url in (f"{URL}x?{token}", f"https://acct.blob.core.windows.net/?{token}"):
        with pytest.raises(StorageError) as refusal:
            resolve(sources, url)
        assert "sig=" not in str(refusal.value.detail) + refusal.value.message


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://a/b", "http://a/b"),
        ("http://a/b?sp=r&sig=S%3D&se=x", "http://a/b?sp=r&se=x"),
        ("http://a/b?sig=S", "http://a/b"),
        ("http://a/b?SIG=S&%73ig=S&sp=r", "http://a/b?sp=r"),
        ("http://a/b?design=x", "http://a/b?design=x"),
    ],
)
def test_a_copy_tells_no_signature_of_its_source(url, told):
    assert without_signature(url) == told
