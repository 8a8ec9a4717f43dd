"""Configuration files, network descriptions, and a recipe's file trained and tested on real digits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest
from cntk.brainscript.command import main
from cntk.brainscript.config import ConfigError, load
from cntk.brainscript.layers import network
from cntk.internal.graph import preorder

# A convolutional network as the recipes have it, for 8 by 8 digits.
RECIPE = """# A small one.
command = trainNetwork:testNetwork
precision = "float"; traceLevel = 1 ; deviceId = "auto"
rootDir = "../.." ; dataDir = "$rootDir$/nowhere" ;
outputDir = "./Output" ;
modelPath = "$outputDir$/Models/digits"   # stays a path
parallelTrain = false

trainNetwork = {
    action = "train"
    BrainScriptNetworkBuilder = {
        imageShape = 8:8:1          # width, height, channels
        labelDim = 10
        featScale = 1/16
        Scale{f} = x => Constant(f) .* x
        model = Sequential (
            Scale {featScale} :
            ConvolutionalLayer {8, (3:3), pad = true} : ReLU :
            MaxPoolingLayer    {(3:3), stride=(2:2)} :
            DenseLayer         {24} : Dropout : ReLU :
            LinearLayer        {labelDim}
        )
        features = Input {imageShape}
        labels = Input {labelDim}
        ol = model (features)
        ce   = CrossEntropyWithSoftmax (labels, ol)
        errs = ClassificationError (labels, ol)
        featureNodes    = (features)
        labelNodes      = (labels)
        criterionNodes  = (ce)
        evaluationNodes = (errs)
        outputNodes     = (ol)
    }
    SGD = {
        epochSize = 1024
        minibatchSize = 64
        maxEpochs = 3
        learningRatesPerSample = 0.004*2:0.002
        dropoutRate = 0.1
        momentumAsTimeConstant = 0*2:256
        numMBsToShowResult = 8
        ParallelTrain = [
            parallelizationMethod = "DataParallelSGD"
        ]
    }
    reader = {
        readerType = "CNTKTextFormatReader"
        file = "$DataDir$/train.txt"
        randomize = true
        input = {
            features = { dim = 64 ; format = "dense" }
            labels =   { dim = 10 ; format = "dense" }
        }
    }
}
testNetwork = {
    action = test
    minibatchSize = 100
    reader = {
        readerType = "CNTKTextFormatReader"
        file = "$dataDir$/test.txt"
        input = {
            features = { dim = 64 ; format = "dense" }
            labels =   { dim = 10 ; format = "dense" }
        }
    }
}
"""


@pytest.fixture
def folder(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    """The recipe's file and data: 1,400 digits to train on, the rest to test."""
    rows = [
        f"|labels {' '.join('1' if k == label else '0' for k in range(10))} |features "
        + " ".join(f"{v:g}" for v in image)
        for image, label in zip(*digits, strict=True)
    ]
    (tmp_path / "train.txt").write_text("\n".join(rows[:1400]) + "\n")
    (tmp_path / "test.txt").write_text("\n".join(rows[1400:]) + "\n")
    (tmp_path / "recipe.cntk").write_text(RECIPE)
    return tmp_path


def run(folder: Path, *overrides: str) -> int:
    return main(
        [
            f"configFile={folder / 'recipe.cntk'}",
            f"dataDir={folder}",
            f"outputDir={folder / 'out'}",
            *overrides,
        ]
    )


