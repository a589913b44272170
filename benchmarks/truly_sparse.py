"""Training with weights in compact storage: against dense and masked, in time and in memory.

    python -m benchmarks.truly_sparse --part=steps     # about 4 minutes on 2 cores: seconds a step through `fit`
    python -m benchmarks.truly_sparse --part=memory    # about 3 minutes: the peak memory of a process that trains
    python -m benchmarks.truly_sparse --part=set --data_dir=...  # the network of the SET paper on CIFAR-10
    python -m benchmarks.truly_sparse --part=huge      # about 2 minutes: 103 GB of dense kernels
    python -m benchmarks.truly_sparse --part=convolution [--network=resnet_50] [--batch=128]    # 2 to 10 minutes
    KERAS_BACKEND=torch python -m benchmarks.truly_sparse --part=packing --sparsity=0.95    # what a step consists of
    python -m benchmarks.truly_sparse --part=reallocation --sparsity=0.9    # by DSR, SET and RigL, beside a step
    python -m benchmarks.truly_sparse --part=network_memory --network=wide_resnet_28_10 --sparsity=0.95 --batch=4
    python -m benchmarks.truly_sparse --part=both --data_dir=... [--rule=rigl]    # WRN-10-1, masked and compact
    KERAS_BACKEND=torch python -m benchmarks.truly_sparse --part=steps

`steps` and `memory`: two hidden layers of 4096 (or `--width`) units, and 10 classes. Each round of `steps` trains each
form for as many steps of `fit`, in turn; of each the fastest round is shown, as noise only ever adds time. `auto` is
`storage="auto"`, with what it chose for the hidden layers. Each
process of `memory`, `set` and `huge` reports its own largest resident set.
"""

import functools
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from benchmarks.convolutions import (
    NETWORKS,
    both_storages,
    bytes_of_training,
    packing_table,
    reallocations_table,
    steps_table,
)
from benchmarks.training import interleaved, step_timer

CASES = ("0.99/64", "0.99/8", "0.98/64", "0.95/64", "0.95/8", "0.9/64", "0.9/8", "0.8/8")
FLAGS = flags.FLAGS
PARTS = ("steps", "memory", "set", "huge", "convolution", "packing", "reallocation", "network_memory", "both")
flags.DEFINE_enum("part", "steps", PARTS, "What is measured.")
flags.DEFINE_multi_integer("width", None, "Units of a hidden layer; default: 4096, and 8192 for memory.")
flags.DEFINE_multi_string("case", list(CASES), "SPARSITY/BATCH.")
flags.DEFINE_integer("rounds", 9, "Timed rounds of each form.", lower_bound=1)
flags.DEFINE_integer("steps", 8, "Of a form in a round.", lower_bound=1)
flags.DEFINE_string("data_dir", None, "Where TensorFlow Datasets are, for the set.")
flags.DEFINE_integer("epochs", 10, "Of the set and of both.", lower_bound=1)
flags.DEFINE_multi_enum("method", ["set", "dsr"], ["set", "dsr"], "Of the set.")
flags.DEFINE_integer("seed", 0, "Of the set and of both.")
flags.DEFINE_enum("network", "wide_resnet", list(NETWORKS), "Of convolutions: WRN-28-2 if not said.")
flags.DEFINE_integer("batch", 32, "Of the convolution.", lower_bound=1)
flags.DEFINE_multi_float("sparsity", [0.8, 0.9, 0.95, 0.98], "Of the convolution.")
flags.DEFINE_enum("rule", "dsr", ["dsr", "rigl"], "Of both.")
flags.DEFINE_string("form", None, "For the process of one form (this program starts it).")

FORMS = ("dense", "masked", "compact")


def layer_of(form: str, sparsity: float, **settings):
    """The constructor of a hidden layer."""
    if form == "dense":
        return functools.partial(keras.layers.Dense, **settings)
    return functools.partial(dsr.SparseDense, sparsity=sparsity, storage=form, mask_seed=1, **settings)


