"""Tags and tiers of blobs through azure-storage-blob 12.31 and raw requests."""

import urllib.parse
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.storage.blob import (
    BlobServiceClient,
    ContainerClient,
    RehydratePriority,
    StandardBlobTier,
    generate_blob_sas,
)


@pytest.fixture
def service(server):
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client


@pytest.fixture
def container(service, fresh_name) -> ContainerClient:
    return service.create_container(fresh_name)


def test_tags_are_kept_told_and_leave_the_version_alone(container):
    blob = container.upload_blob("b", b"x", tags={"kind": "a b+c", "n": "1"})
    assert blob.get_blob_tags() == {"kind": "a b+c", "n": "1"}
    before = blob.get_blob_properties()
    assert before.tag_count == 2
    blob.set_blob_tags({"kind": "new"})
    after = blob.get_blob_properties()
    assert (after.etag, after.last_modified, after.tag_count) == (before.etag, before.last_modified, 1)
    assert next(iter(container.list_blobs(include=["tags"]))).tags == {"kind": "new"}
    assert next(iter(container.list_blobs())).tags is None
    container.upload_blob("b", b"y", overwrite=True)
    assert blob.get_blob_tags() == {}
    assert blob.get_blob_properties().tag_count is None


def test_tags_of_a_blob_in_blocks_and_of_a_foreign_file(server, container):
    blocks = container.get_blob_client("blocks")
    blocks.stage_block("1", b"x")
    blocks.commit_block_list(["1"], tags={"a": "b"})
    assert blocks.get_blob_tags() == {"a": "b"}
    (server.directory("blob", container.container_name) / "log.txt").write_text("x")
    foreign = container.get_blob_client("log.txt")
    before = foreign.get_blob_properties()
    foreign.set_blob_tags({"a": "c"})
    after = foreign.get_blob_properties()
    assert (after.etag, after.content_settings.content_type) == (before.etag, "text/plain; charset=utf-8")
    assert [found.name for found in container.find_blobs_by_tags("a = 'c'")] == ["log.txt"]


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({str(n): "x" for n in range(11)}, "TagsTooLarge"),
        ({"k" * 129: "x"}, "TagsTooLarge"),
        ({"k": "v" * 257}, "TagsTooLarge"),
        ({"": "x"}, "EmptyTagName"),
        ({"k": "a&b"}, "InvalidTag"),
        ({"k\u00e9": "x"}, "InvalidTag"),
    ],
)
def test_tags_that_break_a_rule_change_nothing(container, tags, code):
    blob = container.upload_blob("b", b"x", tags={"a": "b"})
    with pytest.raises(HttpResponseError) as refused:
        blob.set_blob_tags(tags)
    assert (refused.value.status_code, refused.value.error_code) == (400, code)
    with pytest.raises(HttpResponseError) as refused:
        container.upload_blob("c", b"x", tags=tags)
    assert refused.value.error_code == code
    assert blob.get_blob_tags() == {"a": "b"}
    assert [each.name for each in container.list_blobs()] == ["b"]


def test_find_by_tags_in_a_container_and_in_the_account(service, fresh_name):
    first, second = (service.create_container(f"{fresh_name}{n}") for n in (1, 2))
    for client, name, tags in (
        (first, "a", {"run": fresh_name, "step": "01"}),
        (first, "d/b", {"run": fresh_name, "step": "02"}),
        (first, "other", {"run": "x"}),
        (second, "c", {"run": fresh_name, "step": "03", "Odd key": "v"}),
        (second, "none", None),
    ):
        client.upload_blob(name, b"x", tags=tags)
    everywhere = list(service.find_blobs_by_tags(f"run = '{fresh_name}'"))
    assert [(each.container_name, each.name) for each in everywhere] == [
        (f"{fresh_name}1", "a"),
        (f"{fresh_name}1", "d/b"),
        (f"{fresh_name}2", "c"),
    ]
    assert everywhere[0].tags == {"run": fresh_name}
    where = f"\"run\"='{fresh_name}' AND step > '01' and step<='02'"
    assert [each.name for each in service.find_blobs_by_tags(where)] == ["d/b"]
    where = f"@container='{fresh_name}2' AND \"Odd key\" >= 'a'"
    assert [each.name for each in service.find_blobs_by_tags(where)] == ["c"]
    assert [each.name for each in first.find_blobs_by_tags(f"run='{fresh_name}'")] == ["a", "d/b"]
    pages = service.find_blobs_by_tags(f"run='{fresh_name}'", results_per_page=1).by_page()
    assert [[each.name for each in page] for page in pages] == [["a"], ["d/b"], ["c"]]
    first.delete_blob("a")
    assert [each.name for each in first.find_blobs_by_tags("step='01'")] == []


