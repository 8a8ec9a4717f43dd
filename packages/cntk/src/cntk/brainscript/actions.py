"""The actions `train` and `test` of a configuration, with CNTK's log lines on stderr."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import learners as learning
from ..internal.checks import typed
from ..internal.graph import preorder, touch_graph
from ..internal.missing import unavailable
from ..internal.opcodes import Op
from ..io import INFINITELY_REPEAT, CTFDeserializer, MinibatchSource, StreamDef, StreamDefs
from ..ops import alias, combine
from ..ops.functions import Function, load_model
from ..train import Trainer, block_momentum_distributed_learner, data_parallel_distributed_learner
from ..train.distributed import Communicator
from .config import ConfigError, Section
from .layers import Node, network

Log = Callable[[str], None]
_MODEL = "modelPath"


@dataclass
class _Measure:
    """A criterion or evaluation and how it is printed."""

    name: str
    output: Any
    kind: str  # entropy, error, square or nothing known

    def text(self, total: float, samples: int) -> str:
        average = total / samples if samples else 0.0
        if self.kind == "error":
            return f"{self.name} = {average * 100:.3f}% * {samples}"
        return f"{self.name} = {average:.8f} * {samples}"


def _reader(config: Section, **options: Any) -> tuple[MinibatchSource, dict[str, str]]:
    """The source of a `reader` section, and the section's streams."""
    section = config.section("reader")
    if section is None:
        raise ConfigError("the section 'reader' is missing")
    kind = section.text("readerType", "CNTKTextFormatReader")
    if kind.lower() != "cntktextformatreader":
        raise unavailable(f"readerType = {kind}")
    inputs = section.section("input")
    if inputs is None:
        raise ConfigError("the reader has no section 'input'")
    streams = {}
    for name in inputs.names():
        stream = inputs.section(name)
        if stream is None:
            raise ConfigError(f"the input '{name}' must be a section")
        streams[name] = StreamDef(
            field=stream.text("alias", name),
            shape=stream.integer("dim"),
            is_sparse=stream.text("format", "dense").lower() == "sparse",
        )
    randomize = section.text("randomize", "true").lower() not in ("false", "none", "0")
    source = MinibatchSource(
        CTFDeserializer(section.text("file"), StreamDefs(**streams)), randomize=randomize, **options
    )
    return source, {name.lower(): name for name in streams}


def _streams(source: MinibatchSource, names: dict[str, str], variables: Any) -> dict[Any, Any]:
    """The stream of each input variable, which has its name."""
    result = {}
    for variable in variables:
        if variable.name.lower() not in names:
            raise ConfigError(f"the reader has no input '{variable.name}'")
        result[variable] = source.streams[names[variable.name.lower()]]
    return result


def _model_name(config: Section) -> Path:
    return Path(config.text(_MODEL))


