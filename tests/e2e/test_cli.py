"""`batchai` as a user runs it: start and stop, status, the client environment, and homes that cannot be."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests
from harness.arm import Arm
from harness.service import clean_environment, ended, free_ports

ENDPOINT_NAMES = [
    *("arm", "authority", "portal", "proxy", "ca_bundle", "blob", "file", "tenant", "subscription_id"),
    *("client_id", "client_secret", "token_uri", "storage_account", "storage_key", "location", "pid"),
    "version",
]
PROXY = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
BUNDLE = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def digests(home, *left_out):
    """What every file of a home holds."""
    files = [path for path in home.rglob("*") if path.is_file() and path.name not in left_out]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class TestEndpoint:
    def test_holds_exactly_what_was_promised(self, service):
        endpoint = service.endpoint
        assert list(endpoint) == ENDPOINT_NAMES
        port = r"127\.0\.0\.1:\d+"
        assert re.fullmatch(f"https://{port}", endpoint["arm"])
        assert endpoint["authority"] == endpoint["arm"]
        assert endpoint["portal"] == endpoint["arm"].replace("https", "http") + "/portal"
        for name in ("proxy", "blob", "file"):
            assert re.fullmatch(f"http://{port}", endpoint[name])
        tenant = endpoint["tenant"]
        assert endpoint["token_uri"] == f"https://login.microsoftonline.com/{tenant}/oauth2/token"
        assert re.fullmatch("[a-z0-9]{3,24}", endpoint["storage_account"])
        assert psutil.Process(endpoint["pid"]).is_running()

    def test_is_readable_by_its_owner_only(self, service):
        for name in ("endpoint.json", "credentials.json", "config.json"):
            assert mode(service.home / name) == 0o600
        for path in (service.home / "keys").iterdir():
            assert mode(path) == 0o600, path
        assert mode(service.home / "ca" / "ca.key") == 0o600

    def test_the_bundle_holds_the_public_authorities_and_ours(self, service):
        bundle = Path(service.endpoint["ca_bundle"]).read_text()
        assert bundle.count("BEGIN CERTIFICATE") > 50
        assert (service.home / "ca" / "ca.pem").read_text().strip() in bundle

    def test_health_and_metrics_need_no_credential(self, service):
        with requests.Session() as http:
            http.trust_env = False
            url = service.endpoint["arm"].replace("https", "http")
            assert http.get(f"{url}/healthz").json()["status"] == "ok"
            metrics = http.get(f"{url}/metrics").text
        assert re.search(r'^batchai_jobs\{state="running"\} \d+\.0$', metrics, re.MULTILINE)
        assert re.search(r'^batchai_nodes\{state="idle"\} \d+\.0$', metrics, re.MULTILINE)


class TestStatus:
    def test_running(self, service):
        done = service.batchai("status", "-o", "json")
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert (shown["status"], shown["pid"]) == ("running", service.endpoint["pid"])
        assert service.endpoint["client_secret"] not in done.stdout

    def test_none_runs(self, new_service):
        service = new_service()
        for command in ("status", "down"):
            done = service.batchai(command)
            assert (done.returncode, done.stdout) == (3, "")
            assert str(service.home) in done.stderr
        assert service.run(["true"]).returncode == 3

    def test_it_does_not_answer(self, new_service):
        service = new_service().up()
        process = psutil.Process(service.endpoint["pid"])
        process.suspend()
        try:
            done = service.batchai("status")
        finally:
            process.resume()
        assert done.returncode == 4
        assert str(process.pid) in done.stderr

    def test_killed(self, new_service):
        service = new_service().up()
        service.kill()
        # The endpoint file is still there, and says nothing: the lock on the home decides.
        assert (service.home / "endpoint.json").exists()
        assert service.batchai("status").returncode == 3


class TestEnvironment:
    def expected(self, service):
        return {
            **dict.fromkeys(PROXY, service.endpoint["proxy"]),
            **dict.fromkeys(BUNDLE, service.endpoint["ca_bundle"]),
        }

    def test_for_a_shell(self, service):
        script = service.batchai("env").stdout + "env"
        shell = subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
        )
        seen = dict(line.split("=", 1) for line in shell.stdout.splitlines())
        assert {name: seen[name] for name in (*PROXY, *BUNDLE)} == self.expected(service)
        assert f"ca_certificate = {service.endpoint['ca_bundle']}" in Path(seen["WGETRC"]).read_text()
        assert "127.0.0.1" in seen["NO_PROXY"].split(",")

    def test_the_formats_say_the_same(self, service):
        as_json = json.loads(service.batchai("env", "--format", "json").stdout)
        dotenv = service.batchai("env", "--format", "dotenv").stdout
        assert dict(re.findall(r"^(\w+)='(.*)'$", dotenv, re.MULTILINE)) == as_json
        assert as_json | self.expected(service) == as_json

    def test_a_format_that_is_none(self, service):
        done = service.batchai("env", "--format", "yaml")
        assert done.returncode == 2
        assert "yaml" in done.stderr

    def test_run_gives_it_to_a_command_and_returns_its_exit_code(self, service):
        code = "import json, os, sys; print(json.dumps(dict(os.environ))); sys.exit(9)"
        done = service.run([sys.executable, "-c", code, "--home", "elsewhere"])
        assert done.returncode == 9
        seen = json.loads(done.stdout)
        assert seen | self.expected(service) == seen

    def test_run_takes_the_options_of_the_command_without_a_mark(self, service):
        code = "import sys; print(sys.argv[1:])"
        words = [sys.executable, "-c", code, "--home", "elsewhere", "-h", "--", "--debug"]
        done = service.batchai("run", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "['--home', 'elsewhere', '-h', '--', '--debug']\n"

    def test_run_of_a_command_that_is_not_there(self, service):
        done = service.run(["no-such-command"])
        assert done.returncode == 127
        assert "no-such-command" in done.stderr

    @pytest.mark.parametrize("client", ["curl", "wget"])
    def test_unmodified_commands_reach_azures_own_names(self, service, client):
        if shutil.which(client) is None:
            pytest.skip(f"{client} is not installed")
        words = {"curl": ["curl", "-sS"], "wget": ["wget", "-q", "-O-"]}[client]
        tenant = service.endpoint["tenant"]
        url = f"https://login.microsoftonline.com/{tenant}/v2.0/.well-known/openid-configuration"
        done = service.run([*words, url])
        assert done.returncode == 0, done.stderr
        assert tenant in json.loads(done.stdout)["token_endpoint"]


class TestLogin:
    @pytest.fixture
    def az(self, tmp_path):
        """Stands in for the program: writes down how it was called, and ends as it is told to."""
        program = tmp_path / "bin" / "az"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            "seen = {'words': sys.argv[1:], 'input': sys.stdin.read(), 'environment': dict(os.environ)}\n"
            f"open({str(tmp_path / 'seen.json')!r}, 'w').write(json.dumps(seen))\n"
            "sys.exit(int(os.environ.get('ENDS_WITH', 0)))\n"
        )
        program.chmod(0o755)
        return {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "AZURE_CONFIG_DIR": ""}

    def test_az_gets_the_homes_principal(self, service, az, tmp_path):
        done = service.batchai("login", env=az)
        assert done.returncode == 0, done.stderr
        seen, endpoint = json.loads((tmp_path / "seen.json").read_text()), service.endpoint
        words = seen["words"]
        assert words[0] == "login"
        for option, value in (("--username", "client_id"), ("--tenant", "tenant")):
            assert words[words.index(option) + 1] == endpoint[value]
        # Arguments are for everybody on the machine to see.
        assert seen["input"] == endpoint["client_secret"]
        assert endpoint["client_secret"] not in " ".join(words) + done.stdout
        assert seen["environment"]["HTTPS_PROXY"] == endpoint["proxy"]
        assert seen["environment"]["AZURE_CONFIG_DIR"] == str(service.home / "azure")
        assert mode(service.home / "azure") == 0o700

    def test_a_directory_that_az_made_is_closed_before_a_secret_comes_into_it(self, service, az):
        (service.home / "azure").mkdir(exist_ok=True)
        (service.home / "azure").chmod(0o755)
        assert service.batchai("login", env=az).returncode == 0
        assert mode(service.home / "azure") == 0o700

    def test_a_directory_of_the_users_is_respected(self, service, az, tmp_path):
        own = str(tmp_path / "theirs")
        assert service.batchai("login", env={**az, "AZURE_CONFIG_DIR": own}).returncode == 0
        assert json.loads((tmp_path / "seen.json").read_text())["environment"]["AZURE_CONFIG_DIR"] == own

    def test_its_failure_is_ours(self, service, az):
        done = service.batchai("login", env={**az, "ENDS_WITH": "5"})
        assert (done.returncode, done.stdout) == (5, "")

    def test_without_az(self, service, tmp_path):
        done = service.batchai("login", env={"PATH": str(tmp_path)})
        assert done.returncode == 1
        assert "pip install azure-cli" in done.stderr


class TestAnotherMachine:
    @pytest.fixture
    def open_service(self, new_service):
        service = new_service()
        done = service.batchai("up", "--detach", "--host", "0.0.0.0")
        assert done.returncode == 0, done.stderr
        assert "open to the network" in done.stdout
        return service.read_endpoint()

    def test_it_gets_through_by_our_address(self, open_service, tmp_path):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
            except OSError:
                pytest.skip("this machine has no address but loopback")
            address = probe.getsockname()[0]
        bundle = shutil.copy(open_service.home / "ca/bundle.pem", tmp_path / "copied.pem")
        words = ["--address", address, "--ca-bundle", str(bundle), "--format", "json"]
        environment = json.loads(open_service.batchai("env", *words).stdout)
        assert str(open_service.home) not in json.dumps(environment)
        tenant = open_service.endpoint["tenant"]
        url = f"https://login.microsoftonline.com/{tenant}/v2.0/.well-known/openid-configuration"
        code = "import requests, sys; print(requests.get(sys.argv[1]).json()['issuer'])"
        command = [sys.executable, "-c", code, url]
        environment = {**clean_environment(), **environment}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert tenant in done.stdout, done.stderr

    def test_a_service_of_this_machine_has_nothing_for_it(self, service):
        done = service.batchai("env", "--address", "box", "--ca-bundle", "/b.pem")
        assert done.returncode == 1
        assert "--host" in done.stderr
        assert service.batchai("env", "--address", "box").returncode == 1


class TestStartAndStop:
    def test_ports_and_credentials_survive_a_restart(self, new_service):
        service = new_service().up()
        before, token = service.endpoint, Arm(service).token()
        service.down()
        assert not (service.home / "endpoint.json").exists()
        service.up()
        after = service.endpoint
        assert {**before, "pid": 0} == {**after, "pid": 0}
        assert before["pid"] != after["pid"]
        answer = Arm(service).http.get(
            f"{after['arm']}/subscriptions?api-version=2022-12-01",
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 200

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_in_the_foreground_until_a_signal(self, new_service, number):
        service = new_service()
        command = [sys.executable, "-m", "openbatchai.cli", "up", "--home", str(service.home)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
            try:
                first = process.stdout.readline()
                assert f"pid {process.pid}" in first
                assert json.loads((service.home / "endpoint.json").read_text())["pid"] == process.pid
                process.send_signal(number)
                rest = process.stdout.read()
                assert process.wait(60) == 0
            finally:
                process.kill()
        assert "127.0.0.1" in rest
        assert "client_secret" not in rest
        assert not (service.home / "endpoint.json").exists()

    def test_on_ports_that_the_user_names(self, new_service):
        service = new_service()
        first = json.loads((service.home / "config.json").read_text())["ports"]["arm"]
        (service.home / "config.json").unlink()
        done = service.batchai("up", "--detach", "--port", str(first))
        assert done.returncode == 0, done.stderr
        endpoint = service.read_endpoint().endpoint
        ports = [int(endpoint[name].rpartition(":")[2]) for name in ("arm", "proxy", "blob", "file")]
        assert ports == [first, first + 1, first + 2, first + 3]

    def test_the_policy_for_a_loss_of_power_is_kept(self, new_service):
        service = new_service()

        def kept():
            return json.loads((service.home / "config.json").read_text())["fsync"]

        for words, policy in (((), "close"), (("--fsync", "always"), "always"), ((), "always")):
            done = service.batchai("up", "--detach", *words)
            assert done.returncode == 0, done.stderr
            assert kept() == policy
            service.read_endpoint().down()
        refused = service.batchai("up", "--fsync", "sometimes")
        assert refused.returncode == 2
        assert kept() == "always"
        assert "--fsync" in service.batchai("up", "--help").stdout


class TestRefusedHomes:
    def test_one_whose_path_would_break_command_lines(self, new_service, tmp_path):
        home = tmp_path / "my home"
        done = new_service().batchai("up", "--detach", "--home", str(home))
        assert done.returncode == 1
        assert str(home) in done.stderr
        assert "cannot be used" in done.stderr
        assert not home.exists()

    def test_one_that_a_service_runs_on(self, new_service):
        service = new_service().up()
        done = service.batchai("up")
        assert done.returncode == 1
        assert f"pid {service.endpoint['pid']}" in done.stderr
        assert json.loads((service.home / "endpoint.json").read_text()) == service.endpoint
        assert service.batchai("status").returncode == 0

    def test_one_that_a_newer_version_wrote(self, new_service):
        service = new_service().up()
        service.down()
        with sqlite3.connect(service.home / "control.db") as database:
            database.execute("update alembic_version set version_num = '9999_of_the_future'")
        database.close()
        before = digests(service.home, "service.log", "service.lock")
        done = service.batchai("up", "--detach")
        assert done.returncode == 1
        assert "9999_of_the_future" in done.stderr
        assert "newer" in done.stderr
        assert digests(service.home, "service.log", "service.lock") == before

    @pytest.mark.parametrize("place", ["below-a-file", "/proc/batchai"])
    def test_one_that_cannot_be_written(self, new_service, tmp_path, place):
        (tmp_path / "below-a-file").touch()
        home = str(tmp_path / place / "home") if place == "below-a-file" else place
        for words in (["up", "--detach"], ["up"]):
            done = new_service().batchai(*words, "--home", home)
            assert done.returncode == 1
            assert home in done.stderr
            assert "cannot be written" in done.stderr
            assert "Traceback" not in done.stderr

    def test_one_whose_port_is_taken(self, new_service):
        service = new_service()
        ports = json.loads((service.home / "config.json").read_text())["ports"]
        for port in ports.values():
            with socket.create_server(("127.0.0.1", port)):
                done = service.batchai("up", "--detach")
            assert done.returncode == 1
            assert str(port) in done.stderr
            assert not (service.home / "endpoint.json").exists()
        # Nothing is left behind that would hinder the next start, on the same ports.
        service.up()
        for name, port in ports.items():
            assert service.endpoint[name].endswith(f":{port}")

    def test_a_setting_that_there_is_not(self, new_service):
        """Dropped in silence, it would have seemed to hold."""
        service = new_service({"quota": {"Clusters": 5}})
        before = (service.home / "config.json").read_text()
        done = service.batchai("up", "--detach")
        assert done.returncode == 1
        assert "unknown setting 'quota'; known are" in done.stderr
        assert "quotas" in done.stderr
        assert (service.home / "config.json").read_text() == before

    def test_a_configuration_that_is_damaged(self, new_service):
        service = new_service()
        (service.home / "config.json").write_text("{")
        done = service.batchai("up", "--detach")
        assert done.returncode == 1
        assert "config.json" in done.stderr
        assert "Traceback" not in done.stderr
        assert (service.home / "config.json").read_text() == "{"


def test_down_waits_until_the_service_is_gone(new_service):
    service = new_service().up()
    pid = service.endpoint["pid"]
    assert service.batchai("down").returncode == 0
    assert ended(pid)
    assert service.batchai("status").returncode == 3


class TestRefusedAddresses:
    @pytest.mark.parametrize("port", ["0", "65533", "99999"])
    def test_ports_out_of_range(self, new_service, port):
        done = new_service().batchai("up", "--port", port)
        assert done.returncode == 1
        assert "--port must be a number from 1 to 65532" in done.stderr

    def test_a_host_that_is_none_of_this_machine(self, new_service):
        done = new_service().batchai("up", "--host", "no.such.host.invalid")
        assert done.returncode == 1
        assert "cannot listen on no.such.host.invalid" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_a_home_holds_is_for_its_owner_only(new_service, tmp_path):
    """Also in a directory that was there before, and is open to all."""
    home = tmp_path / "open"
    home.mkdir(mode=0o755)
    service = new_service()
    service.home = home
    service.up()
    private = ("control.db", "control.db-wal", "service.log", "storage", "engine", "keys")
    assert [name for name in private if (home / name).stat().st_mode & 0o067] == []


class TestUpOnAHomeWithAService:
    def test_detached_it_says_so_and_where(self, service):
        done = service.batchai("up", "--detach")
        assert done.returncode == 0, done.stderr
        assert f"already runs, pid {service.endpoint['pid']}" in done.stdout
        assert service.endpoint["arm"] in done.stdout

    @pytest.mark.parametrize("words", [[], ["--detach", "--fsync", "never"]])
    def test_what_asks_for_another_service_is_an_error(self, service, words):
        done = service.batchai("up", *words)
        assert done.returncode == 1
        assert f"already runs on this home, with pid {service.endpoint['pid']}" in done.stderr

    def test_it_changes_nothing(self, new_service):
        service = new_service().up()
        database = ("control.db", "control.db-wal", "control.db-shm")
        before = digests(service.home, *database)
        done = service.batchai("up", "--fsync", "never", "--port", str(free_ports()))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"with pid {service.endpoint['pid']}" in done.stderr
        assert digests(service.home, *database) == before
        assert service.batchai("status").returncode == 0

    def test_of_several_started_at_once_one_runs(self, new_service):
        service = new_service()
        command = [sys.executable, "-m", "openbatchai.cli", "up", "--detach", "--host", "127.0.0.1"]
        # With an option, so that finding the other one is an error, too.
        command += ["--fsync", "never", "--home", str(service.home)]
        started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
        told = [process.communicate()[1] for process in started]
        service.read_endpoint()
        assert sorted(process.returncode for process in started) == [0, 1, 1]
        refused = f"already runs on this home, with pid {service.endpoint['pid']}"
        assert sum(refused in words for words in told) == 2
        assert service.batchai("status").returncode == 0

    def test_a_reader_that_has_read_enough_is_no_error(self, service):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as closed:
            command = [sys.executable, "-m", "openbatchai.cli", "up", "--detach", "--home", str(service.home)]
            done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (0, "")
