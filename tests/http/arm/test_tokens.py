"""Tokens at the authority and at ARM: who is refused, with which code, and where to go instead."""

import base64
import json
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "https://management.core.windows.net/"


def request_token(arm, tenant=None, url="oauth2/token", **changes):
    endpoint = arm.service.endpoint
    form = {
        "grant_type": "client_credentials",
        "client_id": endpoint["client_id"],
        "client_secret": endpoint["client_secret"],
        "resource": AUDIENCE,
        **changes,
    }
    return arm.http.post(f"{endpoint['authority']}/{tenant or endpoint['tenant']}/{url}", data=form)


def ask_with(arm, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    url = f"{arm.service.endpoint['arm']}{arm.subscription}/resourcegroups?api-version=2018-05-01"
    return arm.http.get(url, headers=headers)


@pytest.fixture
def signed(arm):
    """A token like the service's own, with some claims changed, signed with the home's key or another."""

    def make(key=None, **changes):
        issued = arm.token()
        content = jwt.decode(issued, options={"verify_signature": False})
        own = Path(arm.service.home, "keys", "token.pem").read_bytes()
        headers = {"kid": jwt.get_unverified_header(issued)["kid"]}
        return jwt.encode({**content, **changes}, key or own, algorithm="RS256", headers=headers)

    return make


class TestAuthority:
    def test_a_wrong_secret(self, arm):
        answer = request_token(arm, client_secret="wrong")
        assert answer.status_code == 401
        body = answer.json()
        assert body["error"] == "invalid_client"
        assert body["error_codes"] == [7000215]
        assert body["error_description"].startswith("AADSTS7000215: Invalid client secret provided")
        assert arm.service.endpoint["client_id"] in body["error_description"]
        assert "access_token" not in body

    def test_a_wrong_secret_in_a_basic_header(self, arm):
        endpoint = arm.service.endpoint
        pair = base64.b64encode(f"{endpoint['client_id']}:wrong".encode()).decode()
        answer = arm.http.post(
            f"{endpoint['authority']}/{endpoint['tenant']}/oauth2/token",
            data={"grant_type": "client_credentials", "resource": AUDIENCE},
            headers={"Authorization": f"Basic {pair}"},
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")

    def test_an_unknown_application(self, arm):
        stranger = "11111111-2222-3333-4444-555555555555"
        answer = request_token(arm, client_id=stranger)
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
        assert stranger in answer.json()["error_description"]

    def test_an_unknown_tenant(self, arm):
        stranger = "11111111-2222-3333-4444-555555555555"
        answer = request_token(arm, tenant=stranger)
        assert answer.status_code == 400
        assert answer.json()["error_codes"] == [90002]
        assert stranger in answer.json()["error_description"]

    @pytest.mark.parametrize("missing", ["grant_type", "client_id", "resource"])
    def test_a_missing_parameter_is_named(self, arm, missing):
        answer = request_token(arm, **{missing: ""})
        assert answer.status_code == 400
        assert f"'{missing}'" in answer.json()["error_description"]

    def test_a_secret_never_comes_back(self, arm):
        answer = request_token(arm, client_secret="wrong-but-still-not-to-be-shown")
        assert "wrong-but-still-not-to-be-shown" not in answer.text


class TestArm:
    def refused(self, arm, authorization, code):
        answer = ask_with(arm, authorization)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code), answer.text
        challenge = answer.headers["WWW-Authenticate"]
        tenant = arm.service.endpoint["tenant"]
        assert challenge == (
            f'Bearer authorization_uri="https://login.microsoftonline.com/{tenant}", error="invalid_token"'
        )
        return answer.json()["error"]["message"]

    def test_a_token_of_the_authority_is_taken(self, arm, signed):
        assert ask_with(arm, f"Bearer {arm.token()}").status_code == 200
        # What the tests below change is nothing but the claim they name.
        assert ask_with(arm, f"Bearer {signed()}").status_code == 200

    def test_no_token(self, arm):
        assert "Authorization" in self.refused(arm, None, "AuthenticationFailed")

    def test_another_scheme(self, arm):
        self.refused(arm, "Basic dXNlcjpwYXNz", "AuthenticationFailed")

    def test_no_jwt(self, arm):
        self.refused(arm, "Bearer something", "InvalidAuthenticationToken")

    def test_signed_with_another_key(self, arm, signed):
        foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.refused(arm, f"Bearer {signed(key=foreign)}", "InvalidAuthenticationToken")

    def test_without_signature(self, arm):
        content = jwt.decode(arm.token(), options={"verify_signature": False})
        token = jwt.encode(content, None, algorithm="none")
        self.refused(arm, f"Bearer {token}", "InvalidAuthenticationToken")

    def test_with_changed_claims_and_the_old_signature(self, arm):
        header, _, signature = arm.token().split(".")
        content = jwt.decode(arm.token(), options={"verify_signature": False}) | {"oid": "somebody-else"}
        changed = base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
        self.refused(arm, f"Bearer {header}.{changed}.{signature}", "InvalidAuthenticationToken")

    def test_expired(self, arm, signed):
        token = signed(exp=int(time.time()) - 10)
        assert "expiry" in self.refused(arm, f"Bearer {token}", "ExpiredAuthenticationToken")

    def test_from_another_tenant(self, arm, signed):
        stranger = "11111111-2222-3333-4444-555555555555"
        message = self.refused(arm, f"Bearer {signed(tid=stranger)}", "InvalidAuthenticationTokenTenant")
        assert stranger in message

    def test_for_another_audience(self, arm, signed):
        message = self.refused(
            arm, f"Bearer {signed(aud='https://vault.azure.net')}", "InvalidAuthenticationTokenAudience"
        )
        assert "https://vault.azure.net" in message

    def test_for_storage_is_none_for_management(self, arm):
        self.refused(
            arm, f"Bearer {arm.token('https://storage.azure.com/')}", "InvalidAuthenticationTokenAudience"
        )

    def test_authentication_comes_before_everything_else(self, arm):
        answer = arm.http.put(f"{arm.service.endpoint['arm']}/subscriptions/none/nothing", data=b"{")
        assert answer.status_code == 401


@pytest.mark.parametrize("header", ["", "Authorization: Bearer nonsense\r\n"])
def test_no_body_is_waited_for_without_a_token(arm, header):
    """Or whoever reaches the port could fill the memory."""
    url = urlsplit(arm.service.endpoint["arm"])
    head = f"PUT /subscriptions/x HTTP/1.1\r\nHost: a\r\n{header}Content-Length: 4000000\r\n\r\n"
    with socket.create_connection((url.hostname, url.port), timeout=20) as client:
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 401 ")