def _learner(config: Section, sgd: Section, parameters: Any, epoch_size: int) -> tuple[Any, Any, Any]:
    """(learner, schedule of rates per sample, schedule of momentum)."""
    if sgd.has("learningRatesPerMB"):
        rate = learning.learning_parameter_schedule(
            sgd.numbers("learningRatesPerMB"), sgd.integer("minibatchSize", 256), epoch_size
        )
    else:
        rate = learning.learning_parameter_schedule_per_sample(
            sgd.numbers("learningRatesPerSample"), epoch_size
        )
    if sgd.has("momentumAsTimeConstant"):
        momentum = learning.momentum_as_time_constant_schedule(
            sgd.numbers("momentumAsTimeConstant"), epoch_size
        )
    elif sgd.has("momentumPerSample"):
        momentum = learning.momentum_schedule_per_sample(sgd.numbers("momentumPerSample"), epoch_size)
    else:
        momentum = learning.momentum_schedule(sgd.numbers("momentumPerMB", "0.9"), epoch_size)
    options: dict[str, Any] = {"l2_regularization_weight": sgd.numbers("L2RegWeight", "0")[0][1]}
    options["l1_regularization_weight"] = sgd.numbers("L1RegWeight", "0")[0][1]
    kind = sgd.text("gradUpdateType", "none").lower()
    if kind == "adagrad":
        learner = learning.adagrad(parameters, rate, **options)
    elif kind in ("none", "normal", "simple"):
        nesterov = sgd.boolean("useNAG")
        make = learning.nesterov if nesterov else learning.momentum_sgd
        learner = make(parameters, rate, momentum, **options)
    elif kind == "fsadagrad":
        learner = learning.fsadagrad(parameters, rate, momentum, **options)
    else:
        raise unavailable(f"gradUpdateType = {kind}")
    parallel = sgd.section("ParallelTrain")
    if config.boolean("parallelTrain") and parallel is not None:
        start = max(parallel.integer("parallelizationStartEpoch", 1) - 1, 0) * epoch_size
        method = parallel.text("parallelizationMethod", "DataParallelSGD").lower()
        blocks = parallel.section("BlockMomentumSGD")
        if method == "blockmomentumsgd" and blocks is not None:
            wrapped = block_momentum_distributed_learner(
                learner, blocks.integer("blockSizePerWorker", 120000) * Communicator.num_workers(),
                distributed_after=start,
            )  # fmt: skip
        else:
            # Asynchronous updates and 1-bit gradients are ways to the same sums.
            wrapped = data_parallel_distributed_learner(learner, start)
        return wrapped, rate, momentum
    return learner, rate, momentum


def _trainable(model: Function, criterion: Any) -> int:
    """The nodes a gradient flows through."""
    nodes = {f for f in preorder(combine([criterion]).root_function) if f.body is None}
    with_gradient = [f for f in nodes if any(v.needs_gradient for v in f.results)]
    return len(with_gradient) + len(combine([criterion]).parameters)


def train(config: Section, log: Log) -> None:
    """Train as a section says; continues where an earlier run stopped."""
    sgd = config.section("SGD")
    if sgd is None:
        raise ConfigError("the section 'SGD' is missing")
    if sgd.boolean("autoAdjustMinibatch") or sgd.text("autoAdjustLR", "none").lower() != "none":
        raise unavailable("SGD with autoAdjustMinibatch or autoAdjustLR")
    dropouts = sgd.numbers("dropoutRate", "0")
    path = _model_name(config)
    max_epochs = sgd.integer("maxEpochs")
    if path.exists():
        log("No further training is necessary.")
        return
    if not config.has("BrainScriptNetworkBuilder"):
        raise unavailable("train without BrainScriptNetworkBuilder")
    nodes = network(config.raw("BrainScriptNetworkBuilder"), dropouts[0][1])
    measures = [_measure(node) for node in nodes["criterion"] + nodes["evaluation"]]
    outputs = [alias(node.value, name=node.name) for node in nodes["output"]]
    others = [_measure(node) for node in nodes["other"]]
    model = combine([*outputs, *(measure.output for measure in (*measures, *others))])
    source, names = _reader(config, max_samples=INFINITELY_REPEAT)
    inputs = _streams(source, names, model.arguments)
    epoch_size = sgd.integer("epochSize", 0) or source.samples_per_sweep()
    sizes = sgd.numbers("minibatchSize", "256")
    learner, rates, momenta = _learner(config, sgd, model.parameters, epoch_size)
    criterion = measures[0]
    metric = measures[1].output if len(measures) > 1 else None
    trainer = Trainer(model, (criterion.output, metric), learner)
    parameters = model.parameters
    count = sum(math.prod(p.shape) for p in parameters)
    log(
        f"Training {count} parameters in {len(parameters)} out of {len(parameters)} parameter tensors and "
        f"{_trainable(model, criterion.output)} nodes with gradient:\n"
    )
    begin = _continue(trainer, source, path, max_epochs, log)
    for epoch in range(begin, max_epochs):
        size = int(_at(sizes, epoch))
        _set_dropout(model, _at(dropouts, epoch))
        position = epoch * epoch_size
        rate, per_sample = rates[position], momenta[position]
        constant = -1.0 / math.log(per_sample) if 0.0 < per_sample < 1.0 and momenta.minibatch_size else 0.0
        effective = per_sample**size if momenta.minibatch_size else per_sample
        log(
            f"Starting Epoch {epoch + 1}: learning rate per sample = {rate:.6f}  effective momentum = "
            f"{effective:.6f}  momentum as time constant = {constant:.1f} samples"
        )
        log("\nStarting minibatch loop.")
        _epoch(trainer, source, inputs, measures, sgd, epoch, max_epochs, epoch_size, size, rate, log)
        name = f"{path}.{epoch + 1}"
        log(f"SGD: Saving checkpoint model '{name}'")
        trainer.save_checkpoint(name, {"reader": source.get_checkpoint_state()})
        if Communicator.rank() == 0:
            # Only the newest epoch can be continued; models stay.
            Path(f"{path}.{epoch}.ckp").unlink(missing_ok=True)
    if Communicator.rank() == 0:
        model.save(path)


