"""The life of jobs on real nodes: what they see, how they end, and what is left of them."""

import os
import re
import zipfile
from pathlib import Path

import psutil
import pytest
from harness.arm import NEWEST, Arm, Lab, mount, unique
from harness.waiting import until


def error_of(properties):
    [error] = properties["executionInfo"]["errors"]
    return error


class TestEnds:
    def test_a_job_that_succeeds(self, lab):
        job = lab.submit("echo out; echo err >&2")
        info = lab.finished(job)["executionInfo"]
        assert info["exitCode"] == 0
        assert "errors" not in info
        assert info["startTime"] <= info["endTime"]
        assert lab.output(job, "stdout.txt") == "out\n"
        assert lab.output(job, "stderr.txt") == "err\n"

    def test_a_non_zero_exit_code(self, lab):
        job = lab.submit("echo last words >&2; exit 7")
        properties = lab.finished(job)
        assert properties["executionState"] == "failed"
        assert properties["executionInfo"]["exitCode"] == 7
        assert error_of(properties)["code"] == "JobFailed"
        assert error_of(properties)["message"] == "Job failed with non-zero exit code"
        assert lab.output(job, "stderr.txt") == "last words\n"

    def test_job_preparation_comes_first_and_shares_the_temporary_directory(self, lab):
        job = lab.submit(
            "cat $AZ_BATCHAI_JOB_TEMP/made",
            jobPreparation={"commandLine": "echo preparing; echo data > $AZ_BATCHAI_JOB_TEMP/made"},
        )
        assert lab.finished(job)["executionState"] == "succeeded"
        assert lab.output(job) == "data\n"
        assert lab.output(job, "stdout-job_prep.txt") == "preparing\n"
        names = [file["name"] for file in lab.files(job)]
        assert names == [
            "execution.log",
            "stderr-job_prep.txt",
            "stderr.txt",
            "stdout-job_prep.txt",
            "stdout.txt",
        ]

    def test_failed_job_preparation_fails_the_job_and_the_toolkit_never_starts(self, lab):
        marker = unique("marker")
        job = lab.submit(
            f"touch $AZ_BATCHAI_MOUNT_ROOT/afs/{marker}", jobPreparation={"commandLine": "exit 5"}
        )
        properties = lab.finished(job)
        assert properties["executionInfo"]["exitCode"] == 5
        assert error_of(properties)["code"] == "JobPreparationFailed"
        assert not (lab.arm.service.share(lab.share) / marker).exists()

    def test_the_wall_clock_limit_ends_job_and_children(self, lab):
        mark = unique("31540")
        job = lab.submit(f"sleep {mark} & sleep {mark}", constraints={"maxWallClockTime": "PT2S"})
        properties = lab.finished(job)
        assert properties["executionState"] == "failed"
        assert error_of(properties)["code"] == "MaxWallClockTimeExceeded"
        assert not processes_with(mark)

    def test_a_missing_script_says_which_on_stderr(self, lab):
        # The image maps to a host environment, so that the job runs without any container engine.
        job = lab.submit(
            containerSettings={"imageSourceRegistry": {"image": "tests/python:1"}},
            pyTorchSettings={"pythonScriptFilePath": "$AZ_BATCHAI_MOUNT_ROOT/afs/absent.py"},
        )
        properties = lab.finished(job)
        assert properties["executionState"] == "failed"
        assert properties["executionInfo"]["exitCode"] == 2
        assert "absent.py" in lab.output(job, "stderr-0.txt")

    def test_an_unmapped_image_fails_naming_it(self, lab):
        job = lab.submit(
            "true", containerSettings={"imageSourceRegistry": {"image": "nowhere.invalid/none:1"}}
        )
        error = error_of(lab.finished(job))
        assert error["code"] == "FailedStartingContainer"
        assert {"name": "imageName", "value": "nowhere.invalid/none:1"} in error["details"]