def test_a_recipe(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    log = capfd.readouterr().err
    lines = log.splitlines()
    number = r"\d+\.\d{8}"
    error = r"errs = \d+\.\d{3}%"
    starting = "Starting Epoch {}: learning rate per sample = {}  effective momentum = {}  momentum as time "
    starting += "constant = {} samples"
    for pattern in (
        r"Training 2082 parameters in 6 out of 6 parameter tensors and \d+ nodes with gradient:",
        re.escape(starting.format(1, "0.004000", "0.000000", "0.0")),
        re.escape(starting.format(3, "0.002000", "0.778801", "256.0")),
        r"Starting minibatch loop\.",
        rf" Epoch\[ 1 of 3\]-Minibatch\[   1-   8, 50\.00%\]: ce = {number} \* 512; {error} \* 512; "
        r"time = \d+\.\d{4}s; samplesPerSecond = \d+\.\d",
        rf"Finished Epoch\[ 3 of 3\]: \[Training\] ce = {number} \* 1024; {error} \* 1024; "
        r"totalSamplesSeen = 3072; learningRatePerSample = 0\.002; epochTime=[\d.e-]+s",
        re.escape(f"SGD: Saving checkpoint model '{folder}/out/Models/digits.3'"),
        r'Action "train" complete\.',
        rf"Final Results: Minibatch\[1-4\]: {error} \* 397; ce = {number} \* 397; perplexity = {number}",
        r'Action "test" complete\.',
        r"__COMPLETED__",
    ):
        assert any(re.fullmatch(pattern, line) for line in lines), pattern
    final = re.search(r"Final Results.*errs = ([\d.]+)%", log)
    assert final is not None
    losses = [float(v) for v in re.findall(r"\[Training\] ce = ([\d.]+)", log)]
    assert losses == sorted(losses, reverse=True)  # 48 minibatches: it learns, no more
    assert float(final[1]) < 75.0
    models = folder / "out" / "Models"
    assert {p.name for p in models.iterdir()} == {
        "digits",
        "digits.1",
        "digits.2",
        "digits.3",
        "digits.3.ckp",
    }
    model = C.load_model(str(models / "digits"))
    assert [v.name for v in model.outputs] == ["ol", "ce", "errs"]
    # Again: nothing is left to do but the test.
    assert run(folder) == 0
    again = capfd.readouterr().err
    assert "No further training is necessary." in again
    assert final[0] in again


def test_it_continues_after_the_last_epoch(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    quiet = "trainNetwork=[SGD=[numMBsToShowResult=0]]"
    assert run(folder, quiet, "command=trainNetwork", "trainNetwork=[SGD=[maxEpochs=1]]") == 0
    (folder / "out" / "Models" / "digits").unlink()
    capfd.readouterr()
    assert run(folder, quiet, "stderr=" + str(folder / "log" / "run")) == 0
    assert "Redirecting stderr to file" in capfd.readouterr().err
    text = (folder / "log" / "run_trainNetwork_testNetwork.log").read_text()
    assert f"Loading network from '{folder}/out/Models/digits.1'" in text
    assert "Starting Epoch 1" not in text
    assert "Starting Epoch 2" in text
    assert "__COMPLETED__" in text


def test_the_network_of_a_description() -> None:
    text = """{
        both(x) = { a = DenseLayer {3} (x) ; b = LinearLayer {2} (a) }
        f = Input {4:1}
        l = Input (2)
        s = f * 2 - 1
        out = both (s)
        ce = CrossEntropyWithSoftmax (l, out.b)
        featureNodes = (f) ; labelNodes = (l) ; criterionNodes = (ce) ; outputNodes = (out.b)
    }"""
    nodes = network(text, 0.0)
    assert nodes["feature"][0].value.shape == (1, 4)
    assert nodes["criterion"][0].name == "ce"
    assert nodes["output"][0].value.shape == (2,)
    assert nodes["evaluation"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ x = y }", "'criterionNodes' is not defined|must name one"),
        ("{ criterionNodes = (a) ; a = b ; b = a }", "is defined by itself"),
        ("{ criterionNodes = (1/0) }", "division by zero"),
        ("{ criterionNodes = (3) }", "must list nodes"),
        ("{ criterionNodes = (Input {2:x}) }", "'x' is not defined"),
        ("{ criterionNodes = (Input {1.5}) }", "a shape of positive whole numbers"),
        ("{ criterionNodes = (ReLU (1 2)) }", "expected before"),
        ("{ criterionNodes = (ReLU (Input {2}, 3)) }", "takes|argument"),
        ("{ criterionNodes = (1 (2)) }", "no function"),
        ("{ criterionNodes = (" + "(" * 300 + "1" + ")" * 300 + ") }", "nested too deeply"),
        ("{ criterionNodes = @ }", "cannot read"),
    ],
)
def test_descriptions_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network(text, 0.0)


def test_configurations() -> None:
    text = """
    a = "one" ; B = $a$-two   # a comment with = and {
    list = 0.5*2:0.25
    outer = { inner = [ x = 1
      y = "semi;colon # no comment" ] ; deep = $B$/three }
    """
    config = load([text], ["A=1", "outer=[inner=[x=2]]"])
    assert config.text("b") == "1-two"
    assert config.numbers("LIST") == [(2, 0.5), (1, 0.25)]
    outer = config.section("Outer")
    assert outer is not None
    inner = outer.section("inner")
    assert inner is not None
    assert inner.integer("x") == 2
    assert inner.text("y") == "semi;colon # no comment"
    assert inner.text("deep") == "1-two/three"


@pytest.mark.parametrize(
    ("text", "ask", "message"),
    [
        ("a = (1", None, r"'\)' is missing"),
        ("a = 1)", None, r"unexpected '\)'"),
        ("nothing here", None, "not an assignment"),
        ("a = $b$", "a", r"the variable \$b\$ is not defined"),
        ("a = $b$ ; b = $a$", "a", "without end"),
        ("a = x", "number", "must be a number"),
    ],
)
def test_configurations_that_make_no_sense(text: str, ask: str | None, message: str) -> None:
    def read() -> Any:
        config = load([text], [])
        return config.integer("a") if ask == "number" else config.text(ask or "a")

    with pytest.raises(ConfigError, match=message):
        read()