def perceptron(form: str, sparsity: float, width: int, optimizer, **settings) -> keras.Model:
    layer = layer_of(form, sparsity, activation="relu", **settings)
    model = keras.Sequential([keras.Input((width,)), layer(width), layer(width), keras.layers.Dense(10)])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def peak_megabytes() -> float:
    """The largest resident set of this process so far, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def batches(width: int, batch_size: int, count: int):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(batch_size * count, width)).astype("float32")
    return inputs, rng.integers(10, size=batch_size * count)


# Seconds a step


def steps_part(console: Console) -> None:
    for width in FLAGS.width or [4096]:
        table = Table(title=f"Milliseconds a step of fit, two hidden layers of {width}, {keras.backend.backend()}")
        ratios = ("compact over dense", "compact over masked", "auto over masked", "auto chose")
        for column in ("sparsity, batch", *FORMS, "auto", *ratios):
            table.add_column(column, justify="right" if column != "sparsity, batch" else "left")
        for case in FLAGS.case:
            sparsity, batch_size = float(case.split("/")[0]), int(case.split("/")[1])
            best, chosen = seconds_a_step(sparsity, batch_size, width)
            pairs = (("dense", "compact"), ("masked", "compact"), ("masked", "auto"))
            ratios = (f"{best[slow] / best[fast]:.2f} x" for slow, fast in pairs)
            milliseconds = (f"{seconds * 1e3:.1f}" for seconds in best.values())
            table.add_row(f"{sparsity:g}, {batch_size}", *milliseconds, *ratios, chosen)
            print(case, {form: round(seconds * 1e3, 2) for form, seconds in best.items()}, chosen, flush=True)
        console.print(table)


def seconds_a_step(sparsity: float, batch_size: int, width: int) -> tuple[dict[str, float], str]:
    """The fastest round of each form, in seconds a step, and what `auto` chose for the hidden layers.

    Sparse ones are timed as a user trains, between two reallocations.
    """
    timers = {}
    for form in (*FORMS, "auto"):
        callbacks = [] if form == "dense" else [dsr.DSRCallback(stop_at=0)]
        settings = {"batch_size": batch_size} if form == "auto" else {}
        model = perceptron(form, sparsity, width, keras.optimizers.SGD(0.01, momentum=0.9), **settings)
        timers[form] = step_timer(model, batch_size, *callbacks)
    chosen = ", ".join(dict.fromkeys(layer.storage_choice.storage for layer in model.layers[:-1]))
    rounds = interleaved(timers, FLAGS.steps, FLAGS.rounds, lambda done: None)
    return {form: min(times[form] for times in rounds) for form in timers}, chosen


# A network of convolutions


def convolution_part(console: Console) -> None:
    console.print(steps_table(FLAGS.network, FLAGS.batch, FLAGS.sparsity, FLAGS.rounds, FLAGS.steps))


def packing_part(console: Console) -> None:
    for sparsity in FLAGS.sparsity:
        console.print(packing_table(FLAGS.network, FLAGS.batch, sparsity, FLAGS.rounds))


def reallocation_part(console: Console) -> None:
    for sparsity in FLAGS.sparsity:
        console.print(reallocations_table(FLAGS.network, FLAGS.batch, sparsity, FLAGS.rounds))


def network_memory_part(console: Console) -> None:
    if FLAGS.form is not None:
        before = peak_megabytes()
        sparsity = None if FLAGS.form == "dense" else FLAGS.sparsity[0]
        held = bytes_of_training(FLAGS.network, sparsity, FLAGS.batch)
        print(json.dumps({"peak": peak_megabytes(), "before": before, "held": held}))
        return
    title = f"Training {FLAGS.network} with Adam, batch {FLAGS.batch}, {keras.backend.backend()}, 10^6 bytes"
    table = Table(title=title)
    for column in ("sparsity", "weights and slots", "peak above the libraries'"):
        table.add_column(column, justify="right")
    settings = f"--network={FLAGS.network}", f"--batch={FLAGS.batch}", "--part=network_memory"
    for sparsity in ("dense", *FLAGS.sparsity):
        form = ("--form=dense",) if sparsity == "dense" else ("--form=compact", f"--sparsity={sparsity}")
        found = in_a_process(*settings, *form)
        table.add_row(str(sparsity), f"{found['held'] / 1e6:,.0f}", f"{found['peak'] - found['before']:,.0f}")
    console.print(table)


def both_part(console: Console) -> None:
    from train.data.in_memory import load_data

    data = load_data("cifar10", FLAGS.data_dir)
    table = Table(title=f"WRN-10-1, CIFAR-10, {FLAGS.sparsity[0]:g}, {FLAGS.rule}, {keras.backend.backend()}")
    for column in ("epoch", "positions that both have", "masked", "compact"):
        table.add_column(column, justify="right")
    for found in both_storages(data, FLAGS.rule, FLAGS.sparsity[0], FLAGS.epochs, FLAGS.seed):
        print(found, flush=True)
        table.add_row(str(found["epoch"]), *(f"{found[name]:.2%}" for name in ("shared", "masked", "compact")))
    console.print(table)


# Memory


def in_a_process(*arguments: str) -> dict:
    """What this program prints as its last line in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.truly_sparse", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory_part(console: Console) -> None:
    if FLAGS.form is not None:
        (width,) = FLAGS.width
        before = peak_megabytes()
        model = perceptron(FLAGS.form, 0.99, width, "adam")
        model.fit(*batches(width, 64, 4), batch_size=64, verbose=0)
        print(json.dumps({"peak": peak_megabytes(), "before": before}))
        return
    table = Table(title=f"Peak memory of a process that trains with Adam at 0.99, batch 64, {keras.backend.backend()}")
    for column in ("width", "form", "peak, 10^6 bytes", "above the libraries'"):
        table.add_column(column, justify="right" if "form" not in column else "left")
    for width in FLAGS.width or [4096, 8192]:
        for form in FORMS:
            found = in_a_process("--part=memory", f"--width={width}", f"--form={form}")
            table.add_row(str(width), form, f"{found['peak']:,.0f}", f"{found['peak'] - found['before']:,.0f}")
    console.print(table)