class TestTerminate:
    def test_running(self, lab):
        mark = unique("31541")
        job = lab.submit(f"echo begun; trap '' TERM; sleep {mark} & sleep {mark}")
        lab.reaches(job, "running")
        until(lambda: processes_with(mark), "the job's processes")
        answer = lab.arm.ask("POST", f"{job}/terminate")
        assert answer.status_code == 202
        assert answer.headers["Retry-After"] == "0"
        properties = lab.finished(job)
        assert properties["executionState"] == "failed"
        assert error_of(properties)["code"] == "JobTerminated"
        assert "exitCode" not in properties["executionInfo"]
        assert properties["executionInfo"]["startTime"] <= properties["executionInfo"]["endTime"]
        assert lab.output(job) == "begun\n"
        assert not processes_with(mark)
        poll = lab.arm.ask("GET", answer.headers["Azure-AsyncOperation"], version=None)
        assert poll.json()["status"] == "Succeeded"

    def test_queued(self, lab):
        job = lab.submit("true", nodeCount=64)
        assert lab.state(job) == "queued"
        assert lab.arm.ask("POST", f"{job}/terminate").status_code == 202
        properties = lab.finished(job)
        assert properties["executionState"] == "failed"
        assert error_of(properties)["code"] == "JobTerminated"
        assert properties["executionInfo"]["startTime"] == properties["executionInfo"]["endTime"]

    def test_finished_is_left_as_it_is(self, lab):
        job = lab.submit("true")
        before = lab.finished(job)
        answer = lab.arm.ask("POST", f"{job}/terminate")
        assert (answer.status_code, answer.content) == (200, b"")
        assert lab.arm.get(job)["properties"] == before