def _at(values: list[tuple[int, float]], epoch: int) -> float:
    for repeat, value in values:
        if epoch < repeat:
            return value
        epoch -= repeat
    return values[-1][1]


def _set_dropout(model: Function, rate: float) -> None:
    """Let the model's Dropout nodes drop that share from now on."""
    for function in preorder(model.root_function):
        if function.op is Op.Dropout and function.raw_attributes["dropoutRate"] != rate:
            function.raw_attributes["dropoutRate"] = rate
            touch_graph()


def _measure(node: Node) -> _Measure:
    return _Measure(node.name, alias(node.value, name=node.name), node.kind)


def _continue(trainer: Trainer, source: MinibatchSource, path: Path, epochs: int, log: Log) -> int:
    """The epoch to begin with: after the last one saved."""
    saved = []
    for file in path.parent.glob(f"{path.name}.*"):
        match = re.fullmatch(re.escape(path.name) + r"\.([0-9]{1,9})", file.name)
        if match and file.with_name(f"{file.name}.ckp").exists() and int(match[1]) <= epochs:
            saved.append(int(match[1]))
    if not saved:
        return 0
    name = f"{path}.{max(saved)}"
    log(f"Starting from checkpoint. Loading network from '{name}'.")
    state = trainer.restore_from_checkpoint(name)
    source.restore_from_checkpoint(typed(state["reader"], dict))
    return max(saved)


def _epoch(
    trainer: Trainer, source: MinibatchSource, inputs: Any, measures: list[_Measure], sgd: Section,
    epoch: int, epochs: int, epoch_size: int, size: int, rate: float, log: Log,
) -> None:  # fmt: skip
    every = sgd.integer("numMBsToShowResult", 10)
    width = len(str(epochs))
    begun = shown = time.perf_counter()
    seen = minibatches = since = first = 0
    totals, window = [0.0] * len(measures), [0.0] * len(measures)
    while seen < epoch_size:
        workers, rank = trainer.partition()
        scale = trainer.minibatch_scale()
        data = source.next_minibatch(min(size * scale, epoch_size - seen), inputs, None, workers, rank)
        trainer.train_minibatch(data)
        samples = trainer.previous_minibatch_sample_count
        if not samples:
            break
        values = [trainer.previous_minibatch_loss_average]
        if len(measures) > 1:
            values.append(trainer.previous_minibatch_evaluation_average)
        for i, value in enumerate(values):
            totals[i] += value * samples
            window[i] += value * samples
        # Under block momentum every worker counts its own samples.
        seen += samples if workers == 1 or scale == 1 else samples * workers
        since += samples
        minibatches += 1
        if every and minibatches % every == 0:
            now = time.perf_counter()
            elapsed = max(now - shown, 1e-9)
            share = 100.0 * min(seen / epoch_size, 1.0)
            parts = "; ".join(m.text(v, since) for m, v in zip(measures, window, strict=True))
            log(
                f" Epoch[{epoch + 1:{width + 1}d} of {epochs}]-Minibatch[{first + 1:4d}-{minibatches:4d}, "
                f"{share:.2f}%]: {parts}; time = {elapsed:.4f}s; samplesPerSecond = {since / elapsed:.1f}"
            )
            window, since, first, shown = [0.0] * len(measures), 0, minibatches, now
    parts = "; ".join(m.text(v, seen) for m, v in zip(measures, totals, strict=True))
    log(
        f"Finished Epoch[{epoch + 1:{width + 1}d} of {epochs}]: [Training] {parts}; totalSamplesSeen = "
        f"{(epoch + 1) * epoch_size}; learningRatePerSample = {rate:g}; "
        f"epochTime={time.perf_counter() - begun:.6g}s"
    )


