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
        '{"fsync": "x"}',
        '{"copySources": "x"}',
    ],
)
def test_a_damaged_configuration_is_named(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(HomeUnusableError, match=r"config\.json"):
        Settings.load(path)
