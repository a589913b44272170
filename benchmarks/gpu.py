"""What sparse training costs on a GPU: steps, sparse over dense, and reallocations. No network and no data set needed.

    KERAS_BACKEND=jax python -m benchmarks.gpu --out=gpu.json     # or torch, or tensorflow
    KERAS_BACKEND=jax python -m benchmarks.gpu --data_dir=DIR     # and epochs of WRN-28-2 on CIFAR-10, prepared by TFDS
    KERAS_BACKEND=jax python -m benchmarks.gpu --on_cpu --depth=10 --pixels=32 --batch_size=4 --rounds=3 --steps=1

Steps: the dense network and the sparse one (with `DSRCallback`, between two of its reallocations) train in turn, on a
batch that is in memory, on JAX and torch in that of the device; the ratio of a round is sparse over dense, and the
median of the rounds is reported. Keras waits for the device after each batch when any callback asks for batches, as
`DSRCallback` does: `watched` is the dense network with such a callback, which does nothing. Reallocations: the median
time, to the last weight written. Epochs: from the end of one to the end of the next, test and checkpoint with it; the
first, which compiles, is left out.

Times are taken when results are on the host: a device works behind it. On JAX and TensorFlow a step is compiled by XLA,
on torch it is not compiled.
"""

import functools
import gc
import json
import sys
import tempfile
import time

import keras
import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

import keras_dsr as dsr
from benchmarks.moving import METHODS, typical_seconds
from benchmarks.training import COMPILING, build, interleaved, median_of, ratios, step_timer
from keras_dsr.weights.reallocation import Reallocation
from train.experiment.precision import PRECISIONS

FLAGS = flags.FLAGS
NETWORKS = ("wide_resnet", "resnet_50")
flags.DEFINE_multi_enum("network", list(NETWORKS), NETWORKS, "Which networks.")
flags.DEFINE_multi_enum("precision", ["float32", "mixed_bfloat16"], PRECISIONS, "What they compute in.")
flags.DEFINE_integer("batch_size", 128, "Examples in a step; halved until it fits.", lower_bound=1)
flags.DEFINE_integer("rounds", 11, "Timed rounds.", lower_bound=3)
flags.DEFINE_integer("steps", 20, "Steps in a round.", lower_bound=1)
flags.DEFINE_float("sparsity", 0.9, "Sparsity of the sparse networks.")
flags.DEFINE_integer("depth", 28, "Depth of the wide residual network.")
flags.DEFINE_integer("pixels", 224, "Height and width of the images of ResNet-50.", lower_bound=32)
flags.DEFINE_string("data_dir", None, "Folder of prepared TensorFlow Datasets with cifar10, to time epochs on it.")
flags.DEFINE_integer("epochs", 4, "Epochs on CIFAR-10.", lower_bound=2)
flags.DEFINE_bool("on_cpu", False, "Run on a machine without an accelerator.")
flags.DEFINE_string("out", None, "Write the figures into this JSON file too.")