class TestSurroundings:
    def test_documented_variables(self, lab):
        job = lab.submit(
            "env; pwd; ls -d $AZ_BATCHAI_INPUT_DATA/. $AZ_BATCHAI_OUTPUT_MODEL/. $AZ_BATCHAI_JOB_TEMP/.",
            inputDirectories=[{"id": "DATA", "path": "$AZ_BATCHAI_MOUNT_ROOT/afs"}],
            outputDirectories=[
                {"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs", "pathSuffix": "Models"}
            ],
            environmentVariables=[{"name": "MINE", "value": "$AZ_BATCHAI_OUTPUT_MODEL/x"}],
            secrets=[{"name": "WHISPERED", "value": "a-secret-of-the-job"}],
        )
        assert lab.finished(job)["executionState"] == "succeeded", lab.output(job, "stderr.txt")
        seen = dict(line.split("=", 1) for line in lab.output(job).splitlines() if "=" in line)
        directory = f"{seen['AZ_BATCHAI_MOUNT_ROOT']}/afs/{segment_of(lab, job)}"
        assert seen["AZ_BATCHAI_STDOUTERR_DIR"] == f"{directory}/stdouterr"
        assert seen["AZ_BATCHAI_INPUT_DATA"] == f"{seen['AZ_BATCHAI_MOUNT_ROOT']}/afs"
        assert seen["AZ_BATCHAI_OUTPUT_MODEL"] == f"{directory}/outputs/Models"
        assert seen["MINE"] == f"{directory}/outputs/Models/x"
        assert seen["AZ_BATCHAI_NUM_GPUS"] == "0"
        assert seen["WHISPERED"] == "a-secret-of-the-job"
        names = ["JOB_TEMP", "JOB_TEMP_DIR", "JOB_WORK_DIR", "JOB_MOUNT_ROOT", "SHARED_JOB_TEMP"]
        assert [name for name in names if not seen.get(f"AZ_BATCHAI_{name}", "").startswith("/")] == []
        assert seen["AZ_BATCH_HOST_LIST"]
        assert seen["AZ_BATCH_NODE_ID"].startswith("tvm-")

    def test_a_job_reaches_azures_names_through_the_service_unless_it_opts_out(self, lab):
        command = "python -c \"import urllib.request as r; print(r.urlopen('https://management.azure.com/healthz').status)\""
        assert lab.succeeds(command) == "200\n"
        direct = lab.submit(command, environmentVariables=[{"name": "no_proxy", "value": "*"}])
        assert lab.finished(direct)["executionState"] == "failed"

    def test_the_services_environment_does_not_reach_the_job(self, new_service):
        service = new_service()
        done = service.batchai("up", "--detach", env={"A_VARIABLE_OF_THE_SERVICE": "here"})
        assert done.returncode == 0, done.stderr
        service.read_endpoint()
        own = Lab(Arm(service))
        assert "A_VARIABLE_OF_THE_SERVICE" not in own.succeeds("env")

    def test_what_a_job_installs_or_appends_to_bashrc_leaves_the_users_own_alone(self, lab):
        bashrc = Path.home() / ".bashrc"
        before = bashrc.read_bytes() if bashrc.exists() else None
        name = unique("brought_by_the_job_")
        wheel = make_wheel(lab.arm.service.share(lab.share), name, "VALUE = 'imported'\n")
        out = lab.succeeds(
            f"echo $FROM_BASHRC; python -c 'import {name}; print({name}.VALUE)'",
            containerSettings={"imageSourceRegistry": {"image": "tests/python:1"}},
            jobPreparation={
                "commandLine": f"pip install --quiet --no-index {wheel} && "
                "echo export FROM_BASHRC=read >> ~/.bashrc"
            },
        )
        assert out == "read\nimported\n"
        assert (bashrc.read_bytes() if bashrc.exists() else None) == before
        with pytest.raises(ModuleNotFoundError):
            __import__(name)

    def test_output_is_listed_and_readable_while_the_job_runs(self, lab):
        gate = lab.arm.service.share(lab.share) / unique("gate")
        job = lab.submit(
            f"echo early; until [ -e $AZ_BATCHAI_MOUNT_ROOT/afs/{gate.name} ]; do sleep .05; done"
        )
        lab.reaches(job, "running")
        until(lambda: lab.files(job) and lab.output(job) == "early\n", "the first line")
        assert lab.state(job) == "running"
        gate.touch()
        assert lab.finished(job)["executionState"] == "succeeded"

    def test_the_execution_log_tells_what_was_done(self, lab):
        job = lab.submit("exit 3")
        lab.finished(job)
        log = lab.output(job, "execution.log")
        assert "exit code 3" in log
        assert "JobFailed" in log


@pytest.fixture(scope="module")
def three(arm):
    """A cluster of three nodes."""
    return Lab(arm, nodes=3)


