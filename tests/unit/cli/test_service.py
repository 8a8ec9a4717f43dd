"""What the commands print of a service."""

import pytest

from openbatchai.cli.service import without_login
from openbatchai.config import HomeUnusableError, Settings


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://user:secret@127.0.0.1:35271", "http://127.0.0.1:35271"),
        ("http://127.0.0.1:35271", "http://127.0.0.1:35271"),
        ("/home/someone@work/bundle.pem", "/home/someone@work/bundle.pem"),
        (4711, 4711),
    ],
)
def test_a_login_is_not_shown(value, shown):
    assert without_login(value) == shown


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"ports": []}',
        '{"ports": {"arm": "x"}}',
        '{"idleTimeoutSeconds": "x"}',
        '{"retention": {"runDays": 0}}',
        '{"retention": {"operationHours": 0.5}}',
        '{"retention": {"jobDays": 3}}',
        '{"retention": {"events": 1e400}}',
        '{"connections": 0}',
        '{"connections": 1.5}',
        '{"stalledSeconds": 0}',
        '{"idleTimeoutSeconds": NaN}',
        '{"idleTimeoutSeconds": -1}',
        '{"preemptionsPerNodeHour": -1}',
        '{"sampleSeconds": NaN}',
        '{"quotas": {"Clusters": -1}}',
        '{"quotas": {"Cluster": 1}}',
        f'{{"trustedCertificates": "{__file__}"}}',
        '{"recordedCreates": "false"}',
        '{"names": "box.example.org"}',
        '{"fsync": "x"}',
        '{"copySources": "x"}',
        '{"quota": {"Clusters": 5}}',
        '{"ports": {"arm": 1, "blobs": 2}}',
        '{"names": ["a/b"]}',
        '{"names": [7]}',
        '{"trustedCertificates": "/no/such/file"}',
    ],
)
def test_a_damaged_configuration_is_named(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(HomeUnusableError, match=r"config\.json"):
        Settings.load(path)


def test_a_setting_that_there_is_not_is_named_with_those_that_there_are(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"quota": {"Clusters": 5}, "fsync": "always"}')
    with pytest.raises(HomeUnusableError, match=r"unknown setting 'quota'; known are .*\bquotas\b"):
        Settings.load(path)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    path = tmp_path / "config.json"
    settings = Settings(
        {"arm": 1}, {"a": "b"}, 1.5, {"Clusters": 2}, "never", "any", 3, 4.5, True, ("x", "::1")
    )
    settings.save(path)
    assert Settings.load(path) == settings
