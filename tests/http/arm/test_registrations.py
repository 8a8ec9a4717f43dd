"""Resource providers: what they say they offer, and what the subscription is registered for."""

import pytest
from harness.arm import VERSIONS, Arm

AZURE = ("Microsoft.Batch", "Microsoft.BatchAI", "Microsoft.Resources", "Microsoft.Storage")


@pytest.fixture(scope="module")
def providers(arm):
    return f"{arm.subscription}/providers"


def refused(answer, status, code):
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    return answer.json()["error"]


def test_all_are_registered_from_the_start(arm, providers):
    found = arm.get(providers, "2024-11-01")["value"]
    assert {item["namespace"]: item["registrationState"] for item in found} == dict.fromkeys(
        AZURE, "Registered"
    )
    assert arm.get(f"{providers}/microsoft.batchai", "2016-02-01") == found[1]


def test_the_tenant_has_them_without_a_state(arm):
    found = arm.get("/providers", "2024-11-01")["value"]
    assert [item["namespace"] for item in found] == list(AZURE)
    assert "registrationState" not in arm.get("/providers/Microsoft.Storage", "2024-11-01")


def test_what_is_offered_is_served(arm, providers):
    """Every type of ours in the list is answered in each api-version that it names."""
    group = arm.group()
    for item in arm.get(f"{providers}/Microsoft.BatchAI")["resourceTypes"]:
        assert "East US" in item["locations"]
        words = item["resourceType"].split("/")
        path = "/".join(f"{word}/x" for word in words[:-1]) + f"/{words[-1]}"
        root = f"/providers/Microsoft.BatchAI/{path}".replace("BatchAI//", "BatchAI/")
        if words[0] in ("operations", "locations"):
            continue
        for version in item["apiVersions"]:
            answer = arm.ask("GET", f"{arm.group_path(group)}{root}", version=version)
            code = answer.json().get("error", {}).get("code", "")
            assert code in ("", "WorkspaceNotFound", "ExperimentNotFound"), (item, version, answer.text)


def test_pages(arm, providers):
    answer = arm.ask("GET", providers, query={"$top": "3"}).json()
    assert len(answer["value"]) == 3
    assert len(arm.ask("GET", answer["nextLink"], version=None).json()["value"]) == 1


def test_one_that_is_not_here(arm, providers):
    for method, path in (("GET", ""), ("POST", "/register"), ("POST", "/unregister")):
        answer = arm.ask(method, f"{providers}/Microsoft.Compute{path}")
        assert "'Microsoft.Compute'" in refused(answer, 404, "InvalidResourceNamespace")["message"]


def test_one_with_resources_stays_registered(arm, lab, providers):
    for namespace in ("Microsoft.BatchAI", "Microsoft.Storage", "Microsoft.Resources"):
        refused(arm.ask("POST", f"{providers}/{namespace}/unregister"), 409, "Conflict")
        assert arm.get(f"{providers}/{namespace}")["registrationState"] == "Registered"


def test_without_registration_nothing_is_made(new_service):
    service = new_service().up()
    arm = Arm(service)
    provider, group = f"{arm.subscription}/providers/Microsoft.BatchAI", arm.group()
    assert arm.ask("POST", f"{provider}/unregister").json()["registrationState"] == "Unregistered"
    assert arm.ask("POST", f"{provider}/unregister").status_code == 200
    service.down()
    service.up()
    assert arm.get(provider)["registrationState"] == "Unregistered"

    workspace = f"{arm.provider(group)}/workspaces/w"
    error = refused(arm.ask("PUT", workspace, {"location": "eastus"}), 409, "MissingSubscriptionRegistration")
    assert "is not registered to use namespace 'Microsoft.BatchAI'" in error["message"]
    [detail] = error["details"]
    assert (detail["code"], detail["target"]) == (error["code"], "Microsoft.BatchAI")
    flat = arm.ask("PUT", f"{arm.provider(group)}/clusters/c", {"location": "eastus"}, VERSIONS[0])
    refused(flat, 409, "MissingSubscriptionRegistration")
    assert arm.get(f"{arm.provider(group)}/workspaces")["value"] == []

    assert arm.ask("POST", f"{provider}/register").json()["registrationState"] == "Registered"
    arm.put(workspace, {"location": "eastus"})