class TestSeveralNodes:
    def test_ranks_of_pytorch(self, three):
        script = "import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'], os.environ['LOCAL_RANK'], "
        script += "os.environ['AZ_BATCHAI_TASK_INDEX'], os.environ['AZ_BATCHAI_PYTORCH_INIT_METHOD'], "
        script += "os.environ['AZ_BATCH_NODE_ID'])"
        (three.arm.service.share(three.share) / "ranks.py").write_text(script)
        job = three.submit(
            nodeCount=3,
            containerSettings={"imageSourceRegistry": {"image": "tests/python:1"}},
            pyTorchSettings={"pythonScriptFilePath": "$AZ_BATCHAI_MOUNT_ROOT/afs/ranks.py"},
        )
        assert three.finished(job)["executionState"] == "succeeded"
        said = [three.output(job, f"stdout-{rank}.txt").split() for rank in range(3)]
        assert [words[0] for words in said] == ["0", "1", "2"]
        assert {tuple(words[1:3]) for words in said} == {("3", "0")}
        assert [words[3] for words in said] == ["0", "1", "2"]
        assert len({words[4] for words in said}) == 1
        assert len({words[5] for words in said}) == 3
        logs = [f["name"] for f in three.files(job) if f["name"].startswith("execution")]
        assert len(logs) == 3
        assert all(re.fullmatch(r"execution-tvm-.*\.log", name) for name in logs)

    def test_custom_runs_on_the_master_and_knows_the_hosts(self, three):
        job = three.submit("echo $AZ_BATCH_HOST_LIST; echo $AZ_BATCH_MASTER_NODE", nodeCount=3)
        assert three.finished(job)["executionState"] == "succeeded"
        hosts, master = three.output(job).split()
        assert len(set(hosts.split(","))) == 3
        assert master.startswith(hosts.split(",")[0])

    @pytest.mark.parametrize("image", ["", "tests/python:1"])
    def test_every_node_is_prepared_and_the_job_finds_what_its_own_preparation_left(self, three, image):
        share = three.arm.service.share(three.share)
        settings = {"containerSettings": {"imageSourceRegistry": {"image": image}}} if image else {}
        out = three.succeeds(
            "",
            nodeCount=3,
            customMpiSettings={
                "commandLine": "echo $(cat $AZ_BATCHAI_JOB_TEMP/node) $FROM_BASHRC $(cat ~/kept)"
            },
            jobPreparation={
                "commandLine": "echo $AZ_BATCH_NODE_ID | tee $AZ_BATCHAI_JOB_TEMP/node > ~/kept; "
                "echo export FROM_BASHRC=read >> ~/.bashrc; "
                "cd $AZ_BATCHAI_MOUNT_ROOT/afs; mkdir -p prepared; touch prepared/$AZ_BATCH_NODE_ID"
            },
            **settings,
        )
        nodes = sorted(path.name for path in (share / "prepared").iterdir())
        assert len(nodes) == 3
        assert sorted(out.splitlines()) == [f"{node} read {node}" for node in nodes]

    def test_ranks_of_mpi_share_one_output(self, three):
        out = three.succeeds(
            "", nodeCount=3, customMpiSettings={"commandLine": "echo rank $OMPI_COMM_WORLD_RANK"}
        )
        assert sorted(out.splitlines()) == ["rank 0", "rank 1", "rank 2"]

    def test_one_failing_rank_ends_the_others(self, three):
        mark = unique("31542")
        job = three.submit(
            nodeCount=3,
            customMpiSettings={"commandLine": f"[ $OMPI_COMM_WORLD_RANK = 1 ] && exit 9; sleep {mark}"},
        )
        assert three.finished(job)["executionInfo"]["exitCode"] == 9
        assert not processes_with(mark)