def accelerator() -> str | None:
    """The name of the chip that Keras's backend computes on; None if it is a CPU."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    if backend == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
        return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else None
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(devices[0]).get("device_name", "GPU") if devices else None


def network(name: str, sparsity: float | None, precision: str = "float32") -> keras.Model:
    sizes = {"depth": FLAGS.depth} if name == "wide_resnet" else {"input_shape": (FLAGS.pixels, FLAGS.pixels, 3)}
    return build(name, sparsity, "yes" in COMPILING[keras.backend.backend()], precision=precision, **sizes)


def with_batch_that_fits(measure, batch_size: int):
    """`measure(batch_size)`, with half the batch each time that the device has not enough memory for it."""
    while True:
        try:
            return measure(batch_size)
        except Exception as error:  # each backend has a class of its own
            told = f"{type(error).__name__}: {error}".lower()
            if batch_size == 1 or not ("out of memory" in told or ("resource" in told and "exhausted" in told)):
                raise
            print(f"A batch of {batch_size} does not fit.", flush=True)
        batch_size //= 2
        gc.collect()


class Watch(keras.callbacks.Callback):
    """Asks for every batch, and does nothing."""

    def on_train_batch_end(self, batch, logs=None):
        pass


def step_figures(name: str, precision: str, batch_size: int) -> dict:
    """Milliseconds of a step of the dense network, of the same with a callback, and of the sparse one, and ratios."""
    dense, sparse = network(name, None, precision), network(name, FLAGS.sparsity, precision)
    timers = {
        "dense": step_timer(dense, batch_size),
        "watched": step_timer(dense, batch_size, Watch()),
        "sparse": step_timer(sparse, batch_size, dsr.DSRCallback(stop_at=0)),
    }
    about = f"{name} {precision}: round"
    rounds = interleaved(
        timers, FLAGS.steps, FLAGS.rounds, lambda done: print(f"{about} {done} of {FLAGS.rounds}", flush=True)
    )
    figures = {"network": name, "precision": precision, "batch_size": batch_size}
    figures |= {f"{which}_ms": 1e3 * median_of(rounds, which) for which in timers}
    figures |= {f"sparse_over_{which}": ratios(rounds, "sparse", which) for which in ("dense", "watched")}
    return figures


def reallocation_figures(name: str) -> list[dict]:
    """Milliseconds of a reallocation by each method, and of the first, with its compilation."""
    figures = []
    random = np.random.default_rng(0)
    for method_name, (method, _, begins_dense) in METHODS.items():
        model = network(name, 0.0 if begins_dense else FLAGS.sparsity)
        model.optimizer.build(model.trainable_variables)
        start = time.perf_counter()
        reallocation = Reallocation(model, method)
        reallocation()
        first = time.perf_counter() - start
        milliseconds = 1e3 * typical_seconds(reallocation, FLAGS.rounds, random)
        tensors, places = len(reallocation.weights), sum(weight.size for weight in reallocation.weights)
        figures.append({"network": name, "method": method_name, "tensors": tensors, "places": places})
        figures[-1] |= {"ms": milliseconds, "first_s": first}
        print(f"{name} {method_name}: {milliseconds:.1f} ms", flush=True)
    return figures


def epoch_figures(precision: str) -> dict:
    """Seconds of an epoch of WRN-28-2 on CIFAR-10 by DSR, as `train.run` trains it."""
    from train.experiment.settings import Settings
    from train.run import execute, prepare

    ends = []
    note_end = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model": "wide_resnet", "dataset": "cifar10", "depth": FLAGS.depth, "precision": precision}
        settings |= {"sparsity": FLAGS.sparsity, "epochs": FLAGS.epochs, "data_dir": FLAGS.data_dir, "out": folder}
        settings["period"] = "recipe"  # as an epoch of the whole run
        run = prepare(Settings(**settings))
        execute(run, Console(), note_end)
    seconds = float(np.median(np.diff(ends)))
    return {"precision": precision, "batch_size": run.settings.batch_size, "steps": run.steps, "seconds": seconds}


def table_of(rows: list[dict], title: str) -> Table:
    """A table of rows of figures: numbers in three digits or more, ratios as median (least to most)."""

    def written(value):
        if isinstance(value, tuple):
            median, least, most = value
            return f"{median:.3f} ({least:.3f} to {most:.3f})"
        if isinstance(value, float):
            return f"{value:.2f}" if value < 1000 else f"{value:,.0f}"
        return f"{value:,}" if isinstance(value, int) else value

    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*map(written, row.values()))
    return table


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    backend, chip = keras.backend.backend(), accelerator()
    if chip is None and not FLAGS.on_cpu:
        sys.exit(
            f"error: {backend} finds no accelerator here. Install the build of {backend} for yours, or pass --on_cpu, "
            "with small sizes, to try the program."
        )
    chip = chip or "CPU"
    console = Console()
    if not console.is_terminal:
        console.width = 150
    console.print(f"{chip}, {backend}, Keras {keras.__version__}")
    figures = {"chip": chip, "backend": backend, "keras": keras.__version__, "sparsity": FLAGS.sparsity}

    figures["steps"] = []
    for name in FLAGS.network:
        for precision in FLAGS.precision:
            measure = functools.partial(step_figures, name, precision)
            figures["steps"].append(with_batch_that_fits(measure, FLAGS.batch_size))
            keras.utils.clear_session()
            gc.collect()
    figures["reallocations"] = [row for name in FLAGS.network for row in reallocation_figures(name)]
    if FLAGS.data_dir:
        figures["epochs"] = [epoch_figures(precision) for precision in FLAGS.precision]

    titles = {"steps": "A training step", "reallocations": "A reallocation", "epochs": "An epoch of CIFAR-10 by DSR"}
    for part, title in titles.items():
        if part in figures:
            console.print(table_of(figures[part], f"{title}: {chip}, {backend}"))
    if FLAGS.out:
        with open(FLAGS.out, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    app.run(main)