# The network of the SET paper


def set_part(console: Console) -> None:
    if FLAGS.form is not None:
        print(json.dumps(trained_on_cifar10(FLAGS.form, FLAGS.method[0], FLAGS.epochs, FLAGS.seed)))
        return
    from train.data.tfds import find_builder
    from train.run import one_line_errors  # it needs TensorFlow, as the data do; the other parts do not

    with one_line_errors():
        find_builder("cifar10", FLAGS.data_dir)
    table = Table(title=f"CIFAR-10, 3072-4000-1000-4000-10, epsilon 20, {FLAGS.epochs} epochs, seed {FLAGS.seed}")
    for column in ("method", "form", "weights", "s an epoch", "test %", "10^6 bytes above the data"):
        table.add_column(column, justify="right" if column not in ("method", "form") else "left")
    for method in FLAGS.method:
        for form in FORMS:
            if form == "dense" and method != FLAGS.method[0]:
                continue
            given = (f"--epochs={FLAGS.epochs}", f"--seed={FLAGS.seed}", f"--data_dir={FLAGS.data_dir}")
            found = in_a_process("--part=set", f"--form={form}", f"--method={method}", *given)
            print(method, form, found, flush=True)
            row = (
                f"{found['weights']:,}",
                f"{found['seconds']:.1f}",
                f"{found['accuracy']:.2%}",
                f"{found['above_data']:,.0f}",
            )
            table.add_row("" if form == "dense" else method, form, *row)
    console.print(table)


