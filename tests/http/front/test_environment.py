"""The variables of `batchai env`, and a command run with them."""

import json
import os
import subprocess
import sys

import pytest

from openbatchai.cli.environment import (
    FORMATS,
    client_environment,
    remote_environment,
    run_with_environment,
)

AWKWARD = {"A": 'it\'s "$HOME" `x` \\ é', "B": "", "C": "two\nlines"}


@pytest.fixture
def make(tmp_path):
    def make(**environ: str) -> dict[str, str]:
        endpoint = {"proxy": "http://127.0.0.1:8898", "ca_bundle": str(tmp_path / "ca" / "bundle.pem")}
        return client_environment(endpoint, tmp_path, {"HOME": str(tmp_path / "user"), **environ})

    return make


def test_every_client_finds_its_variable(make, tmp_path):
    env = make()
    bundle = str(tmp_path / "ca" / "bundle.pem")
    assert {env[name] for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")} == {
        "http://127.0.0.1:8898"
    }
    assert {env[name] for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")} == {bundle}
    assert env["AZURE_CORE_COLLECT_TELEMETRY"] == "no"
    assert (tmp_path / "wgetrc").read_text() == f"ca_certificate = {bundle}\n"


def test_no_proxy_keeps_the_users_entries_but_not_those_that_hide_us(make):
    given = "10.0.0.1, .corp.example,*,windows.net,.azure.com,LOGIN.microsoftonline.com,localhost"
    env = make(NO_PROXY=given)
    assert env["NO_PROXY"] == env["no_proxy"] == "localhost,127.0.0.1,::1,10.0.0.1,.corp.example"


def test_az_keeps_its_login_in_the_home_unless_the_user_chose(make, tmp_path):
    own = str(tmp_path / "azure")
    assert make()["AZURE_CONFIG_DIR"] == own
    assert "AZURE_CONFIG_DIR" not in make(AZURE_CONFIG_DIR="/theirs")
    # In the environment of this home, and in that of another one.
    assert make(AZURE_CONFIG_DIR=own, BATCHAI_HOME=str(tmp_path))["AZURE_CONFIG_DIR"] == own
    assert make(AZURE_CONFIG_DIR="/other/azure", BATCHAI_HOME="/other")["AZURE_CONFIG_DIR"] == own


def test_wgetrc_keeps_the_users_lines(make, tmp_path):
    own = tmp_path / "user" / ".wgetrc"
    own.parent.mkdir()
    own.write_text("tries = 3\nca_certificate = /theirs")
    env = make()
    lines = (tmp_path / "wgetrc").read_text().splitlines()
    assert lines[:2] == ["tries = 3", "ca_certificate = /theirs"]
    assert lines[2].endswith("bundle.pem")
    assert (tmp_path / "wgetrc").stat().st_mode & 0o777 == 0o600
    # Once more, inside the environment we made.
    make(WGETRC=env["WGETRC"])
    assert (tmp_path / "wgetrc").read_text().splitlines() == lines


def test_shell_format_survives_a_shell():
    code = "import json, os; print(json.dumps([os.environ[n] for n in 'ABC']))"
    script = FORMATS["sh"](AWKWARD) + f'{sys.executable} -c "{code}"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == list(AWKWARD.values())


def test_json_format():
    assert json.loads(FORMATS["json"](AWKWARD)) == AWKWARD


def test_dotenv_format():
    assert FORMATS["dotenv"]({"A": "it's $x"}) == "A='it\\'s $x'\n"


def _run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess:
    code = (
        "import json, sys; from openbatchai.cli.environment import run_with_environment as run;"
        "sys.exit(run(*json.loads(sys.argv[1])))"
    )
    arguments = [sys.executable, "-c", code, json.dumps([command, env])]
    return subprocess.run(arguments, capture_output=True, text=True)


def test_run_becomes_the_command():
    done = _run(["sh", "-c", 'echo "$MINE $HOME"; exit 7'], {"MINE": "x"})
    assert (done.returncode, done.stdout) == (7, f"x {os.environ['HOME']}\n")


def test_run_of_a_missing_command_says_so(tmp_path, capsys):
    assert run_with_environment(["no-such-command-here"], {}) == 127
    assert "no-such-command-here" in capsys.readouterr().err
    assert run_with_environment([str(tmp_path)], {}) == 126


@pytest.mark.parametrize(
    ("address", "host"), [("box.example", "box.example"), ("2001:db8::7", "[2001:db8::7]")]
)
def test_another_machine_reaches_the_proxy_by_tls(address, host):
    endpoint = {"proxy": "http://openbatchai:pass@127.0.0.1:8898", "ca_bundle": "/home/ca/bundle.pem"}
    env = remote_environment(endpoint, address, "/etc/batchai.pem")
    assert env["HTTPS_PROXY"] == env["http_proxy"] == f"https://openbatchai:pass@{host}:8898"
    assert env["REQUESTS_CA_BUNDLE"] == "/etc/batchai.pem"
    assert env["NO_PROXY"].split(",")[-1] == address


def test_a_service_of_this_machine_only_has_nothing_for_others():
    with pytest.raises(ValueError, match="--host"):
        remote_environment({"proxy": "http://127.0.0.1:8898"}, "box", "/etc/batchai.pem")
