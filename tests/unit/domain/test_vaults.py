"""URLs of key vault secrets, and references to them in specs."""

import pytest

from openbatchai.domain.vaults import SecretUrl, parse_url, references


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://Vault1.vault.azure.net/secrets/Key", SecretUrl("vault1", "key")),
        ("https://my-vault.vault.azure.net/secrets/a-b/0123ABC", SecretUrl("my-vault", "a-b", "0123abc")),
        ("https://my-vault.vault.azure.net/secrets/a/", SecretUrl("my-vault", "a")),
        ("http://my-vault.vault.azure.net/secrets/a", None),
        ("https://my-vault.vault.azure.net/keys/a", None),
        ("https://my-vault.example.net/secrets/a", None),
        ("https://1vault.vault.azure.net/secrets/a", None),
        ("https://my-vault.vault.azure.net/secrets/a/b/c", None),
        ("", None),
    ],
)
def test_urls(text, found):
    assert parse_url(text) == found


def test_references_are_found_wherever_they_are_with_what_they_stand_for():
    def reference(name):
        return {"sourceVault": {"id": "v"}, "secretUrl": f"https://v00.vault.azure.net/secrets/{name}"}

    spec = {
        "mountVolumes": {"azureFileShares": [{"credentials": {"accountKeySecretReference": reference("k")}}]},
        "secrets": [{"name": "A", "value": "x"}, {"name": "B", "valueSecretReference": reference("b")}],
    }
    assert [(found.path, found.secret_path) for found in references(spec)] == [
        (
            "mountVolumes.azureFileShares.0.credentials.accountKeySecretReference",
            "mountVolumes.azureFileShares.0.credentials.accountKey",
        ),
        ("secrets.1.valueSecretReference", "secrets.1.value"),
    ]
