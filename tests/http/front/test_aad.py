"""The token authority, asked by the real library and by the requests that older ones were seen to send."""

import base64
import json
import ssl
import subprocess
import sys
import uuid
from datetime import UTC, datetime

import httpx
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential

from openbatchai.http.aad import create_app, is_aad_path
from openbatchai.http.listeners import Listener
from openbatchai.http.proxy import Proxy, azure_host_kind
from openbatchai.services.identity import ARM_AUDIENCES

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]

RESOURCE = "https://management.core.windows.net/"


@pytest.fixture
def authority_proxy(serve, identity, ca) -> Proxy:
    app = create_app(identity)
    return serve(Proxy(lambda host: app if azure_host_kind(host) == "aad" else None, ca))


@pytest.fixture
def client(authority_proxy, ca):
    """A bare client at the well-known address."""
    proxy = f"http://127.0.0.1:{authority_proxy.port}"
    context = ssl.create_default_context(cafile=str(ca.bundle_path))
    base = "https://login.microsoftonline.com"
    with httpx.Client(base_url=base, proxy=proxy, verify=context, trust_env=False) as client:
        yield client


@pytest.fixture
def form(application):
    """What adal sends; the tests change one thing at a time."""
    client_id, secret = application
    return {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": secret,
        "resource": RESOURCE,
    }


# --- the four shapes of clients.md section 4 ---------------------------------------------------------


def test_credentials_in_a_basic_header(client, identity, application):
    """msrestazure 0.4."""
    basic = base64.b64encode(":".join(application).encode()).decode()
    response = client.post(
        f"/{identity.tenant_id}/oauth2/token",
        content="grant_type=client_credentials&resource=https%3A%2F%2Fmanagement.core.windows.net%2F"
        "&response_type=client_credentials",
        headers={"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert response.status_code == 200, response.text
    assert identity.verify(response.json()["access_token"]).client_id == application[0]


def test_credentials_in_the_form_at_tenant_common(client, identity, application, form, clock):
    """msrestazure 0.6 with adal ignores the tenant it was given."""
    request_id = str(uuid.uuid4())
    headers = {"client-request-id": request_id, "return-client-request-id": "true"}
    response = client.post("/common/oauth2/token", data=form, headers=headers)
    reply = response.json()
    assert response.headers["client-request-id"] == request_id
    assert response.headers["cache-control"] == "no-store, no-cache"
    assert set(reply) == {
        "token_type",
        "expires_in",
        "ext_expires_in",
        "expires_on",
        "not_before",
        "resource",
        "access_token",
    }
    assert all(isinstance(value, str) for value in reply.values())
    assert (reply["token_type"], reply["resource"]) == ("Bearer", RESOURCE)
    assert 3590 <= int(reply["expires_in"]) <= 3599
    assert int(reply["expires_on"]) == int(reply["not_before"]) + 3599
    assert int(reply["not_before"]) == int(clock.now().timestamp())
    assert identity.verify(reply["access_token"]).tenant_id == identity.tenant_id


@pytest.mark.parametrize(
    ("scope", "audience"),
    [
        ("https://management.azure.com/.default", "https://management.azure.com"),
        ("https://management.core.windows.net//.default", "https://management.core.windows.net/"),
        ("openid https://storage.azure.com/.default offline_access profile", "https://storage.azure.com"),
    ],
)
def test_v2_scopes_name_the_audience(client, identity, form, scope, audience):
    del form["resource"]
    form |= {"scope": scope, "client_info": "1", "claims": '{"access_token": {}}'}
    response = client.post(f"/{identity.tenant_id}/oauth2/v2.0/token", data=form)
    reply = response.json()
    assert set(reply) == {"token_type", "expires_in", "ext_expires_in", "access_token"}
    assert isinstance(reply["expires_in"], int)
    assert jwt.decode(reply["access_token"], options={"verify_signature": False})["aud"] == audience


def _credential(identity, application, ca, monkeypatch, **options) -> ClientSecretCredential:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca.bundle_path))
    return ClientSecretCredential(identity.tenant_id, *application, **options)