def test_mistakes_end_with_a_message(folder: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, message in (
        ([], "usage: cntk configFile="),
        ([f"configFile={tmp_path / 'nosuch.cntk'}"], "No such file"),
        ([f"configFile={folder / 'recipe.cntk'}", "oops"], "not of the form name=value"),
        ([f"configFile={folder / 'recipe.cntk'}", "command=other"], "the command 'other' has no section"),
        ([f"configFile={folder / 'recipe.cntk'}", f"outputDir={tmp_path}"], "is not open"),
    ):
        assert main(arguments) != 0
        assert message in capfd.readouterr().err


DEEPER = """command = fit:check
dataDir = "nowhere" ; modelPath = "Models/deeper"
method = DataParallelSGD
fit = {
    action = "train"
    BrainScriptNetworkBuilder = {
        shape = 4:4:3 ; classes = 10
        Centre{m,f} = x => f .* (x - m)       # a function of functions
        Stack {channels, window} = Sequential (
            ConvolutionalLayer {channels, window, pad=true, bias=false} :
            BatchNormalizationLayer {spatialRank = 2} :
            ReLU :
            MaxPoolingLayer {(2:2), stride = (2:2)}
        )
        net(x) = {
            low = Sequential (Centre {8, 1/16} : Stack {4, (3:3)}) (x)
            h = DenseLayer {12, activation=ReLU, init="gaussian", initValueScale=1.5} (low)
            z = LinearLayer {classes} (Dropout (h))
        }
        features = Input {shape}
        labels = Input {classes}
        out = net (features)
        away = labels - out.z
        rmse = Sqrt (ReduceSum (away .* away, axis=1) / classes)
        ce = CrossEntropyWithSoftmax (labels, out.z)
        errs = ClassificationError (labels, out.z)
        top3 = ClassificationError (labels, out.z, topN=3)  # only for the check
        featureNodes = (features) ; labelNodes = (labels)
        criterionNodes = (ce) ; evaluationNodes = (rmse) ; outputNodes = (out.z)
    }
    SGD = {
        epochSize = 0 ; minibatchSize = 16 ; maxEpochs = 2
        learningRatesPerSample = 0.002*10:0.0005
        momentumAsTimeConstant = 0*1:607.44
        L2RegWeight = 0.002 ; dropoutRate = 0*1:0.5 ; numMBsToShowResult = 100
        ParallelTrain = [
            parallelizationMethod = $method$ ; distributedMBReading = "true"
            DataParallelSGD = [ gradientBits = 32 ]
        ]
    }
    reader = { file = "$DataDir$/rows.txt" ; input = {
        features = { dim = 48 ; format = "dense" } ; labels = { dim = 10 ; format = "dense" } } }
}
check = {
    action = "eval" ; minibatchSize = 16 ; evalNodeNames = errs:top3
    reader = { file = "$DataDir$/rows.txt" ; input = {
        features = { dim = 48 ; format = "dense" } ; labels = { dim = 10 ; format = "dense" } } }
}
"""


def test_records_reductions_rates_of_dropout_and_nodes_to_evaluate(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    with (tmp_path / "rows.txt").open("w") as file:
        for i in range(40):
            label, pixels = np.eye(10, dtype=int)[i % 10], rng.integers(0, 17, 48)
            file.write(f"|labels {' '.join(map(str, label))} |features {' '.join(map(str, pixels))}\n")
    (tmp_path / "deeper.cntk").write_text(DEEPER)
    monkeypatch.chdir(tmp_path)
    assert main(["configFile=deeper.cntk", f"dataDir={tmp_path}"]) == 0
    log = capfd.readouterr().err
    assert log.count("Finished Epoch[") == 2
    assert re.search(r"ce = [0-9.]+ \* 40; rmse = [0-9.]+ \* 40; totalSamplesSeen = 80", log)
    found = re.search(
        r"Final Results: Minibatch\[1-3\]: errs = ([0-9.]+)% \* 40; top3 = ([0-9.]+)% \* 40", log
    )
    assert found is not None
    assert float(found[2]) <= float(found[1])
    model = C.load_model("Models/deeper")
    rates = {f.raw_attributes["dropoutRate"] for f in preorder(model.root_function) if f.op_name == "Dropout"}
    assert rates == {0.5}
    assert (
        main(["configFile=deeper.cntk", f"dataDir={tmp_path}", "command=check", "check=[evalNodeNames=no]"])
        == 1
    )
    assert "no node 'no' to evaluate" in capfd.readouterr().err
