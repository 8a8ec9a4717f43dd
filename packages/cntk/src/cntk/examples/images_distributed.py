"""Train a network on colour images, alone or with several workers.

    python images_distributed.py --datadir DATA_DIR --outputdir MODEL_DIR
        [--network convnet|resnet20|resnet56] [--scheme data_parallel|block_momentum] [--epochs N]

    mpirun -n 4 python images_distributed.py ...
    python -m cntk launch -n 4 images_distributed.py ...

DATA_DIR holds train_map.txt and test_map.txt (`file<TAB>class` in each line, files relative to DATA_DIR or in
zip archives) and, if images are to be centred, mean.xml.  Images are cropped at random places and mirrored
while they are read, as for CIFAR-10.  Rank 0 writes the models; every rank prints the same lines.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cntk as C

L = C.layers


def create_reader(folder: Path, name: str, size: int, classes: int, training: bool) -> C.io.MinibatchSource:
    transforms: list[Any] = []
    if training:
        transforms.append(C.io.transforms.crop("randomside", side_ratio=0.8, jitter_type="uniratio"))
    transforms.append(C.io.transforms.scale(size, size, 3, interpolations="linear"))
    mean = folder / "mean.xml"
    if mean.exists():
        transforms.append(C.io.transforms.mean(str(mean)))
    streams = C.io.StreamDefs(
        features=C.io.StreamDef(field="image", transforms=transforms),
        labels=C.io.StreamDef(field="label", shape=classes),
    )
    return C.io.MinibatchSource(
        C.io.ImageDeserializer(str(folder / name), streams),
        randomize=training,
        max_samples=C.io.INFINITELY_REPEAT if training else C.io.FULL_DATA_SWEEP,
    )


def convnet(classes: int) -> Any:
    """Three groups of convolutions with batch normalisation."""

    def group(filters: int) -> Any:
        return L.Sequential(
            [
                L.Convolution2D((3, 3), filters, bias=False, activation=None),
                L.BatchNormalization(map_rank=1),
                C.relu,
                L.MaxPooling((3, 3), (2, 2)),
            ]
        )

    with L.default_options(activation=C.relu, pad=True):
        return L.Sequential(
            [
                L.For(range(3), lambda i: group((32, 48, 64)[i])),
                L.Dense(64),
                L.Dense(classes, activation=None),
            ]
        )


def _normalized(x: Any, filters: int, strides: int, activation: Any, size: int = 3) -> Any:
    y = L.Convolution(
        (size, size), filters, activation=None, init=C.he_normal(), pad=True, strides=strides, bias=False
    )(x)
    return activation(L.BatchNormalization(map_rank=1, normalization_time_constant=4096)(y))


def resnet(depth: int, classes: int) -> Any:
    """A residual network of 6n+2 layers (He et al., 2015, for CIFAR-10)."""
    blocks = (depth - 2) // 6
    nothing = C.layers.identity

    def build(x: Any) -> Any:
        y = _normalized(x, 16, 1, C.relu)
        for stage, filters in enumerate((16, 32, 64)):
            for block in range(blocks):
                strides = 2 if stage and not block else 1
                shortcut = y if strides == 1 else _normalized(y, filters, strides, nothing, size=1)
                inner = _normalized(_normalized(y, filters, strides, C.relu), filters, 1, nothing)
                y = C.relu(inner + shortcut)
        pooled = L.GlobalAveragePooling()(y)
        return L.Dense(classes, init=C.normal(0.01), activation=None)(pooled)

    return build


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Colour images, alone or distributed.")
    parser.add_argument("--datadir", type=Path, required=True)
    parser.add_argument("--outputdir", type=Path, required=True)
    parser.add_argument("--network", default="convnet", choices=("convnet", "resnet20", "resnet56"))
    parser.add_argument("--scheme", default="data_parallel", choices=("data_parallel", "block_momentum"))
    parser.add_argument("--block_size", type=int, default=3200, help="samples between synchronisations")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--size", type=int, default=32, help="width and height of the images")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--epoch_size", type=int, default=50000)
    parser.add_argument("--minibatch_size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1, help="rate per minibatch of that size")
    options = parser.parse_args(arguments)

    features = C.input_variable((3, options.size, options.size), name="features")
    labels = C.input_variable(options.classes, name="labels")
    scaled = features / 256
    if options.network == "convnet":
        z = convnet(options.classes)(scaled)
    else:
        z = resnet(int(options.network[6:]), options.classes)(scaled)
    loss, error = C.cross_entropy_with_softmax(z, labels), C.classification_error(z, labels)
    learner = C.momentum_sgd(
        z.parameters,
        C.learning_parameter_schedule(
            [options.lr] * 40 + [options.lr / 10], options.minibatch_size, options.epoch_size
        ),
        C.momentum_schedule(0.9, minibatch_size=options.minibatch_size),
        l2_regularization_weight=0.0001,
    )
    distributed = C.train.distributed
    if options.scheme == "block_momentum":
        outer = distributed.block_momentum_distributed_learner(learner, block_size=options.block_size)
    else:
        outer = distributed.data_parallel_distributed_learner(learner)
    rank = distributed.Communicator.rank()
    printer = C.logging.ProgressPrinter(tag="Training", rank=rank, num_epochs=options.epochs)
    trainer = C.Trainer(z, (loss, error), outer, printer)
    train = create_reader(options.datadir, "train_map.txt", options.size, options.classes, training=True)
    test = create_reader(options.datadir, "test_map.txt", options.size, options.classes, training=False)
    C.logging.log_number_of_parameters(z)
    C.training_session(
        trainer=trainer,
        mb_source=train,
        mb_size=options.minibatch_size,
        model_inputs_to_streams={features: train.streams.features, labels: train.streams.labels},
        max_samples=options.epochs * options.epoch_size,
        progress_frequency=options.epoch_size,
        checkpoint_config=C.CheckpointConfig(
            str(options.outputdir / options.network), frequency=options.epoch_size, restore=True
        ),
        test_config=C.TestConfig(test, options.minibatch_size),
    ).train()
    distributed.Communicator.finalize()
    return 0


if __name__ == "__main__":
    sys.exit(main())
