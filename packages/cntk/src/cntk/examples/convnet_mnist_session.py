"""Train the digits network with a training session: checkpoints, a test at the end, curves in TensorBoard.

    python convnet_mnist_session.py --datadir DATA_DIR --outputdir MODEL_DIR [--logdir LOGS]
        [--tensorboard_logdir CURVES] [--epochs N] [--lr RATE] [--momentum CONSTANT] [--hidden SIZE]

The rates are parameters of the command, so that many of these jobs can search for the best ones.  Started
again after an interruption it goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cntk as C

SHAPE, CLASSES = (1, 28, 28), 10


def create_reader(path: Path, training: bool) -> C.io.MinibatchSource:
    streams = C.io.StreamDefs(
        features=C.io.StreamDef(field="features", shape=784),
        labels=C.io.StreamDef(field="labels", shape=CLASSES),
    )
    return C.io.MinibatchSource(
        C.io.CTFDeserializer(str(path), streams),
        randomize=training,
        max_sweeps=C.io.INFINITELY_REPEAT if training else 1,
    )


def create_model(features: C.Variable, hidden: int) -> C.Function:
    with C.layers.default_options(activation=C.relu, pad=False):
        model: C.Function = C.layers.Sequential(
            [
                C.layers.Convolution2D((5, 5), 32, pad=True),
                C.layers.MaxPooling((3, 3), (2, 2)),
                C.layers.Convolution2D((3, 3), 48),
                C.layers.MaxPooling((3, 3), (2, 2)),
                C.layers.Convolution2D((3, 3), 64),
                C.layers.Dense(hidden),
                C.layers.Dropout(0.5),
                C.layers.Dense(CLASSES, activation=None),
            ]
        )(features / 256)
    return model


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Digits, with a training session.")
    parser.add_argument("--datadir", type=Path, required=True)
    parser.add_argument("--outputdir", type=Path, required=True)
    parser.add_argument("--logdir", type=Path, help="folder of the log; without it the console")
    parser.add_argument("--tensorboard_logdir", type=Path, help="folder of TensorBoard's event files")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--epoch_size", type=int, default=60000, help="samples per epoch")
    parser.add_argument("--minibatch_size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.001, help="rate per sample")
    parser.add_argument("--momentum", type=float, default=1024.0, help="time constant in samples")
    parser.add_argument("--hidden", type=int, default=96, help="size of the last hidden layer")
    options = parser.parse_args(arguments)

    features, labels = C.input_variable(SHAPE, name="features"), C.input_variable(CLASSES, name="labels")
    z = create_model(features, options.hidden)
    loss, error = C.cross_entropy_with_softmax(z, labels), C.classification_error(z, labels)
    if options.logdir is not None:
        options.logdir.mkdir(parents=True, exist_ok=True)
    log = None if options.logdir is None else str(options.logdir / "log")
    writers: list[C.logging.ProgressWriter] = [
        C.logging.ProgressPrinter(tag="Training", log_to_file=log, num_epochs=options.epochs)
    ]
    curves = None
    if options.tensorboard_logdir is not None:
        curves = C.logging.TensorBoardProgressWriter(10, options.tensorboard_logdir, model=z)
        writers.append(curves)
    learner = C.momentum_sgd(
        z.parameters,
        C.learning_parameter_schedule_per_sample([options.lr] * 10 + [options.lr / 2], options.epoch_size),
        C.momentum_as_time_constant_schedule([0] * 5 + [options.momentum], options.epoch_size),
    )
    trainer = C.Trainer(z, (loss, error), learner, writers)
    train = create_reader(options.datadir / "Train-28x28_cntk_text.txt", training=True)
    test = create_reader(options.datadir / "Test-28x28_cntk_text.txt", training=False)
    C.logging.log_number_of_parameters(z)
    C.training_session(
        trainer=trainer,
        mb_source=train,
        mb_size=options.minibatch_size,
        model_inputs_to_streams={features: train.streams.features, labels: train.streams.labels},
        max_samples=options.epochs * options.epoch_size,
        progress_frequency=options.epoch_size,
        checkpoint_config=C.CheckpointConfig(
            str(options.outputdir / "ConvNet_MNIST"), frequency=options.epoch_size, restore=True
        ),
        test_config=C.TestConfig(test, 1024),
    ).train()
    if curves is not None:
        curves.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