@pytest.mark.parametrize(
    "where", ["run", "run='a' OR b='c'", "run<>'a'", "a=b", "@other='x'", "a='1' b='2'", "a='"]
)
def test_a_search_that_is_none_is_an_invalid_parameter(service, where):
    with pytest.raises(HttpResponseError) as refused:
        list(service.find_blobs_by_tags(where))
    assert (refused.value.status_code, refused.value.error_code) == (400, "InvalidQueryParameterValue")


def test_conditions_on_tags(container):
    blob = container.upload_blob("b", b"x", tags={"state": "ready", "n": "2"})
    for holds in ("state='ready'", "\"state\" = 'ready' AND n > '1'", "n='7' OR state<>'new'", "(n='2')"):
        assert blob.get_blob_properties(if_tags_match_condition=holds).size == 1
        assert blob.download_blob(if_tags_match_condition=holds).readall() == b"x"
    for call in (
        lambda: blob.get_blob_properties(if_tags_match_condition="state='new'"),
        lambda: blob.download_blob(if_tags_match_condition="absent='x'"),
        lambda: blob.upload_blob(b"y", overwrite=True, if_tags_match_condition="state='new'"),
        lambda: blob.set_blob_metadata({"a": "b"}, if_tags_match_condition="state='new'"),
        lambda: blob.set_blob_tags({"a": "b"}, if_tags_match_condition="state='new'"),
        lambda: blob.delete_blob(if_tags_match_condition="state='new'"),
    ):
        with pytest.raises(ResourceModifiedError) as refused:
            call()
        assert refused.value.error_code == "ConditionNotMet"
    with pytest.raises(HttpResponseError) as refused:
        blob.get_blob_properties(if_tags_match_condition="state")
    assert refused.value.status_code == 400
    blob.delete_blob(if_tags_match_condition="state='ready'")


def test_tags_have_permissions_of_their_own(server, container):
    container.upload_blob("b", b"x", tags={"a": "b"})

    def call(permission: str, method: str, comp: str, body: bytes = b"", **headers: str) -> int:
        token = generate_blob_sas(
            server.account,
            container.container_name,
            "b",
            account_key=server.key,
            permission=permission,
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        url = f"{server.url('blob', container.container_name)}/b?{comp}{token}"
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                method, url, data=body, headers={"x-ms-version": "2020-10-02", **headers}
            )
            return answer.status_code

    assert call("t", "GET", "comp=tags&") == 200
    assert call("rw", "GET", "comp=tags&") == 403
    condition = {"x-ms-if-tags": "a='b'"}
    assert call("r", "GET", "", **condition) == 403
    assert call("rt", "GET", "", **condition) == 200
    tags = b"<Tags><TagSet><Tag><Key>a</Key><Value>c</Value></Tag></TagSet></Tags>"
    assert call("rw", "PUT", "comp=tags&", tags) == 403
    assert call("t", "PUT", "comp=tags&", tags) == 204
    put = {"x-ms-blob-type": "BlockBlob", "x-ms-tags": urllib.parse.urlencode({"k": "v w"})}
    assert call("w", "PUT", "", b"1", **put) == 403
    assert call("wt", "PUT", "", b"1", **put) == 201
    assert container.get_blob_client("b").get_blob_tags() == {"k": "v w"}


