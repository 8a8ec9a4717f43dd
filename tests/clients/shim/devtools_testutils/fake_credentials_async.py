"""The same for asynchronous clients."""

from .fake_credentials import _token


class AsyncFakeCredential:
    async def get_token(self, *scopes, **options):
        return _token()

    async def close(self):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        pass