def test(config: Section, log: Log) -> None:
    """Evaluate the trained model on the section's reader."""
    path = _model_name(config)
    if not path.exists():
        raise ConfigError(f"the model '{path}' does not exist")
    model = load_model(str(path))
    source, names = _reader(config, max_sweeps=1)
    inputs = _streams(source, names, model.arguments)
    measures = _stored_measures(model, config.text("evalNodeNames", ""))
    if not measures:
        raise ConfigError(f"the model '{path}' has nothing to evaluate")
    function = combine([measure.output for measure in measures])
    totals = [0.0] * len(measures)
    samples = minibatches = 0
    size = config.integer("minibatchSize", 256)
    while data := source.next_minibatch(size, inputs):
        values = function.eval(data)
        values = values if isinstance(values, dict) else {function.output: values}
        results = [values[measure.output] for measure in measures]
        samples += max(part.num_samples for part in data.values())
        minibatches += 1
        totals = [total + float(value.sum()) for total, value in zip(totals, results, strict=True)]
    parts = [m.text(v, samples) for m, v in zip(measures, totals, strict=True)]
    entropy = [v / max(samples, 1) for m, v in zip(measures, totals, strict=True) if m.kind == "entropy"]
    if entropy:
        parts.append(f"perplexity = {math.exp(min(entropy[0], 700.0)):.8f}")
    log(f"Final Results: Minibatch[1-{minibatches}]: {'; '.join(parts)}")


def _stored_measures(model: Function, names: str) -> list[_Measure]:
    """The measures of a stored model: those asked for, or all, errors first.  Raises ConfigError for a name
    that is none."""
    known = [_stored_measure(output) for output in model.outputs]
    if all(measure is None for measure in known):
        # A criterion written down in operations: whatever is one number per sample.
        known = [_Measure(v.name, v, "") for v in model.outputs if math.prod(v.shape) == 1]
    by_name = {measure.name: measure for measure in known if measure is not None}
    wanted = [name.strip() for name in names.split(":") if name.strip()]
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise ConfigError(f"the model has no node '{missing[0]}' to evaluate")
    if wanted:
        return [by_name[name] for name in wanted]
    return sorted(by_name.values(), key=lambda measure: measure.kind != "error")


def _stored_measure(output: Any) -> _Measure | None:
    """What a saved output is, by the operation below its name."""
    owner = output.owner
    while owner is not None and not owner.block_name and len(owner.operands) == 1:
        below = owner.operands[0].owner
        if below is None:
            break
        owner = below
    kinds = {
        "CrossEntropyWithSoftmax": "entropy",
        "ClassificationError": "error",
        "SquaredError": "square",
    }
    kind = kinds.get(owner.display_name if owner is not None else "")
    return None if kind is None else _Measure(output.name, output, kind)


ACTIONS: dict[str, Callable[[Section, Log], None]] = {"train": train, "test": test, "eval": test}
