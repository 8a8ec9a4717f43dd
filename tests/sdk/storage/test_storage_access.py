"""Who gets in: bearer tokens, user delegation keys, public containers, directories, stored policies."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.storage.blob import (
    AccessPolicy,
    BlobClient,
    BlobLeaseClient,
    BlobSasPermissions,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)
from azure.storage.fileshare import ShareServiceClient, UserDelegationKey, generate_file_sas
from defusedxml.ElementTree import fromstring

HOUR = timedelta(hours=1)
PROPOSED = "d2b0e3a1-0000-4000-8000-0000000000ee"
# The SDKs look again at the URL that goes out.
PLAIN = {"enforce_https": False}


def soon():
    return datetime.now(UTC) + HOUR


def iso(offset):
    return (datetime.now(UTC) + offset).strftime("%Y-%m-%dT%H:%M:%SZ")


class Credential:
    """A token as azure-identity would give it."""

    def __init__(self, token):
        self._token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self._token, int(soon().timestamp()))


def over_tls(request):
    """Clients and services take tokens over TLS only; uvicorn believes a proxy on this machine about that."""
    request.http_request.url = request.http_request.url.replace("https:", "http:", 1)
    request.http_request.headers["X-Forwarded-Proto"] = "https"


@pytest.fixture
def owner(server):
    credential = Credential(server.token)
    with BlobServiceClient(
        server.url("blob").replace("http:", "https:"),
        credential=credential,
        raw_request_hook=over_tls,
    ) as client:
        yield client


@pytest.fixture
def container(server, fresh_name):
    with BlobServiceClient.from_connection_string(server.connection_string) as client:
        yield client.create_container(fresh_name)


@pytest.fixture
def key(owner):
    return owner.get_user_delegation_key(datetime.now(UTC) - HOUR, soon(), **PLAIN)


def code_of(refusal):
    return refusal.value.error_code


class TestBearer:
    def test_the_sdk_reads_and_writes(self, owner, container):
        blob = owner.get_blob_client(container.container_name, "b")
        blob.upload_blob(b"content", **PLAIN)
        assert blob.download_blob(**PLAIN).readall() == b"content"

    def test_not_over_plain_http(self, server, container):
        container.upload_blob("b", b"content")
        url = server.url("blob", f"{container.container_name}/b")
        answer = requests.get(url, headers={"Authorization": f"Bearer {server.token}"})
        assert answer.status_code == 403
        assert answer.headers["x-ms-error-code"] == "AuthorizationProtocolMismatch"
        assert requests.get(url, headers=server.bearer).content == b"content"

    def test_a_wrong_token_is_challenged(self, server):
        answer = requests.get(
            server.url("blob", "c/b"), headers=server.bearer | {"Authorization": "Bearer other"}
        )
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (401, "InvalidAuthenticationInfo")
        assert answer.headers["www-authenticate"] == (
            f"Bearer authorization_uri=https://login.microsoftonline.com/{server.tenant}/oauth2/authorize"
            " resource_id=https://storage.azure.com"
        )

    @pytest.mark.parametrize("header", ["Basic dTpw", "SharedKey", "SharedKey batchaidata", "SharedKey a b"])
    def test_other_schemes_are_malformed(self, server, header):
        answer = requests.get(server.url("blob", "c/b"), headers={"Authorization": header})
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, "InvalidAuthenticationInfo")


class TestUserDelegation:
    def test_key_and_token_of_the_sdk(self, server, key, container):
        container.upload_blob("b", b"content")
        assert (key.signed_oid, key.signed_tid) == (server.principal, server.tenant)
        token = generate_blob_sas(
            server.account,
            container.container_name,
            "b",
            user_delegation_key=key,
            permission="r",
            expiry=soon(),
            content_type="text/x-own",
            correlation_id="d2b0e3a1-0000-4000-8000-0000000000cc",
        )
        with BlobClient.from_blob_url(f"{container.url}/b?{token}") as blob:
            assert blob.download_blob().readall() == b"content"
            assert requests.get(blob.url).headers["content-type"] == "text/x-own"
            with pytest.raises(HttpResponseError) as refusal:
                blob.delete_blob()
            assert code_of(refusal) == "AuthorizationPermissionMismatch"

    def test_for_a_container_and_a_directory(self, server, key, container):
        for name in ("a/b/c", "a/bc", "d"):
            container.upload_blob(name, name.encode())
        whole = generate_container_sas(
            server.account, container.container_name, user_delegation_key=key, permission="rl", expiry=soon()
        )
        with ContainerClient.from_container_url(f"{container.url}?{whole}") as reader:
            assert [found.name for found in reader.list_blobs()] == ["a/b/c", "a/bc", "d"]
        part = generate_blob_sas(
            server.account,
            container.container_name,
            "a/b",
            user_delegation_key=key,
            permission="rc",
            expiry=soon(),
            is_directory=True,
        )
        assert requests.get(f"{container.url}/a/b/c?{part}").content == b"a/b/c"
        for name in ("a/bc", "d", "a"):
            assert requests.get(f"{container.url}/{name}?{part}").status_code == 403
        for depth in ("1", "3", "x", ""):
            changed = re.sub(r"sdd=2", f"sdd={depth}", part)
            assert requests.get(f"{container.url}/a/b/c?{changed}").status_code == 403

    def test_signed_headers_and_parameters_must_be_there(self, server, key, container):
        container.upload_blob("b", b"content")
        token = generate_blob_sas(
            server.account,
            container.container_name,
            "b",
            user_delegation_key=key,
            permission="r",
            expiry=soon(),
            request_headers={"x-own": "one", "x-other": "two"},
            request_query_params={"timeout": "7"},
        )
        url, headers = f"{container.url}/b?{token}", {"x-own": "one", "x-other": "two"}
        assert requests.get(f"{url}&timeout=7", headers=headers).content == b"content"
        assert requests.get(url, headers=headers).status_code == 403
        assert requests.get(f"{url}&timeout=8", headers=headers).status_code == 403
        assert requests.get(f"{url}&timeout=7", headers=headers | {"x-own": "other"}).status_code == 403
        assert requests.get(f"{url}&timeout=7", headers={"x-own": "one"}).status_code == 403
        without = re.sub(r"&sr[hq]=[^&]*", "", url)
        assert requests.get(without).status_code == 403

    def test_a_token_for_one_user_needs_that_user(self, server, key, container):
        container.upload_blob("b", b"content")
        tokens = {
            user: generate_blob_sas(
                server.account,
                container.container_name,
                "b",
                user_delegation_key=key,
                permission="r",
                expiry=soon(),
                user_delegation_oid=user,
            )
            for user in (server.principal, "d2b0e3a1-0000-4000-8000-0000000000dd")
        }
        mine, others = tokens.values()
        assert requests.get(f"{container.url}/b?{mine}", headers=server.bearer).content == b"content"
        assert requests.get(f"{container.url}/b?{mine}").status_code == 401
        wrong = server.bearer | {"Authorization": "Bearer other"}
        assert requests.get(f"{container.url}/b?{mine}", headers=wrong).status_code == 401
        assert requests.get(f"{container.url}/b?{others}", headers=server.bearer).status_code == 403
        # The token grants reading only, whoever its user is.
        assert requests.delete(f"{container.url}/b?{mine}", headers=server.bearer).status_code == 403

    def test_for_files(self, server, fresh_name):
        with ShareServiceClient.from_connection_string(server.connection_string) as client:
            share = client.create_share(fresh_name)
            share.get_file_client("f").upload_file(b"content")
        window = f"<KeyInfo><Start>{iso(-HOUR)}</Start><Expiry>{iso(HOUR)}</Expiry></KeyInfo>"
        asked = f"{server.url('file')}/?restype=service&comp=userdelegationkey"
        answer = fromstring(requests.post(asked, window, headers=server.bearer).content)
        key = UserDelegationKey()
        for name in ("oid", "tid", "start", "expiry", "service", "version"):
            setattr(key, f"signed_{name}", answer.findtext(f"Signed{name.title()}"))
        key.value = answer.findtext("Value")
        token = generate_file_sas(
            server.account, fresh_name, ["f"], user_delegation_key=key, permission="r", expiry=soon()
        )
        url = f"{server.url('file', fresh_name)}/f?{token}"
        assert requests.get(url).content == b"content"
        assert requests.delete(url).status_code == 403
        # A key of one service signs nothing for the other.
        blob = url.replace(str(server.ports["file"]), str(server.ports["blob"])).replace("sr=f", "sr=b")
        assert requests.get(blob).status_code == 403

    @pytest.mark.parametrize(
        ("start", "expiry"),
        [
            (timedelta(0), timedelta(days=8)),
            (timedelta(0), timedelta(hours=-1)),
            (timedelta(hours=2), timedelta(hours=1)),
        ],
    )
    def test_a_key_is_for_seven_days_at_most(self, owner, start, expiry):
        now = datetime.now(UTC)
        with pytest.raises(HttpResponseError) as refusal:
            owner.get_user_delegation_key(now + start, now + expiry, **PLAIN)
        assert (refusal.value.status_code, code_of(refusal)) == (400, "InvalidXmlNodeValue")

    def test_a_token_ends_with_its_key(self, server, owner, container):
        container.upload_blob("b", b"content")
        now = datetime.now(UTC)
        later = owner.get_user_delegation_key(now + HOUR, now + 2 * HOUR, **PLAIN)
        token = generate_blob_sas(
            server.account,
            container.container_name,
            "b",
            user_delegation_key=later,
            permission="r",
            expiry=now + 3 * HOUR,
        )
        answer = requests.get(f"{container.url}/b?{token}")
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
        assert "not valid in the specified time frame" in answer.text

    def test_only_a_bearer_gets_a_key(self, server):
        with (
            BlobServiceClient.from_connection_string(server.connection_string) as client,
            pytest.raises(ClientAuthenticationError) as refusal,
        ):
            client.get_user_delegation_key(datetime.now(UTC), soon())
        assert code_of(refusal) == "AuthenticationFailed"


class TestAnonymous:
    @pytest.fixture(params=["blob", "container"])
    def public(self, request, server, fresh_name):
        with BlobServiceClient.from_connection_string(server.connection_string) as client:
            container = client.create_container(fresh_name, public_access=request.param)
            container.upload_blob("b", b"content", metadata={"colour": "red"})
            yield request.param, container

    def test_blobs_are_read_and_nothing_is_written(self, public):
        _, container = public
        url = f"{container.url}/b"
        assert requests.get(url).content == b"content"
        assert requests.head(url).headers["x-ms-meta-colour"] == "red"
        assert requests.get(url, headers={"Range": "bytes=0-2"}).content == b"con"
        put = requests.put(url, data=b"x", headers={"x-ms-blob-type": "BlockBlob"})
        assert put.status_code == 404
        for method in ("PUT", "DELETE", "POST"):
            assert requests.request(method, url).status_code in (404, 405)
            answer = requests.request(method, f"{container.url}?restype=container")
            assert answer.status_code in (404, 405)
        assert requests.get(url).content == b"content"

    def test_only_container_level_lists(self, public):
        level, container = public
        listed = requests.get(f"{container.url}?restype=container&comp=list")
        properties = requests.get(f"{container.url}?restype=container")
        if level == "container":
            assert "<Name>b</Name>" in listed.text
            assert properties.headers["x-ms-blob-public-access"] == "container"
        else:
            assert (listed.status_code, properties.status_code) == (404, 404)
        assert requests.get(f"{container.url}?restype=container&comp=acl").status_code == 404
        assert requests.get(f"{container.url}?restype=account&comp=properties").status_code == 404

    def test_it_ends_with_the_access_policy(self, public):
        level, container = public
        assert container.get_container_access_policy()["public_access"] == level
        container.set_container_access_policy({})
        assert container.get_container_access_policy()["public_access"] is None
        assert requests.get(f"{container.url}/b").status_code == 404

    def test_a_listing_of_containers_tells(self, server, public):
        level, container = public
        with BlobServiceClient.from_connection_string(server.connection_string) as client:
            [found] = client.list_containers(name_starts_with=container.container_name)
        assert found.public_access == level

    def test_an_unknown_level_is_a_bad_header(self, server, fresh_name):
        url = f"{server.url('blob', fresh_name)}?restype=container"
        answer = requests.put(url, headers=server.bearer | {"x-ms-blob-public-access": "everybody"})
        assert answer.headers["x-ms-error-code"] == "InvalidHeaderValue"
        assert not server.directory("blob", fresh_name).exists()

    @pytest.mark.parametrize("service", ["blob", "file"])
    def test_private_things_do_not_exist_for_strangers(self, server, service, fresh_name):
        server.directory(service, fresh_name).mkdir()
        (server.directory(service, fresh_name) / "f").write_text("private")
        for path in ("", "/f", "/missing"):
            url = f"{server.url(service, fresh_name)}{path}"
            old = requests.get(url)
            assert (old.status_code, old.headers["x-ms-error-code"]) == (404, "ResourceNotFound")
            new = requests.get(url, headers={"x-ms-version": "2021-12-02"})
            assert (new.status_code, new.headers["x-ms-error-code"]) == (401, "NoAuthenticationInformation")
            assert "private" not in old.text + new.text


class TestPolicies:
    def policy(self, **fields):
        return {"own": AccessPolicy(**fields)}

    def token(self, server, container, **fields):
        return generate_container_sas(
            server.account, container.container_name, account_key=server.key, policy_id="own", **fields
        )

    def test_a_policy_completes_a_token_until_it_is_taken_away(self, server, container):
        container.upload_blob("b", b"content")
        url = f"{container.url}/b?{self.token(server, container)}"
        assert requests.get(url).status_code == 403
        container.set_container_access_policy(
            self.policy(permission=ContainerSasPermissions(read=True), expiry=soon())
        )
        assert requests.get(url).content == b"content"
        assert requests.delete(url).status_code == 403
        container.set_container_access_policy(self.policy(permission="r", expiry=soon() - 2 * HOUR))
        assert requests.get(url).status_code == 403
        container.set_container_access_policy({})
        assert requests.get(url).status_code == 403

    def test_a_field_in_both_places_is_refused(self, server, container):
        container.upload_blob("b", b"content")
        container.set_container_access_policy(self.policy(permission="r", expiry=soon()))
        both = self.token(server, container, permission="r")
        assert requests.get(f"{container.url}/b?{both}").status_code == 403

    @pytest.mark.parametrize(
        "entry",
        [
            "<Id></Id>",
            "<Id>own</Id><AccessPolicy><Expiry>tomorrow</Expiry></AccessPolicy>",
            "<Id>own</Id><AccessPolicy><Permission>rq</Permission></AccessPolicy>",
            f"<Id>{'x' * 65}</Id>",
        ],
    )
    def test_a_malformed_policy_changes_nothing(self, server, container, entry):
        container.set_container_access_policy(self.policy(permission="r", expiry=soon()))
        document = f"<SignedIdentifiers><SignedIdentifier>{entry}</SignedIdentifier></SignedIdentifiers>"
        answer = requests.put(f"{container.url}?restype=container&comp=acl", document, headers=server.bearer)
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (400, "InvalidXmlNodeValue")
        [kept] = container.get_container_access_policy()["signed_identifiers"]
        assert kept.id == "own"


def test_who_may_delete_may_also_break_a_lease(server, container):
    blob = container.upload_blob("b", b"content")
    lease = blob.acquire_lease()
    token = generate_blob_sas(
        server.account,
        container.container_name,
        "b",
        account_key=server.key,
        permission="d",
        expiry=soon(),
    )
    with BlobClient.from_blob_url(f"{blob.url}?{token}") as holder:
        with pytest.raises(HttpResponseError) as refusal:
            BlobLeaseClient(holder, lease.id).change(PROPOSED)
        assert code_of(refusal) == "AuthorizationPermissionMismatch"
        BlobLeaseClient(holder).break_lease(0)
    assert blob.get_blob_properties().lease.state == "broken"


def test_a_token_for_a_blob_reaches_neither_container_nor_account(server, container):
    container.upload_blob("b", b"content")
    token = generate_blob_sas(
        server.account,
        container.container_name,
        "b",
        account_key=server.key,
        permission=BlobSasPermissions.from_string("racwdxytmei"),
        expiry=soon(),
    )
    for url in (
        f"{container.url}?restype=container&comp=list&{token}",
        f"{container.url}?restype=container&{token}",
        f"{container.url}?restype=container&comp=acl&{token}",
        f"{server.url('blob')}/?comp=list&{token}",
        f"{server.url('blob')}/?restype=service&comp=properties&{token}",
    ):
        answer = requests.get(url)
        assert answer.status_code == 403, url
        assert "<Code>AuthenticationFailed</Code>" in answer.text
