"""How settings become processes."""

import json

from openbatchai.domain.ports import NodeFacts
from openbatchai.domain.toolkits import processes


def nodes(count):
    return [NodeFacts(f"n{i}", f"127.0.1.{i}", f"n{i}", 2, 0, "/m") for i in range(count)]


def test_cntk_python_on_one_node_is_a_plain_command():
    settings = {
        "languageType": "Python",
        "pythonScriptFilePath": "$AZ_BATCHAI_INPUT_SAMPLE/a.py",
        "commandLineArgs": "$AZ_BATCHAI_INPUT_SAMPLE x",
        "processCount": 1,
    }
    [[process]] = processes({"cntkSettings": settings}, nodes(1))
    assert process.command_line == "python $AZ_BATCHAI_INPUT_SAMPLE/a.py $AZ_BATCHAI_INPUT_SAMPLE x"
    assert process.stdout == "$AZ_BATCHAI_STDOUTERR_DIR/stdout.txt"
    assert not process.environment


def test_cntk_brainscript_runs_the_cntk_program():
    settings = {"languageType": "BrainScript", "configFilePath": "c.cntk", "processCount": 1}
    [[process]] = processes({"cntkSettings": settings}, nodes(1))
    assert process.command_line == "cntk configFile=c.cntk"


def test_ranks_are_spread_evenly_and_told_their_place():
    placed = processes({"customMpiSettings": {"commandLine": "x", "processCount": 3}}, nodes(2))
    assert [len(group) for group in placed] == [2, 1]
    ranks = [p.environment["OMPI_COMM_WORLD_RANK"] for group in placed for p in group]
    assert ranks == ["0", "1", "2"]
    assert placed[1][0].environment["OMPI_COMM_WORLD_LOCAL_RANK"] == "0"
    assert {p.stdout for group in placed for p in group} == {"$AZ_BATCHAI_STDOUTERR_DIR/stdout.txt"}


def test_custom_runs_on_the_master_only():
    placed = processes({"customToolkitSettings": {"commandLine": "x"}}, nodes(3))
    assert [len(group) for group in placed] == [1, 0, 0]


def test_pytorch_ranks_have_files_and_variables_of_their_own():
    settings = {"pythonScriptFilePath": "t.py", "processCount": 2}
    placed = processes({"pyTorchSettings": settings}, nodes(2))
    assert [p.stdout[-12:] for group in placed for p in group] == ["stdout-0.txt", "stdout-1.txt"]
    assert placed[1][0].environment["AZ_BATCHAI_TASK_INDEX"] == "1"


def test_single_tensorflow_is_worker_zero_with_the_master_arguments():
    settings = {"pythonScriptFilePath": "t.py", "masterCommandLineArgs": "--m"}
    [[process]] = processes({"tensorFlowSettings": settings}, nodes(1))
    assert process.command_line == "python t.py --m"
    assert process.stdout.endswith("/stdout-wk-0.txt")


def test_distributed_tensorflow_is_placed_as_recorded():
    settings = {
        "pythonScriptFilePath": "t.py",
        "masterCommandLineArgs": "--m",
        "workerCommandLineArgs": "--w",
        "parameterServerCommandLineArgs": "--ps",
    }
    placed = processes({"tensorFlowSettings": settings}, nodes(3))
    assert [len(group) for group in placed] == [2, 1, 1]
    server, first = placed[0]
    assert server.service
    assert not first.service
    assert first.command_line.endswith("--m")
    assert placed[1][0].command_line.endswith("--w")
    config = json.loads(placed[2][0].environment["TF_CONFIG"])
    assert config["cluster"] == {
        "ps": ["127.0.1.0:2222"],
        "worker": ["127.0.1.0:2223", "127.0.1.1:2222", "127.0.1.2:2222"],
    }
    assert config["task"] == {"type": "worker", "index": 2}
