"""Leases of blobs and containers, driven by azure-storage-blob 12.31 and plain requests."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    BlobBlock,
    BlobLeaseClient,
    BlobServiceClient,
    ContainerClient,
    generate_blob_sas,
)

A, B = str(uuid.UUID(int=10)), str(uuid.UUID(int=11))


@pytest.fixture
def container(server, fresh_name) -> ContainerClient:
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_container(fresh_name)


@pytest.fixture
def blob(container):
    client = container.get_blob_client("dir/b")
    client.upload_blob(b"old", metadata={"k": "v"})
    return client


def code_of(call) -> tuple[int, str]:
    with pytest.raises(HttpResponseError) as error:
        call()
    return error.value.status_code, error.value.error_code


def told(properties) -> tuple[str, str, str | None]:
    return properties.lease.status, properties.lease.state, properties.lease.duration


def test_a_blob_lease_from_acquire_to_release(container, blob):
    before = blob.get_blob_properties()
    assert told(before) == ("unlocked", "available", None)
    lease = blob.acquire_lease(15, lease_id=A)
    assert lease.id == A
    assert told(blob.get_blob_properties()) == ("locked", "leased", "fixed")
    assert told(next(iter(container.list_blobs()))) == ("locked", "leased", "fixed")
    lease.acquire(lease_duration=-1)
    assert told(blob.download_blob().properties) == ("locked", "leased", "infinite")
    lease.renew()
    lease.change(B)
    assert lease.id == B
    assert code_of(BlobLeaseClient(blob, A).renew) == (409, "LeaseIdMismatchWithLeaseOperation")
    lease.release()
    after = blob.get_blob_properties()
    assert told(after) == ("unlocked", "available", None)
    # A lease is no change of the blob.
    assert (after.etag, after.last_modified) == (before.etag, before.last_modified)


def test_every_write_of_a_leased_blob_needs_the_lease(container, blob):
    lease = blob.acquire_lease()
    log = container.get_blob_client("log")
    log.create_append_blob()
    log_lease = log.acquire_lease()
    writes = {
        "put": lambda **id: blob.upload_blob(b"new", overwrite=True, **id),
        "block": lambda **id: blob.stage_block("AAAA", b"new", **id),
        "block list": lambda **id: blob.commit_block_list([BlobBlock("AAAA")], **id),
        "metadata": lambda **id: blob.set_blob_metadata({"a": "b"}, **id),
        "properties": lambda **id: blob.set_http_headers(None, **id),
        "tier": lambda **id: blob.set_standard_blob_tier("Cool", **id),
        "append": lambda **id: log.append_block(b"x", **id),
        "delete": lambda **id: blob.delete_blob(**id),
    }
    for name, write in writes.items():
        assert code_of(write) == (412, "LeaseIdMissing"), name
        assert code_of(lambda: write(lease=B)) == (412, "LeaseIdMismatchWithBlobOperation"), name  # noqa: B023
    assert blob.download_blob().readall() == b"old"
    for name, write in writes.items():
        write(lease=log_lease if name == "append" else lease)
    assert not blob.exists()
    assert log.download_blob().readall() == b"x"


def test_a_lease_outlives_what_its_holder_writes(blob):
    lease = blob.acquire_lease()
    blob.upload_blob(b"new", overwrite=True, lease=lease)
    blob.set_blob_metadata({"a": "b"}, lease=lease)
    assert told(blob.get_blob_properties(lease=lease)) == ("locked", "leased", "infinite")
    assert code_of(lambda: blob.upload_blob(b"newer", overwrite=True)) == (412, "LeaseIdMissing")


def test_a_job_may_write_a_leased_file_and_the_lease_stays(server, container, blob):
    """A lease guards against storage clients; the mounts know nothing of it."""
    blob.acquire_lease()
    path = server.directory("blob", container.container_name) / "dir/b"
    path.write_bytes(b"written by a job")
    assert blob.download_blob().readall() == b"written by a job"
    assert told(blob.get_blob_properties())[1] == "leased"
    path.unlink()
    blob.upload_blob(b"again")
    assert told(blob.get_blob_properties())[1] == "available"


def test_a_file_of_a_job_can_be_leased(server, container):
    (server.directory("blob", container.container_name) / "f.txt").write_bytes(b"text")
    blob = container.get_blob_client("f.txt")
    before = blob.get_blob_properties()
    blob.acquire_lease().release()
    after = blob.get_blob_properties()
    assert (after.etag, after.content_settings.content_type) == (
        before.etag,
        before.content_settings.content_type,
    )


def test_reads_compare_a_lease_id_that_is_given(blob):
    reads = (
        lambda **id: blob.get_blob_properties(**id),
        lambda **id: blob.download_blob(**id).readall(),
        lambda **id: blob.get_block_list("all", **id),
    )
    for read in reads:
        assert code_of(lambda: read(lease=A)) == (412, "LeaseNotPresentWithBlobOperation")  # noqa: B023
    lease = blob.acquire_lease(lease_id=A)
    for read in reads:
        assert code_of(lambda: read(lease=B)) == (412, "LeaseIdMismatchWithBlobOperation")  # noqa: B023
        read(lease=lease)
        read()
    lease.break_lease(0)
    for read in reads:
        assert code_of(lambda: read(lease=A)) == (412, "LeaseLost")  # noqa: B023


def test_breaking(blob):
    lease = blob.acquire_lease(60, lease_id=A)
    assert 50 < lease.break_lease() <= 60
    assert told(blob.get_blob_properties()) == ("locked", "breaking", None)
    assert code_of(lambda: blob.acquire_lease(lease_id=A)) == (409, "LeaseIsBreakingAndCannotBeAcquired")
    assert code_of(lambda: blob.acquire_lease(lease_id=B)) == (409, "LeaseAlreadyPresent")
    assert code_of(lambda: lease.change(B)) == (409, "LeaseIsBreakingAndCannotBeChanged")
    blob.set_blob_metadata({}, lease=A)
    assert lease.break_lease(5) <= 5
    assert lease.break_lease(0) == 0
    assert told(blob.get_blob_properties()) == ("unlocked", "broken", None)
    assert code_of(lease.renew) == (409, "LeaseIsBrokenAndCannotBeRenewed")
    # A write makes an end of a broken lease.
    blob.set_blob_metadata({"a": "b"})
    assert told(blob.get_blob_properties()) == ("unlocked", "available", None)
    assert code_of(lease.break_lease) == (409, "LeaseNotPresentWithLeaseOperation")


def test_lease_operations_obey_conditions(blob):
    etag = blob.get_blob_properties().etag
    stale = {"etag": '"0x1"', "match_condition": MatchConditions.IfNotModified}
    assert code_of(lambda: blob.acquire_lease(**stale)) == (412, "ConditionNotMet")
    lease = blob.acquire_lease(etag=etag, match_condition=MatchConditions.IfNotModified)
    for call in (lease.renew, lease.release, lease.break_lease, lambda **demand: lease.change(B, **demand)):
        assert code_of(lambda: call(**stale)) == (412, "ConditionNotMet")  # noqa: B023
    lease.release(etag=etag, match_condition=MatchConditions.IfNotModified)


def test_of_many_who_ask_at_once_one_gets_the_lease(blob):
    def acquire(number: int) -> str | None:
        try:
            return blob.acquire_lease(lease_id=str(uuid.UUID(int=number))).id
        except HttpResponseError as error:
            return None if error.error_code == "LeaseAlreadyPresent" else str(error)

    with ThreadPoolExecutor(8) as pool:
        got = [lease for lease in pool.map(acquire, range(1, 25)) if lease is not None]
    assert len(got) == 1
    blob.set_blob_metadata({}, lease=got[0])


def test_absent_and_malformed(server, container, blob):
    assert code_of(container.get_blob_client("none").acquire_lease) == (404, "BlobNotFound")
    # A lease id for a blob that is not there.
    assert code_of(lambda: container.upload_blob("none", b"x", lease=A)) == (
        412,
        "LeaseNotPresentWithBlobOperation",
    )
    token = generate_blob_sas(
        server.account,
        container.container_name,
        blob.blob_name,
        account_key=server.key,
        permission="w",
        expiry=datetime.now(UTC) + timedelta(minutes=5),
    )
    url = f"{blob.url}?comp=lease&{token}"
    session = requests.Session()
    session.trust_env = False

    def lease(**headers: str) -> tuple[int, str | None]:
        named = {f"x-ms-{name.replace('_', '-')}": value for name, value in headers.items()}
        answer = session.put(url, headers=named)
        return answer.status_code, answer.headers.get("x-ms-error-code")

    assert lease() == (400, "MissingRequiredHeader")
    assert lease(lease_action="steal") == (400, "InvalidHeaderValue")
    assert lease(lease_action="acquire") == (400, "MissingRequiredHeader")
    for duration in ("0", "14", "61", "-2", "x", "١٥"):
        assert lease(lease_action="acquire", lease_duration=duration.encode().decode("latin-1")) == (
            400,
            "InvalidHeaderValue",
        )
    assert lease(lease_action="acquire", lease_duration="15", proposed_lease_id="nothing") == (
        400,
        "InvalidHeaderValue",
    )
    assert lease(lease_action="renew") == (400, "MissingRequiredHeader")
    assert lease(lease_action="change", lease_id=A) == (400, "MissingRequiredHeader")
    assert lease(lease_action="break", lease_break_period="61") == (400, "InvalidHeaderValue")
    assert told(blob.get_blob_properties())[1] == "available"
    # Any letter case and any of .NET's forms of the same GUID.
    assert lease(lease_action="acquire", lease_duration="15", proposed_lease_id=A.upper())[0] == 201
    assert lease(lease_action="Renew", lease_id="{" + A + "}")[0] == 200
    assert lease(lease_action="release", lease_id=A.replace("-", ""))[0] == 200


def test_a_container_lease_guards_only_its_deletion(server, container):
    before = container.get_container_properties()
    lease = container.acquire_lease(lease_id=A)
    after = container.get_container_properties()
    assert told(after) == ("locked", "leased", "infinite")
    assert (after.etag, after.last_modified) == (before.etag, before.last_modified)
    with BlobServiceClient.from_connection_string(server.connection_string) as service:
        (listed,) = service.list_containers(container.container_name)
        assert told(listed) == ("locked", "leased", "infinite")
    container.upload_blob("b", b"x")
    container.set_container_metadata({"a": "b"})
    container.set_container_access_policy({})
    assert told(container.get_container_properties(lease=lease))[1] == "leased"
    for call in (
        container.get_container_properties,
        container.get_container_access_policy,
        container.delete_container,
    ):
        assert code_of(lambda: call(lease=B)) == (412, "LeaseIdMismatchWithContainerOperation")  # noqa: B023
    assert code_of(container.delete_container) == (412, "LeaseIdMissing")
    container.delete_container(lease=lease)
    assert not container.exists()


def test_a_container_lease_survives_its_settings_and_can_be_broken(container):
    lease = container.acquire_lease(15, lease_id=A)
    container.set_container_metadata({"a": "b"})
    lease.renew()
    lease.change(B)
    lease.release()
    assert code_of(lambda: container.get_container_properties(lease=A)) == (
        412,
        "LeaseNotPresentWithContainerOperation",
    )
    container.acquire_lease().break_lease()
    assert told(container.get_container_properties()) == ("unlocked", "broken", None)
    container.delete_container()


def test_a_directory_made_by_hand_can_be_leased(server, container):
    name = f"{container.container_name}-by-hand"
    server.directory("blob", name).mkdir()
    with ContainerClient.from_connection_string(server.connection_string, name) as made:
        before = made.get_container_properties()
        lease = made.acquire_lease()
        after = made.get_container_properties()
        assert (after.etag, told(after)[1]) == (before.etag, "leased")
        lease.release()
        made.delete_container()