def test_azure_identity_with_an_authority_of_its_own(serve, identity, application, ca, monkeypatch):
    listener = serve(Listener(create_app(identity), ca))
    credential = _credential(
        identity,
        application,
        ca,
        monkeypatch,
        authority=f"https://127.0.0.1:{listener.port}",
        disable_instance_discovery=True,
    )
    with credential:
        token = credential.get_token("https://management.azure.com/.default")
    claims = identity.verify(token.token)
    assert claims.client_id == application[0]
    assert abs(token.expires_on - claims.expires.timestamp()) < 60


def test_azure_identity_through_the_proxy(authority_proxy, identity, application, ca, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{authority_proxy.port}")
    with _credential(identity, application, ca, monkeypatch) as credential:
        token = credential.get_token("https://management.core.windows.net//.default")
    assert identity.verify(token.token).object_id


def test_azure_identity_discovers_an_unknown_authority(
    serve, authority_proxy, identity, application, ca, monkeypatch
):
    """Without disable_instance_discovery MSAL asks the well-known host about ours, port left out."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{authority_proxy.port}")
    monkeypatch.setenv("NO_PROXY", "localhost")
    listener = serve(Listener(create_app(identity), ca))
    authority = f"https://localhost:{listener.port}"
    with _credential(identity, application, ca, monkeypatch, authority=authority) as credential:
        assert credential.get_token("https://management.azure.com/.default").token


def test_azure_identity_reports_a_wrong_secret(authority_proxy, identity, application, ca, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{authority_proxy.port}")
    wrong = (application[0], "wrong")
    with (
        _credential(identity, wrong, ca, monkeypatch) as credential,
        pytest.raises(ClientAuthenticationError, match="AADSTS7000215"),
    ):
        credential.get_token("https://management.azure.com/.default")


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": ""}, 401, "invalid_client", 7000218),
        ({"client_id": str(uuid.UUID(int=1))}, 400, "unauthorized_client", 700016),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"grant_type": ""}, 400, "invalid_request", 900144),
        ({"resource": ""}, 400, "invalid_request", 900144),
        ({"padding": "x" * 100_000}, 413, "invalid_request", 90100),
    ],
)
def test_refusals(client, identity, form, change, status, error, number):
    response = client.post(f"/{identity.tenant_id}/oauth2/token", data=form | change)
    reply = response.json()
    assert (response.status_code, reply["error"], reply["error_codes"]) == (status, error, [number])
    assert reply["error_description"].startswith(f"AADSTS{number}: ")
    assert {"timestamp", "trace_id", "correlation_id"} <= set(reply)
    assert form["client_secret"] not in response.text


@pytest.mark.parametrize("scope", ["https://management.azure.com/user", "a/.default b/.default", "/.default"])
def test_a_scope_must_name_one_resource(client, identity, form, scope):
    response = client.post(f"/{identity.tenant_id}/oauth2/v2.0/token", data=form | {"scope": scope})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")


def test_an_unknown_tenant(client, form):
    foreign = str(uuid.uuid4())
    for method, path in [
        ("POST", "oauth2/token"),
        ("GET", "v2.0/.well-known/openid-configuration"),
        ("GET", "discovery/keys"),
    ]:
        response = client.request(method, f"/{foreign}/{path}", data=form if method == "POST" else None)
        assert (response.status_code, response.json()["error_codes"]) == (400, [90002])


def test_an_application_of_another_tenant(client, form, principals):
    (principal,) = principals.values()
    principals[principal.client_id] = type(principal)(
        principal.client_id, principal.object_id, str(uuid.uuid4()), principal.secret_hash
    )
    assert client.post("/common/oauth2/token", data=form).json()["error_codes"] == [700016]


def test_a_token_is_asked_for_by_post(client):
    response = client.get("/common/oauth2/token")
    assert (response.status_code, response.json()["error_codes"]) == (400, [900561])


@pytest.mark.parametrize("header", ["Basic !!!", "Basic " + base64.b64encode(b"\xff").decode(), "Bearer x"])
def test_a_damaged_basic_header_is_no_header(client, form, header):
    response = client.post("/common/oauth2/token", data=form, headers={"Authorization": header})
    assert response.status_code == 200


# --- discovery ----------------------------------------------------------------------------------------


def test_configuration_follows_the_host_the_client_used(client, identity):
    tenant = identity.tenant_id
    v2 = client.get(f"/{tenant}/v2.0/.well-known/openid-configuration").json()
    base = f"https://login.microsoftonline.com/{tenant}"
    assert v2["issuer"] == f"{base}/v2.0"
    assert v2["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert v2["authorization_endpoint"] == f"{base}/oauth2/v2.0/authorize"
    v1 = client.get(f"/{tenant}/.well-known/openid-configuration", headers={"Host": "127.0.0.1:1234"}).json()
    assert v1["token_endpoint"] == f"https://127.0.0.1:1234/{tenant}/oauth2/token"
    assert v1["issuer"] == f"https://sts.windows.net/{tenant}/"


@pytest.mark.parametrize("version", ["", "/v2.0"])
def test_published_keys_verify_our_tokens(client, form, version):
    token = client.post("/common/oauth2/token", data=form).json()["access_token"]
    keys = jwt.PyJWKSet.from_dict(client.get(f"/common/discovery{version}/keys").json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=RESOURCE)
    assert {"aud", "iss", "iat", "nbf", "exp", "appid", "oid", "tid", "sub", "ver"} <= set(claims)
    assert claims["ver"] == "1.0"
    assert claims["sub"] == claims["oid"]
    assert datetime.fromtimestamp(claims["exp"], UTC) > datetime.now(UTC)


def test_instance_discovery(client, identity):
    asked = f"https://localhost/{identity.tenant_id}/oauth2/v2.0/authorize"
    params = {"api-version": "1.0", "authorization_endpoint": asked}
    reply = client.get("/common/discovery/instance", params=params).json()
    endpoint = client.get(reply["tenant_discovery_endpoint"])
    assert endpoint.json()["token_endpoint"].endswith(f"/{identity.tenant_id}/oauth2/v2.0/token")
    assert "login.microsoftonline.com" in reply["metadata"][0]["aliases"]
    assert client.get("/common/discovery/instance").status_code == 200


def test_an_endpoint_that_is_no_address_is_refused(client):
    """urlsplit raises for half of an IPv6 address."""
    asked = {"authorization_endpoint": "https://[/common/oauth2/authorize"}
    answer = client.get("/common/discovery/instance", params=asked)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/common/oauth2/token", True),
        (f"/{uuid.UUID(int=1)}/v2.0/.well-known/openid-configuration", True),
        ("/organizations/.well-known/openid-configuration", True),
        ("/contoso.onmicrosoft.com/discovery/keys", True),
        ("/subscriptions/oauth2/resourcegroups", False),
        ("/providers/discovery", False),
        ("/metadata/endpoints", False),
        ("/tenants", False),
        ("/portal/oauth", False),
        ("/", False),
    ],
)
def test_paths_on_a_shared_port(path, ours):
    assert is_aad_path(path) is ours


def test_a_client_in_a_process_of_its_own(authority_proxy, identity, application, ca, run_tool):
    """Nothing but environment variables, as in a user's shell."""
    script = (
        "import json, sys; from azure.identity import ClientSecretCredential as C;"
        "print(C(*json.loads(sys.argv[1])).get_token('https://management.azure.com/.default').token)"
    )
    env = {
        "HTTPS_PROXY": f"http://127.0.0.1:{authority_proxy.port}",
        "REQUESTS_CA_BUNDLE": str(ca.bundle_path),
    }
    arguments = json.dumps([identity.tenant_id, *application])
    done: subprocess.CompletedProcess = run_tool([sys.executable, "-c", script, arguments], env)
    assert identity.verify(done.stdout.strip(), ARM_AUDIENCES).client_id == application[0], done.stderr
