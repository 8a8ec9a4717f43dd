"""Usages and the quotas they are held against."""

from datetime import UTC, datetime

import pytest

from openbatchai.domain.clusters import AllocationState
from openbatchai.domain.errors import ServiceError
from openbatchai.domain.model import Cluster
from openbatchai.domain.quotas import check, usages

NOW = datetime(2018, 6, 6, tzinfo=UTC)
DEDICATED = "Total Cluster Dedicated Regional vCPUs"


def cluster(size="STANDARD_NC6", priority="dedicated", target=2, maximum=None):
    scale = (
        {"manual": {"targetNodeCount": target}}
        if maximum is None
        else {"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": maximum}}
    )
    return Cluster(
        id=0, workspace_id=1, key="c", name="c",
        spec={"vmSize": size, "vmPriority": priority, "scaleSettings": scale},
        legacy={}, location="", tags={}, fingerprint="", deleting=False, created=NOW, changed=NOW,
        etag="", modified=NOW,
        allocation_state=AllocationState.STEADY, allocation_changed=NOW, target=target, errors=[],
        setup_suffix="", secrets={},
    )  # fmt: skip


def counted(*clusters):
    return {usage.name: usage.current for usage in usages(clusters, 3, {}) if usage.current}


def test_nothing_counts_nothing_but_every_usage_is_told():
    found = usages([], 0, {})
    assert {usage.current for usage in found} == {0}
    assert len(found) == 18


def test_cores_are_counted_in_all_and_by_family():
    assert counted(cluster(), cluster("STANDARD_D2_V2", "lowpriority", 3)) == {
        "Clusters": 2,
        "ActiveJobs": 3,
        DEDICATED: 12,
        "Standard NC Family Cluster Dedicated vCPUs": 12,
        "Total Cluster LowPriority Regional vCPUs": 6,
        "Standard Dv2 Family Cluster LowPriority vCPUs": 6,
    }


@pytest.mark.parametrize(
    ("size", "family"),
    [("STANDARD_NC24RS_V3", "NCv3"), ("STANDARD_ND6S", "ND"), ("STANDARD_NV24", "NV"), ("STANDARD_D14", "D")],
)
def test_sizes_belong_to_their_family(size, family):
    assert f"Standard {family} Family Cluster Dedicated vCPUs" in counted(cluster(size))


def test_a_size_of_no_counted_family_counts_in_all():
    assert counted(cluster("STANDARD_F2")) == {"Clusters": 1, "ActiveJobs": 3, DEDICATED: 4}


def test_one_cluster_too_many_is_refused_with_the_recorded_words():
    with pytest.raises(ServiceError) as refused:
        check(cluster(), [cluster(), cluster()], {"Clusters": 2}, is_new=True)
    assert (refused.value.status, refused.value.code) == (409, "ClusterQuotaReached")
    assert "Microsoft.BatchAI/clusters. Maximum allowed: 2, Current in use: 2" in refused.value.message
    check(cluster(), [cluster()], {"Clusters": 2}, is_new=True)
    check(cluster(), [cluster(), cluster()], {"Clusters": 2}, is_new=False)


def test_cores_are_refused_with_what_an_autoscale_cluster_may_grow_to():
    quotas = {DEDICATED: 24}
    check(cluster(maximum=4, target=0), [], quotas, is_new=True)
    with pytest.raises(ServiceError, match="Current in use: 12, Additional requested: 18"):
        check(cluster(maximum=3, target=0), [cluster()], quotas, is_new=True)
    check(cluster(priority="lowpriority", target=9), [cluster()], quotas, is_new=True)
