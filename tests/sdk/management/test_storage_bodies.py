"""Bodies that no client sends: each is answered, none breaks the service or what it holds."""

import copy

import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.fileshare import ShareServiceClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

VERSION = "2019-06-01"
SERVICES = ("/blobServices/default", "/fileServices/default")
LISTS = ("/blobServices/default/containers", "/fileServices/default/shares")
ACCOUNT = {
    "location": "eastus",
    "kind": "StorageV2",
    "sku": {"name": "Standard_LRS"},
    "tags": {"a": "b"},
    "identity": {"type": "None"},
    "properties": {
        "accessTier": "Hot",
        "minimumTlsVersion": "TLS1_2",
        "networkAcls": {"bypass": "None", "ipRules": [{"value": "1.2.3.4"}], "defaultAction": "Allow"},
        "encryption": {"services": {"blob": {"enabled": True}}, "keySource": "Microsoft.Storage"},
        "keyPolicy": {"keyExpirationPeriodInDays": 3},
        "sasPolicy": {"sasExpirationPeriod": "1.00:00:00", "expirationAction": "Log"},
        "routingPreference": {"routingChoice": "MicrosoftRouting"},
        "customDomain": {"name": ""},
    },
}
RULE = {
    "allowedOrigins": ["*"],
    "allowedMethods": ["GET"],
    "maxAgeInSeconds": 1,
    "exposedHeaders": ["*"],
    "allowedHeaders": ["*"],
}
CORS = {"corsRules": [RULE]}
SIGNATURE = {
    "signedPermission": "r",
    "signedExpiry": "2030-01-01T00:00:00Z",
    "signedStart": "2020-01-01T00:00:00Z",
}
PROTOCOLS = {"smb": {"versions": "SMB3.0", "multichannel": {"enabled": True}}}
# Method, path below the account, a good body.
CALLS = [
    ("PATCH", "", ACCOUNT),
    ("POST", "/regenerateKey", {"keyName": "key1"}),
    ("POST", "/listAccountSas", {"signedServices": "b", "signedResourceTypes": "s", **SIGNATURE}),
    ("POST", "/listServiceSas", {"canonicalizedResource": "/blob/x/c", "signedResource": "c", **SIGNATURE}),
    (
        "PUT",
        "/blobServices/default",
        {
            "properties": {
                "cors": CORS,
                "deleteRetentionPolicy": {"enabled": True, "days": 3, "allowPermanentDelete": False},
                "containerDeleteRetentionPolicy": {"enabled": False},
                "staticWebsite": {"enabled": True, "indexDocument": "i"},
                "isVersioningEnabled": False,
            }
        },
    ),
    ("PUT", SERVICES[1], {"properties": {"cors": CORS, "protocolSettings": PROTOCOLS}}),
    ("PUT", f"{LISTS[0]}/fuzzed", {"properties": {"publicAccess": "None", "metadata": {"a": "b"}}}),
    ("POST", f"{LISTS[0]}/fuzzed/lease", {"action": "Break", "leaseId": "x", "breakPeriod": 0}),
    (
        "PUT",
        "/fileServices/default/shares/fuzzed",
        {
            "properties": {
                "shareQuota": 1,
                "accessTier": "Hot",
                "metadata": {"a": "b"},
                "fileSharePaidBursting": {"paidBurstingEnabled": True},
                "signedIdentifiers": [{"id": "a", "accessPolicy": {"permission": "r"}}],
            }
        },
    ),
]  # fmt: skip

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "\r\n", "é", "true", "None", "2020-13-45T99:99:99Z", "0" * 3000])
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abEnv", max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from places(item, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*path, number))


def replaced(body, path, value):
    if not path:
        return value
    body = copy.deepcopy(body)
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return body


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=[f"{call[0]} {call[1]}" for call in CALLS])
def test_a_wrong_value_anywhere_is_answered(arm, account, method, path, body):
    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def check(data):
        place = data.draw(st.sampled_from([*places(body)]))
        wrong = replaced(body, place, data.draw(values))
        before = arm.get(account.path, VERSION)
        answer = arm.ask(method, account.path + path, wrong, VERSION)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert error["code"]
            assert error["message"]
            assert arm.get(account.path, VERSION) == before
        for shown in ("", *SERVICES, *LISTS):
            arm.get(account.path + shown, VERSION)

    check()
    with BlobServiceClient(account.url(), credential=account.credential) as blobs:
        assert blobs.get_service_properties()["cors"] is not None
        list(blobs.list_containers(include_metadata=True))
    with ShareServiceClient(account.url("file"), credential=account.credential) as files:
        assert files.get_service_properties()["protocol"]
        list(files.list_shares(include_metadata=True))