def trained_on_cifar10(form: str, method: str, epochs: int, seed: int) -> dict:
    """One training: SGD 0.01 with momentum 0.9, batch 100, dropout 0.3, as in Mocanu et al. 2018; ReLU for SReLU."""
    from train.data.in_memory import load_data

    data = load_data("cifar10", FLAGS.data_dir)
    inputs, test_inputs = (vectors(images, data) for images in (data.train_images, data.test_images))
    classes = data.train_labels
    before = peak_megabytes()
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3072,))])
    sizes, epsilon = (3072, 4000, 1000, 4000), 20
    for before, after in itertools.pairwise(sizes):
        density = epsilon * (before + after) / (before * after)  # Mocanu et al. 2018, eq. 3
        model.add(layer_of(form, 1 - density, activation="relu", kernel_initializer="he_uniform")(after))
        model.add(keras.layers.Dropout(0.3))
    model.add(keras.layers.Dense(10))  # that density is above 1
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, metrics=["accuracy"])
    rule = dsr.methods.SET(0.3) if method == "set" else dsr.methods.DSR(target=0.1)
    callbacks = [] if form == "dense" else [dsr.Reallocate(rule, period=500 if method == "set" else 250, seed=seed)]
    model.fit(inputs[:400], classes[:400], batch_size=100, verbose=0)  # compiles; 4 steps
    start = time.perf_counter()
    model.fit(inputs, classes, batch_size=100, epochs=epochs, callbacks=callbacks, verbose=0)
    seconds = (time.perf_counter() - start) / epochs
    _, accuracy = model.evaluate(test_inputs, data.test_labels, batch_size=1000, verbose=0)
    weights = sum(weight.count() for weight in dsr.sparse_weights(model)) or sum(
        layer.kernel.shape[0] * layer.kernel.shape[1] for layer in model.layers[:-1] if hasattr(layer, "kernel")
    )
    return {"weights": weights, "seconds": seconds, "accuracy": accuracy, "above_data": peak_megabytes() - before}


def vectors(images: np.ndarray, data) -> np.ndarray:
    """Images of a data set as normalized vectors of float32; in place, so that it takes little memory."""
    normalized = images.astype("float32")
    normalized -= np.array(data.mean, "float32")
    normalized /= np.array(data.std, "float32")
    return normalized.reshape(len(images), -1)


# A network that does not fit when dense


def huge_part(console: Console) -> None:
    layers, width, sparsity = 6, 65_536, 0.9999
    layer = layer_of("compact", sparsity, activation="relu", use_bias=False)
    keras.utils.set_random_seed(0)
    start = time.perf_counter()
    model = keras.Sequential([keras.Input((width,)), *(layer(width) for _ in range(layers)), keras.layers.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    table = Table("figure", "value", title=f"{layers} layers of {width:,} x {width:,}, sparsity {sparsity}")
    places = sum(weight.size for weight in dsr.sparse_weights(model))
    table.add_row("positions, and their bytes when dense", f"{places:,}, {places * 4 / 1e9:,.1f} GB")
    table.add_row("weights", f"{sum(weight.count() for weight in dsr.sparse_weights(model)):,}")
    table.add_row("seconds to build", f"{time.perf_counter() - start:.1f}")
    data = batches(width, 32, 20)
    callback = dsr.DSRCallback(target=0.05, period=10)
    model.fit(*data, batch_size=32, verbose=0, callbacks=[callback])
    start = time.perf_counter()
    model.fit(*data, batch_size=32, verbose=0, callbacks=[callback])
    table.add_row("steps a second, batch 32, reallocated every 10", f"{20 / (time.perf_counter() - start):.2f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        start = time.perf_counter()
        dsr.save(model, path, resumable=True)
        table.add_row("seconds to save, bytes", f"{time.perf_counter() - start:.1f}, {path.stat().st_size:,}")
        start = time.perf_counter()
        loaded = keras.models.load_model(path)
        table.add_row("seconds to load", f"{time.perf_counter() - start:.1f}")
        same = np.array_equal(model.predict(data[0][:32], verbose=0), loaded.predict(data[0][:32], verbose=0))
        table.add_row("the loaded network gives the same bits", str(same))
        start = time.perf_counter()
        dsr.summary(loaded)
        dsr.report(loaded, Path(folder, "report.html"), batch_sizes=())
        table.add_row("seconds for summary and report", f"{time.perf_counter() - start:.1f}")
    table.add_row("peak memory, 10^6 bytes", f"{peak_megabytes():,.0f}")
    console.print(table)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    if FLAGS.part in ("set", "both") and FLAGS.data_dir is None:
        raise app.UsageError(f"--part={FLAGS.part} needs --data_dir=..., where TensorFlow Datasets has cifar10")
    parts = (
        steps_part,
        memory_part,
        set_part,
        huge_part,
        convolution_part,
        packing_part,
        reallocation_part,
        network_memory_part,
        both_part,
    )
    dict(zip(PARTS, parts, strict=True))[FLAGS.part](Console())


if __name__ == "__main__":
    app.run(main)
