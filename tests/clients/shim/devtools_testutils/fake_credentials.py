"""Credentials that open nothing."""

import base64

STORAGE_ACCOUNT_FAKE_KEY = base64.b64encode(b"a key of no account").decode()


class FakeTokenCredential:
    def __init__(self):
        self.token = _token()
        self.get_token_count = 0

    def get_token(self, *scopes, **options):
        self.get_token_count += 1
        return self.token


def _token():
    """It has expired, so that every request asks for another."""
    from azure.core.credentials import AccessToken

    return AccessToken("a-token-of-nobody", 0)
