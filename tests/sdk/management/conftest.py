"""azure-mgmt-storage of today against the running service, and the data plane's clients beside it."""

from collections.abc import Callable

import pytest
from azure.identity import ClientSecretCredential
from azure.mgmt.storage import StorageManagementClient
from harness.arm import unique


@pytest.fixture(scope="session")
def login(service):
    here = service.endpoint
    return ClientSecretCredential(
        here["tenant"],
        here["client_id"],
        here["client_secret"],
        authority=here["authority"],
        disable_instance_discovery=True,
        connection_verify=here["ca_bundle"],
    )


@pytest.fixture(scope="session")
def management(service, login):
    here = service.endpoint
    with StorageManagementClient(
        login,
        here["subscription_id"],
        base_url=here["arm"],
        credential_scopes=["https://management.azure.com/.default"],
        connection_verify=here["ca_bundle"],
    ) as client:
        yield client


class Account:
    """An account, and where its data plane is."""

    def __init__(self, arm, management, group, name):
        self.arm, self.management, self.group, self.name = arm, management, group, name
        self.place = (group, name)
        self.path = f"{arm.group_path(group)}/providers/Microsoft.Storage/storageAccounts/{name}"

    def url(self, service="blob", *, tls=False):
        url = f"{self.arm.service.endpoint[service]}/{self.name}"
        return url.replace("http:", "https:") if tls else url

    @property
    def key(self):
        return self.management.storage_accounts.list_keys(*self.place).keys_property[0].value

    @property
    def credential(self):
        return {"account_name": self.name, "account_key": self.key}

    def update(self, **properties):
        return self.management.storage_accounts.update(*self.place, {"properties": properties})


@pytest.fixture(scope="module")
def group(arm):
    return arm.group("storage")


NewAccount = Callable[..., Account]


@pytest.fixture(scope="module")
def make_account(arm, management, group) -> NewAccount:
    def make(prefix, name=None, **parameters):
        body = {"location": "eastus", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}, **parameters}
        made = Account(arm, management, group, name or unique(prefix))
        management.storage_accounts.begin_create(*made.place, body).result()
        return made

    return make


@pytest.fixture
def new_account(make_account) -> NewAccount:
    """Makes one that the test may change; by its name, one that is there already is changed."""
    return lambda name=None, **parameters: make_account("armacct", name, **parameters)


@pytest.fixture(scope="module")
def account(make_account) -> Account:
    """One for the tests that leave the account itself as it is."""
    return make_account("armshared")


@pytest.fixture
def refused(arm):
    """Ask for what is refused: the status, the code and the field that is named."""

    def ask(method, path, body=None, **options):
        answer = arm.ask(method, path, body, version="2019-06-01", **options)
        error = answer.json()["error"]
        assert error["message"]
        return answer.status_code, error["code"], error.get("target")

    return ask
