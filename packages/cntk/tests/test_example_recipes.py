"""Our scripts for the other recipes, on small real data: digits in text files and as images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cntk as C
import numpy as np
import pytest
from cntk.examples import convnet_mnist_session, images_distributed


@pytest.fixture(scope="module")
def texts(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 digits, enlarged to 28 by 28 pixels, and 60 to test with."""
    folder = tmp_path_factory.mktemp("texts")
    images, labels = digits
    for name, rows in (("Train", range(120)), ("Test", range(120, 180))):
        with (folder / f"{name}-28x28_cntk_text.txt").open("w") as file:
            for i in rows:
                pixels = np.pad(np.kron(images[i].reshape(8, 8), np.ones((3, 3))), 2) * 255 // 16
                one_hot = " ".join("1" if k == labels[i] else "0" for k in range(10))
                file.write(f"|labels {one_hot} |features {' '.join(str(int(v)) for v in pixels.ravel())}\n")
    return folder


def test_a_session_with_checkpoints_and_curves(
    texts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, curves = tmp_path / "models", tmp_path / "curves"
    common = [
        "--datadir", str(texts), "--outputdir", str(out), "--tensorboard_logdir", str(curves),
        "--epoch_size", "120", "--minibatch_size", "20", "--lr", "0.002", "--hidden", "32",
    ]  # fmt: skip
    assert convnet_mnist_session.main([*common, "--epochs", "2"]) == 0
    first = capfd.readouterr()
    assert first.out.count("Finished Epoch[") == 2
    assert "Finished Evaluation [1]: Minibatch[1-1]: metric = " in first.out
    assert sorted(p.name for p in out.iterdir()) == ["ConvNet_MNIST", "ConvNet_MNIST.ckp"]
    assert len(list(curves.glob("events.out.tfevents.*"))) == 1
    # Started again with more to do, it goes on.
    assert convnet_mnist_session.main([*common, "--epochs", "3", "--logdir", str(tmp_path / "logs")]) == 0
    second = capfd.readouterr()
    assert "Restoring training session from the checkpoint" in second.err
    assert (tmp_path / "logs" / "log").read_text().count("Finished Epoch[") == 1
    model = C.load_model(str(out / "ConvNet_MNIST"))
    assert {"aggregateLoss", "aggregateEvalMetric"} <= {v.name for v in model.outputs}


@pytest.fixture(scope="module")
def pictures(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 digits as coloured PNG files, and 30 to test with."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra `images`)")
    folder = tmp_path_factory.mktemp("pictures")
    images, labels = digits
    for name, rows in (("train", range(60)), ("test", range(60, 90))):
        lines = []
        for i in rows:
            grey = np.kron(images[i].reshape(8, 8), np.ones((2, 2))) * 255 // 16
            image.fromarray(np.stack([grey, grey, 255 - grey], axis=2).astype(np.uint8)).save(
                folder / f"{i}.png"
            )
            lines.append(f"{i}.png\t{labels[i]}\n")
        (folder / f"{name}_map.txt").write_text("".join(lines))
    mean = " ".join(["100"] * 16 * 16 * 3)
    (folder / "mean.xml").write_text(
        f"<opencv_storage><Channel>3</Channel><Row>16</Row><Col>16</Col><MeanImg><rows>1</rows><data>{mean}"
        "</data></MeanImg></opencv_storage>"
    )
    return folder


@pytest.mark.parametrize(
    ("network", "scheme"), [("convnet", "data_parallel"), ("resnet20", "block_momentum")]
)
def test_images(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], network: str, scheme: str
) -> None:
    arguments = [
        "--datadir", str(pictures), "--outputdir", str(tmp_path), "--network", network, "--scheme", scheme,
        "--size", "16", "--epochs", "2", "--epoch_size", "60", "--minibatch_size", "20", "--lr", "0.05",
        "--block_size", "40",
    ]  # fmt: skip
    assert images_distributed.main(arguments) == 0
    out = capfd.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("Finished Epoch[")]
    assert [line.split("]")[0] for line in lines] == ["Finished Epoch[1 of 2", "Finished Epoch[2 of 2"]
    assert all(" * 60, metric = " in line for line in lines)
    assert "Finished Evaluation [1]: Minibatch[1-2]: metric = " in out
    model = C.load_model(str(tmp_path / network))
    assert model.outputs[0].shape == (10,)
