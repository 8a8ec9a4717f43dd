"""Whom jobs run as when root starts the service, and what of the home they reach."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest
from harness.arm import Arm, Lab
from harness.service import Service

from openbatchai.engines.user import USUAL

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run jobs as another user")


@pytest.fixture(scope="module")
def user(lab):
    """Of the service that most tests share. Where its interpreter is for root alone, jobs run as root."""
    name = lab.succeeds("id -un").strip()
    if name == "root":
        pytest.skip("the interpreter of these tests is for root only")
    return name


@as_root
class TestWithAnInterpreterForAll:
    def test_it_is_a_usual_one_without_any_right_of_roots(self, user, lab):
        assert user in USUAL
        account = pwd.getpwnam(user)
        out = lab.succeeds("id -u; id -g; umask; grep CapPrm /proc/self/status")
        assert out.split() == [str(account.pw_uid), str(account.pw_gid), "0002", "CapPrm:", "0" * 16]

    def test_what_is_secret_in_the_home_is_closed(self, user, lab):
        home = lab.arm.service.home
        secret = [path for path in home.rglob("*") if path.is_file() and "storage" not in path.parts]
        names = {path.name for path in secret}
        assert {"control.db", "credentials.json", "config.json", "secrets.key", "ca.key"} <= names
        private = [path for path in secret if path.parent in (home, home / "keys") or path.name == "ca.key"]
        lines = "; ".join(f"cat {path} > /dev/null && echo {path}" for path in private)
        assert lab.succeeds(f"{lines}; ls {home}/keys {home}/storage {home}/engine; true") == ""

    def test_the_service_and_a_job_write_to_the_same_files(self, user, lab):
        service = lab.arm.service
        url = f"{service.endpoint['file']}/{service.account}/{lab.share}"
        with share_client(service, lab.share) as share:
            share.create_directory("common")
            share.get_file_client("common/both").upload_file(b"from the service\n")
            lab.succeeds(
                "cd $AZ_BATCHAI_MOUNT_ROOT/afs/common; echo from the job >> both; mv both moved; mkdir own"
            )
            file = share.get_file_client("common/moved")
            assert file.download_file().readall() == b"from the service\nfrom the job\n", url
            share.get_file_client("common/own/later").upload_file(b"x")
            file.delete_file()
        assert lab.succeeds("cd $AZ_BATCHAI_MOUNT_ROOT/afs/common; ls; rm own/later") == "own\n"

    def test_the_job_reaches_azures_names(self, user, lab):
        """It reads the certificates that the service trusts."""
        out = lab.succeeds(
            "curl -s -o /dev/null -w %{http_code} https://management.azure.com/subscriptions || true"
        )
        assert out in ("400", "401")

    def test_the_log_says_whom_it_runs_as(self, user, lab):
        job = lab.submit("true")
        lab.finished(job)
        assert f"Processes run as {user}" in lab.output(job, "execution.log")

    def test_the_umask_of_roots_shell_is_in_nobodys_way(self, user):
        with tempfile.TemporaryDirectory() as place:
            Path(place).chmod(0o755)
            service = Service(Path(place) / "home")
            before = os.umask(0o077)
            try:
                service.up()
                written = Lab(Arm(service)).succeeds("id -un; touch $AZ_BATCHAI_MOUNT_ROOT/afs/x")
            finally:
                os.umask(before)
                service.discard()
        assert written == f"{user}\n"

    def test_what_leads_to_the_share_is_closed(self, user, lab):
        """A link beside the share would be followed by the service."""
        up = "cd -P $AZ_BATCHAI_MOUNT_ROOT/afs/.."
        assert lab.succeeds(f"{up}; ln -s / evil || mv .. x || mv ../.meta ../x || echo closed") == "closed\n"


@as_root
def test_a_home_closed_to_others_is_told_at_the_start(new_service, tmp_path):
    tmp_path.chmod(0o700)
    service = new_service()
    done = service.batchai("up", "--detach")
    assert "Jobs run as root, and are as trusted as you: the user " in done.stdout
    assert " cannot get at " in done.stdout
    service.read_endpoint()
    assert Arm(service).service is service


def test_a_user_that_cannot_be_is_refused(new_service):
    done = new_service({"jobUser": "no-such-user"}).batchai("up", "--detach")
    assert done.returncode == 1
    assert "jobUser: " in done.stderr
    assert "no-such-user" in done.stderr


def share_client(service, share):
    from azure.storage.fileshare import ShareClient

    return ShareClient(f"{service.endpoint['file']}/{service.account}", share, credential=service.key)