class TestClusters:
    def test_autoscale_grows_for_a_job_and_shrinks_after_it(self, lab):
        path = lab.new_cluster(
            unique("auto"), scaleSettings={"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 2}}
        )
        settled(lab, path, 0)
        job = lab.submit("true", nodeCount=2, cluster={"id": path})
        assert lab.finished(job)["executionState"] == "succeeded"
        settled(lab, path, 0)

    def test_a_job_waits_for_nodes_until_the_cluster_is_resized(self, lab):
        path = lab.new_cluster(unique("grow"), nodes=0)
        job = lab.submit("true", cluster={"id": path})
        assert lab.state(job) == "queued"
        resize(lab, path, 1)
        assert lab.finished(job)["executionState"] == "succeeded"

    def test_shrinking_with_requeue_puts_the_job_back(self, lab):
        path, job, gate = self.busy(lab)
        resize(lab, path, 0, "requeue")
        settled(lab, path, 0)
        assert lab.state(job) == "queued"
        gate.touch()
        resize(lab, path, 1)
        assert lab.finished(job)["executionState"] == "succeeded"

    def test_shrinking_with_terminate_fails_the_job(self, lab):
        path, job, _ = self.busy(lab)
        resize(lab, path, 0, "terminate")
        assert error_of(lab.finished(job))["code"] == "NodeDeallocated"
        settled(lab, path, 0)

    def test_shrinking_with_waitforjobcompletion_lets_the_job_end(self, lab):
        path, job, gate = self.busy(lab)
        resize(lab, path, 0, "waitforjobcompletion")
        # The answer of the PATCH may still say steady (batchai-service.md section 8.2).
        until(lambda: lab.arm.get(path)["properties"]["allocationState"] == "resizing", "the resize")
        assert lab.state(job) == "running"
        gate.touch()
        assert lab.finished(job)["executionState"] == "succeeded"
        settled(lab, path, 0)

    def busy(self, lab):
        """A one-node cluster whose job runs until `gate` is there."""
        path = lab.new_cluster(unique("busy"))
        gate = lab.arm.service.share(lab.share) / unique("gate")
        job = lab.submit(
            f"until [ -e $AZ_BATCHAI_MOUNT_ROOT/afs/{gate.name} ]; do sleep .05; done", cluster={"id": path}
        )
        lab.reaches(job, "running")
        return path, job, gate

    def test_a_setup_task_prepares_the_node_before_any_job(self, lab):
        path = lab.new_cluster(
            unique("setup"),
            nodeSetup={
                "mountVolumes": mount(lab.arm.service, lab.share),
                "setupTask": {
                    "commandLine": "echo prepared > $AZ_BATCHAI_MOUNT_ROOT/afs/prepared",
                    "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
                },
            },
        )
        out = lab.succeeds("cat $AZ_BATCHAI_MOUNT_ROOT/afs/prepared", cluster={"id": path})
        assert out == "prepared\n"

    def test_a_failing_setup_task_makes_the_node_unusable_and_says_why(self, lab):
        path = lab.new_cluster(
            unique("setup"),
            nodeSetup={
                "mountVolumes": mount(lab.arm.service, lab.share),
                "setupTask": {
                    "commandLine": "echo no such driver >&2; exit 6",
                    "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs",
                },
            },
        )
        until(lambda: counts(lab, path)["unusableNodeCount"] == 1, "an unusable node")
        [error] = lab.arm.get(path)["properties"]["errors"]
        assert error["code"] == "NodePreparationFailed"
        details = {detail["name"]: detail["value"] for detail in error["details"]}
        assert details.pop("nodeId").startswith("tvm-")
        assert details == {"ExitCode": "6", "stderr": "no such driver"}

    def test_the_size_of_this_machine(self, lab):
        path = lab.new_cluster(unique("local"), vmSize="Local")
        assert lab.arm.get(path)["properties"]["vmSize"] == "local"
        assert lab.succeeds("nproc", cluster={"id": path}) == f"{len(os.sched_getaffinity(0))}\n"


class TestDelete:
    def test_a_running_job(self, lab):
        mark = unique("31543")
        job = lab.submit(f"sleep {mark}")
        lab.reaches(job, "running")
        lab.arm.delete(job)
        assert lab.arm.ask("GET", job).json()["error"]["code"] == "JobNotFound"
        assert not processes_with(mark)
        assert lab.arm.ask("DELETE", job).status_code == 204

    def test_a_jobs_files_stay_and_a_new_job_of_the_name_gets_its_own(self, lab):
        job = lab.submit("echo first", name=unique("again"))
        lab.finished(job)
        kept = lab.job_directory(job) / "stdouterr" / "stdout.txt"
        lab.arm.delete(job)
        assert kept.read_text() == "first\n"
        again = lab.submit("echo second", name=job.rpartition("/")[2])
        lab.finished(again)
        assert lab.output(again) == "second\n"
        assert kept.read_text() == "first\n"

    def test_a_cluster_fails_its_jobs_and_they_remain(self, lab):
        path = lab.new_cluster(unique("doomed"))
        running = lab.submit("sleep 31544", cluster={"id": path})
        queued = lab.submit("true", cluster={"id": path})
        lab.reaches(running, "running")
        lab.arm.delete(path)
        for job in (running, queued):
            assert error_of(lab.finished(job))["code"] == "ClusterDeleted"

    def test_a_group_takes_everything_in_it(self, arm):
        own = Lab(arm)
        mark = unique("31545")
        job = own.submit(f"sleep {mark}")
        own.reaches(job, "running")
        arm.delete(arm.group_path(own.group))
        for path in (own.workspace, own.experiment, own.cluster, job):
            assert arm.ask("GET", path).status_code == 404
        assert not processes_with(mark)

    def test_in_the_order_of_the_quickstart_without_waiting(self, arm):
        own = Lab(arm)
        job = own.submit("sleep 31546")
        own.reaches(job, "running")
        for path in (job, own.cluster, arm.group_path(own.group)):
            assert arm.ask("DELETE", path).status_code == 202
        until(lambda: arm.gone(arm.group_path(own.group)), "the end of the group")


class TestLists:
    def test_jobs_page_by_page(self, lab):
        experiment = f"{lab.workspace}/experiments/{unique('paged')}"
        lab.arm.put(experiment, {})
        for i in range(3):
            lab.arm.put(f"{experiment}/jobs/j{i}", {"properties": lab.job_properties(nodeCount=64)})
        first = lab.arm.ask("GET", f"{experiment}/jobs", query={"maxresults": "2"}).json()
        rest = lab.arm.ask("GET", first["nextLink"], version=None).json()
        assert [job["name"] for job in first["value"] + rest["value"]] == ["j0", "j1", "j2"]
        assert "nextLink" not in rest

    def test_a_page_goes_on_behind_the_last_job_whatever_went_meanwhile(self, lab):
        experiment = f"{lab.workspace}/experiments/{unique('paged')}"
        lab.arm.put(experiment, {})
        for i in range(3):
            lab.arm.put(f"{experiment}/jobs/j{i}", {"properties": lab.job_properties(nodeCount=64)})
        first = lab.arm.ask("GET", f"{experiment}/jobs", query={"maxresults": "2"}).json()
        lab.arm.delete(f"{experiment}/jobs/j0")
        rest = lab.arm.ask("GET", first["nextLink"], version=None).json()
        assert [job["name"] for job in rest["value"]] == ["j2"]

    def test_output_files_go_down_directories(self, lab):
        job = lab.submit(
            "mkdir $AZ_BATCHAI_OUTPUT_MODEL/deep; echo x > $AZ_BATCHAI_OUTPUT_MODEL/deep/file",
            outputDirectories=[{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs"}],
        )
        lab.finished(job)
        assert lab.files(job, "MODEL") == [{"name": "deep", "fileType": "directory"}]
        [file] = lab.files(job, "MODEL", directory="deep")
        assert (file["name"], file["properties"]["contentLength"]) == ("file", 2)


def segment_of(lab, job):
    return lab.arm.get(job)["properties"]["jobOutputDirectoryPathSegment"]


def counts(lab, path):
    return lab.arm.get(path)["properties"]["nodeStateCounts"]


def resize(lab, path, nodes, option="requeue"):
    manual = {"targetNodeCount": nodes, "nodeDeallocationOption": option}
    answer = lab.arm.ask("PATCH", path, {"properties": {"scaleSettings": {"manual": manual}}}, NEWEST)
    assert answer.status_code == 200, answer.text


def settled(lab, path, nodes):
    """Wait until the cluster is steady with this many nodes."""

    def check():
        properties = lab.arm.get(path)["properties"]
        return properties["allocationState"] == "steady" and properties["currentNodeCount"] == nodes

    until(check, f"{path} steady with {nodes} nodes")


def processes_with(mark):
    """Processes of this machine that hold `mark` as an argument of their own."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])]


def make_wheel(directory, name, content):
    """The smallest package that pip installs without anything from outside."""
    wheel = directory / f"{name}-1-py3-none-any.whl"
    metadata = f"{name}-1.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(f"{name}.py", content)
        file.writestr(f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        file.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{metadata}/RECORD", "")
    return wheel