def test_tiers_are_remembered_and_leave_the_version_alone(container):
    blob = container.upload_blob("b", b"x")
    first = blob.get_blob_properties()
    assert (first.blob_tier, first.blob_tier_inferred, first.blob_tier_change_time) == ("Hot", True, None)
    for tier in (StandardBlobTier.COOL, StandardBlobTier.COLD, StandardBlobTier.HOT):
        blob.set_standard_blob_tier(tier)
        told = blob.get_blob_properties()
        assert (told.blob_tier, told.etag, told.blob_tier_inferred) == (tier, first.etag, None)
        assert told.blob_tier_change_time is not None
        assert next(iter(container.list_blobs())).blob_tier == tier
    for wrong, code in (("P10", "InvalidBlobTier"), ("Tepid", "InvalidHeaderValue")):
        with pytest.raises(HttpResponseError) as refused:
            blob.set_standard_blob_tier(wrong)
        assert (refused.value.status_code, refused.value.error_code) == (400, code)
    with pytest.raises(HttpResponseError) as refused:
        container.upload_blob("c", b"x", headers={"x-ms-access-tier": "P10"})
    assert refused.value.error_code == "InvalidBlobTier"
    log = container.get_blob_client("log")
    log.create_append_blob()
    with pytest.raises(HttpResponseError) as refused:
        log.set_standard_blob_tier("Cool")
    assert refused.value.error_code == "InvalidBlobType"
    assert [each.name for each in container.list_blobs()] == ["b", "log"]


def test_a_blob_on_its_way_out_of_the_archive_says_so(container):
    blob = container.upload_blob("b", b"x", standard_blob_tier=StandardBlobTier.ARCHIVE)
    assert blob.get_blob_properties().blob_tier == "Archive"
    blob.set_standard_blob_tier(StandardBlobTier.COOL, rehydrate_priority=RehydratePriority.high)
    told = blob.get_blob_properties()
    assert (told.blob_tier, told.archive_status, told.rehydrate_priority) == (
        "Archive",
        "rehydrate-pending-to-cool",
        "High",
    )
    listed = next(iter(container.list_blobs()))
    assert (listed.blob_tier, listed.archive_status) == ("Archive", "rehydrate-pending-to-cool")


def test_tags_and_tier_of_a_snapshot(container):
    blob = container.upload_blob("b", b"x", tags={"a": "b"})
    snapshot = container.get_blob_client("b", snapshot=blob.create_snapshot()["snapshot"])
    blob.set_blob_tags({"a": "c"})
    blob.set_standard_blob_tier("Cool")
    assert snapshot.get_blob_tags() == {"a": "b"}
    assert snapshot.get_blob_properties().blob_tier == "Hot"
    snapshot.set_standard_blob_tier("Cold")
    assert (snapshot.get_blob_properties().blob_tier, blob.get_blob_properties().blob_tier) == (
        "Cold",
        "Cool",
    )


def test_a_delete_may_depend_on_when_the_tier_was_set(container):
    early, late = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
    blob = container.upload_blob("b", b"x")
    blob.set_standard_blob_tier("Cool")
    for unmet in ({"access_tier_if_modified_since": late}, {"access_tier_if_unmodified_since": early}):
        with pytest.raises(ResourceModifiedError):
            blob.delete_blob(**unmet)
    blob.delete_blob(access_tier_if_modified_since=early, access_tier_if_unmodified_since=late)
    assert not blob.exists()


def test_the_smart_tier(container):
    blob = container.upload_blob("b", b"x", standard_blob_tier=StandardBlobTier.SMART)
    told, listed = blob.get_blob_properties(), next(iter(container.list_blobs()))
    assert (told.blob_tier, told.smart_access_tier) == ("Smart", "Hot")
    assert (listed.blob_tier, listed.smart_access_tier) == ("Smart", "Hot")
