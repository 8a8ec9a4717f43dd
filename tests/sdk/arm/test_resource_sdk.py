"""azure-mgmt-resource of today: groups, lists of resources, resources by id, providers."""

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.batchai import BatchAI
from azure.mgmt.resource.resources import ResourceManagementClient
from harness.arm import unique

BATCHAI = "2018-05-01"


def identity(service):
    endpoint = service.endpoint
    return ClientSecretCredential(
        endpoint["tenant"],
        endpoint["client_id"],
        endpoint["client_secret"],
        authority=endpoint["authority"],
        disable_instance_discovery=True,
        connection_verify=endpoint["ca_bundle"],
    )


def opened(kind, service):
    endpoint = service.endpoint
    where = {"base_url": endpoint["arm"], "connection_verify": endpoint["ca_bundle"]}
    return kind(identity(service), endpoint["subscription_id"], **where)


@pytest.fixture(scope="module")
def client(service):
    with opened(ResourceManagementClient, service) as client:
        yield client


@pytest.fixture
def workspace(client):
    """Id of a workspace, made as a generic resource."""
    group = unique("sdk")
    created = client.resource_groups.create_or_update(group, {"location": "eastus", "tags": {"of": group}})
    path = f"{created.id}/providers/Microsoft.BatchAI/workspaces/{group}"
    body = {"location": "eastus", "tags": {"of": group}}
    made = client.resources.begin_create_or_update_by_id(path, body, api_version=BATCHAI).result()
    assert made.id == path
    return path


def test_resources_by_id(client, workspace):
    resources = client.resources
    assert resources.check_existence_by_id(workspace, api_version=BATCHAI)
    assert not resources.check_existence_by_id(workspace + "x", api_version=BATCHAI)
    found = resources.get_by_id(workspace, api_version=BATCHAI)
    assert (found.id, found.location) == (workspace, "eastus")
    assert resources.begin_update_by_id(
        workspace, {"tags": {"a": "b"}}, api_version=BATCHAI
    ).result().tags == {"a": "b"}
    resources.begin_delete_by_id(workspace, api_version=BATCHAI).result()
    assert not resources.check_existence_by_id(workspace, api_version=BATCHAI)
    with pytest.raises(ResourceNotFoundError) as missing:
        resources.get_by_id(workspace, api_version=BATCHAI)
    assert missing.value.error.code == "WorkspaceNotFound"


def test_lists(client, workspace):
    name = workspace.rpartition("/")[2]
    [found] = client.resources.list_by_resource_group(name, expand="createdTime,provisioningState")
    assert (found.id, found.provisioning_state) == (workspace, "Succeeded")
    assert found.created_time
    kind = "resourceType eq 'Microsoft.BatchAI/workspaces'"
    assert workspace in [item.id for item in client.resources.list(filter=kind, top=1)]
    [group] = client.resource_groups.list(filter=f"tagName eq 'of' and tagValue eq '{name}'", top=1)
    assert (group.name, client.resource_groups.check_existence(name)) == (name, True)
    client.resource_groups.begin_delete(name).result()
    assert not client.resource_groups.check_existence(name)


def test_providers(client):
    states = {item.namespace: item.registration_state for item in client.providers.list()}
    assert states["Microsoft.BatchAI"] == "Registered"
    types = {item.resource_type for item in client.providers.get("Microsoft.BatchAI").resource_types}
    assert {"workspaces", "workspaces/experiments/jobs", "clusters"} < types
    assert client.providers.register("Microsoft.BatchAI").registration_state == "Registered"


def test_templates_are_refused(client, workspace):
    name = workspace.rpartition("/")[2]
    with pytest.raises(HttpResponseError) as refused:
        client.resource_groups.begin_export_template(name, {"resources": ["*"]}).result()
    assert (refused.value.status_code, refused.value.error.code) == (400, "OperationNotSupported")


@pytest.mark.slow
def test_an_unregistered_provider_is_registered_by_the_sdk_itself(new_service):
    """azure-mgmt-core finds the namespace in the refusal, registers it, sleeps for ten seconds and repeats
    the request."""
    service = new_service().up()
    with opened(ResourceManagementClient, service) as resources, opened(BatchAI, service) as batchai:
        resources.resource_groups.create_or_update("group", {"location": "eastus"})
        assert resources.providers.unregister("Microsoft.BatchAI").registration_state == "Unregistered"
        made = batchai.workspaces.begin_create("group", "work", {"location": "eastus"}).result()
        assert made.name == "work"
        assert resources.providers.get("Microsoft.BatchAI").registration_state == "Registered"
